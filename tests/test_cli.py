"""The command ``himbeerecouch``: what all of its commands share."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import errors
from himbeerecouch.cli import credentials, main, show
from himbeerecouch.cli.complaints import in_words
from himbeerecouch.cli.context import Settings, with_settings
from himbeerecouch.cli.main import COMMANDS, himbeerecouch
from himbeerecouch.fleet.desk import Basic, Desk

ROOT = Path(__file__).resolve().parent.parent
SERVER = "http://server.name:5984"


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this very Python, with the package importable."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class HelpTests(SynchronousTestCase):
    def test_list(self) -> None:
        """The list of all commands says of each what the command says of itself."""
        ran = CliRunner().invoke(himbeerecouch, ["--help"])
        self.assertEqual(ran.exit_code, 0)
        for name, (module, text) in COMMANDS.items():
            self.assertIn(name, ran.stdout)
            command = getattr(importlib.import_module(f"himbeerecouch.cli.{module}"), name.replace("-", "_"))
            self.assertEqual((command.help or "").partition("\n")[0], text, name)

    def test_examples(self) -> None:
        """Every command has help with an example."""
        for name in COMMANDS:
            ran = CliRunner().invoke(himbeerecouch, [name, "--help"])
            self.assertIn("Example", ran.stdout, name)
            self.assertIn(f"himbeerecouch {name}", ran.stdout, name)

    def test_no_reactor(self) -> None:
        """The list of all commands imports neither a reactor nor an HTTP client, nor any one command."""
        code = (
            "import sys\nfrom himbeerecouch.cli.main import himbeerecouch\n"
            "himbeerecouch(['--help'], standalone_mode=False)\n"
            "print([name for name in ('twisted.internet.reactor', 'treq', 'twisted.web', 'himbeerecouch.cli.probe')"
            " if name in sys.modules], file=sys.stderr)"
        )
        self.assertEqual(python("-c", code).stderr.strip(), "[]")

    def test_the_daemon_needs_no_click(self) -> None:
        """The daemon imports nothing of the command line."""
        code = (
            "import sys\nimport himbeerecouch.tap, himbeerecouch.prog, himbeerecouch.probe_tap\n"
            "print([name for name in sys.modules if name == 'click' or name.startswith('himbeerecouch.cli')"
            " or name.startswith('himbeerecouch.fleet')])"
        )
        self.assertEqual(python("-c", code).stdout.strip(), "[]")

    def test_without_click(self) -> None:
        """Where click is not installed, one line says what to install."""
        code = "import sys\nsys.modules['click'] = None\nfrom himbeerecouch.cli.__main__ import main\nmain()"
        ran = python("-c", code)
        self.assertEqual((ran.returncode, ran.stdout, len(ran.stderr.splitlines())), (1, "", 1))
        self.assertIn('pip install "himbeerecouch[cli]"', ran.stderr)

    def test_module(self) -> None:
        """It is also run as a module, and ends with the exit status."""
        ran = python("-m", "himbeerecouch.cli", "--version")
        self.assertEqual((ran.returncode, ran.stdout[:14]), (0, "himbeerecouch "))
        self.assertEqual(python("-m", "himbeerecouch.cli", "nothing").returncode, 2)

    def test_completion(self) -> None:
        """A shell can complete the commands."""
        ran = python("-m", "himbeerecouch.cli", _HIMBEERECOUCH_COMPLETE="bash_source")
        self.assertIn("_himbeerecouch_completion", ran.stdout)
        ran = python(
            "-m",
            "himbeerecouch.cli",
            _HIMBEERECOUCH_COMPLETE="bash_complete",
            COMP_WORDS="himbeerecouch who",
            COMP_CWORD="1",
        )
        self.assertEqual(ran.stdout, "plain,whoami\n")


@click.command()
@with_settings
def where(settings: Settings) -> int:
    """Print the server."""
    click.echo(f"{settings.url()} {settings.database}")
    return 3


class SettingsTests(SynchronousTestCase):
    def run_where(self, *arguments: str, **environment: str) -> Any:
        """Run ``where`` below the group."""
        self.patch(main, "COMMANDS", {"where": ("test", "")})
        self.patch(main.Commands, "get_command", lambda *_: where)
        return CliRunner().invoke(himbeerecouch, arguments, env={"NO_COLOR": "1", **environment})

    def test_server(self) -> None:
        """The server is that of the option, before or behind the command, else the environment, else a file."""
        file = Path(self.mktemp())
        file.write_text("http://filed:5984\n")
        self.assertEqual(
            self.run_where("where", "--server-file", str(file)).stdout, "http://filed:5984 nedm/raspberries\n"
        )
        told = {"HIMBEERECOUCH_SERVER": "https://told/", "HIMBEERECOUCH_DATABASE": "other"}
        self.assertEqual(self.run_where("where", "--server-file", str(file), **told).stdout, "https://told:443 other\n")
        for line in (["--server", SERVER, "where"], ["where", "--server", SERVER]):
            ran = self.run_where(*line, **told)
            self.assertEqual((ran.stdout, ran.exit_code), (f"{SERVER} other\n", 3))
        self.assertIn(
            "a db", self.run_where("--database", "x", "where", "--server", SERVER, "--database", "a db").stdout
        )

    def test_which_server(self) -> None:
        """Without a server, and with one that makes no sense, it says what to give."""
        for line, said in (
            (["--server-file", "/nonexistent"], "Give --server"),
            (["--server", "server.name"], "http://"),
            (["--server", "http://admin:secret@server.name"], "--user"),
        ):
            ran = self.run_where("where", *line)
            self.assertEqual(ran.exit_code, 2)
            self.assertIn(said, ran.stderr)
            self.assertNotIn("secret", ran.stderr)


class CredentialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.path = self.folder / "himbeerecouch" / "credentials"
        self.path.parent.mkdir(parents=True)
        self.environ = {"XDG_CONFIG_HOME": str(self.folder)}

    def keep(self, text: str, mode: int = 0o600) -> None:
        """Write the file."""
        self.path.write_text(text)
        self.path.chmod(mode)

    def find(self, user: str | None = None, **environ: str) -> Basic | None:
        """Who logs in."""
        return credentials.find_credentials(SERVER, user, {**self.environ, **environ})

    def test_environment(self) -> None:
        """Name and password of the environment count, also for a name that is given, where it is not another's."""
        told = {"HIMBEERECOUCH_USER": "a", "HIMBEERECOUCH_PASSWORD": "p"}
        self.assertEqual(self.find(**told), Basic("a", "p"))
        self.assertEqual(self.find("a", **told), Basic("a", "p"))
        self.assertEqual(self.find("b", HIMBEERECOUCH_PASSWORD="p"), Basic("b", "p"))

    def test_file(self) -> None:
        """The file has a line for each server, and a password is found for that server only."""
        self.keep(f"# mine\n\nhttp://other:5984 x y\n{SERVER}/ admin a password \n")
        self.assertEqual(self.find(), Basic("admin", "a password "))
        self.assertEqual(self.find("admin"), Basic("admin", "a password "))
        self.keep("http://other:5984 x y\n")
        self.assertIsNone(credentials.read_file(self.path, SERVER))
        self.assertEqual(
            credentials.credentials_file({"XDG_CONFIG_HOME": "relative"}),
            Path.home() / ".config/himbeerecouch/credentials",
        )

    def test_file_that_is_not_private(self) -> None:
        """A file that others may read or that is none is refused; what it says is never shown."""
        self.keep(f"{SERVER} admin secret\n", 0o640)
        self.assertIn("chmod 600", str(self.assertRaises(errors.CredentialsFileError, self.find)))
        self.keep("secret\n")
        error = self.assertRaises(errors.CredentialsFileError, self.find)
        self.assertIn("line 1", str(error))
        self.assertNotIn("secret", str(error))
        self.path.write_bytes(b"\xff")
        self.assertRaises(errors.CredentialsFileError, self.find)
        self.path.unlink()
        os.mkfifo(self.path, 0o600)
        self.assertRaises(errors.CredentialsFileError, self.find)
        self.path.unlink()
        self.path.symlink_to(self.path)
        self.assertRaises(errors.CredentialsFileError, self.find)

    def test_another_users_file(self) -> None:
        """A file of another user's is refused."""
        self.keep("")
        self.patch(os, "geteuid", lambda: self.path.stat().st_uid + 1)
        self.assertIn("another user", str(self.assertRaises(errors.CredentialsFileError, self.find)))

    def test_nobody(self) -> None:
        """Where there is nothing and nobody to ask, nobody logs in; a name without a password is refused."""
        ran = python("-c", f"from himbeerecouch.cli.credentials import *; print(find_credentials({SERVER!r}, None))")
        self.assertEqual(ran.stdout.strip(), "None")

    def test_prompt(self) -> None:
        """At a terminal, what is missing is asked for."""

        class Terminal:
            def isatty(self) -> bool:
                return True

        asked: list[str] = []

        def prompt(text: str, **_options: Any) -> str:
            asked.append(text)
            return "typed"

        self.patch(sys, "stdin", Terminal())
        self.patch(click, "prompt", prompt)
        self.assertEqual(self.find(), Basic("typed", "typed"))
        self.assertEqual(self.find("admin"), Basic("admin", "typed"))
        self.assertEqual(
            asked, [f"User at {SERVER}", f"Password of typed at {SERVER}", f"Password of admin at {SERVER}"]
        )

    def test_nobody_to_ask(self) -> None:
        """Where nobody can be asked for a password, that is said."""

        class NoTerminal:
            def isatty(self) -> bool:
                return False

        self.patch(sys, "stdin", NoTerminal())
        self.assertRaises(click.UsageError, self.find, "admin")
        self.assertIsNone(self.find())


class ComplaintTests(SynchronousTestCase):
    def test_words(self) -> None:
        """Each failure says what it was and what to do, and nothing of a password."""
        from twisted.internet import reactor

        table: list[tuple[errors.HimbeerecouchError, str]] = [
            (errors.LoginRefused("x", status=401), "does not know the user admin"),
            (errors.LoginRefused("x", status=401, reason="You are not a server admin."), "does not let admin do that"),
            (errors.LoginLocked("x", status=403), "five minutes"),
            (errors.Forbidden("x", status=403, reason="only operators"), "only operators"),
            (errors.NotFound("x", status=404, reason="Database does not exist."), "himbeerecouch setup"),
            (errors.NotFound("x", status=404, reason="missing"), "missing"),
            (errors.Unreachable("x", reason="refused"), "is it up"),
            (errors.Untrusted("x", reason="its certificate is refused"), "--ca-file"),
            (errors.TooSlow("too slow"), "too slow"),
            (errors.UnknownPi("labb", ["lab"]), "Did you mean lab?"),
        ]
        desk = Desk(reactor, url=SERVER, credentials=Basic("admin", "secret"))
        for error, said in table:
            self.assertIn(said, in_words(error, desk))
            self.assertNotIn("secret", in_words(error, desk))
        nobody = Desk(reactor, url=SERVER, credentials=None)
        self.assertIn("--user", in_words(errors.LoginRefused("x", status=401), nobody))
        self.assertIn("--user", in_words(errors.Forbidden("x", status=403), nobody))
        self.assertIn("himbeerecouch setup", in_words(errors.NotFound("x", status=404, reason="no"), nobody))


class ShowTests(SynchronousTestCase):
    def printed(self, function: Any, *arguments: Any) -> str:
        """What a function prints."""

        @click.command()
        def command() -> None:
            function(*arguments)

        return CliRunner().invoke(command, []).stdout

    def test_table(self) -> None:
        """Columns are as wide as what is seen of their cells; no rows are no table."""
        rows = [(7, click.style("up", fg="green"), None), (12345, "日本", "x")]
        self.assertEqual(
            self.printed(show.print_table, ("MacID", "is", "what"), rows).splitlines(),
            ["MacID  is    what", "7      up    ", "12345  日本  x"],
        )
        self.assertEqual(self.printed(show.print_table, ("a",), []), "")

    def test_json(self) -> None:
        """JSON is for other programs, and readable."""
        self.assertEqual(json.loads(self.printed(show.print_json, {"a": "ä"})), {"a": "ä"})

    def test_plain(self) -> None:
        """What comes from the network can't steer the terminal."""
        self.assertEqual(show.plain("a\x1b[2Jb\nc\x07"), "a [2Jb c")
        self.assertEqual(show.plain_lines("a\x1b[2J\n\tb\r"), "a\ufffd[2J\n\tb\ufffd")

    def test_progress(self) -> None:
        """No progress is shown where there is no terminal."""

        def work() -> None:
            with show.progress(2, "working") as bar:
                bar.update(1)

        self.assertEqual(self.printed(work), "")
