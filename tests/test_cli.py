"""The command ``himbeerecouch``: what all of its commands share."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import errors
from himbeerecouch.account import ACCOUNT
from himbeerecouch.cli import credentials, main, show, stdout
from himbeerecouch.cli.complaints import in_words
from himbeerecouch.cli.context import Settings, with_settings
from himbeerecouch.cli.main import COMMANDS, himbeerecouch
from himbeerecouch.discovery import ask
from himbeerecouch.fleet.desk import Basic, Desk
from himbeerecouch.identity import find_serial, legacy_password
from himbeerecouch.model import Answer
from himbeerecouch.store import StateFolder
from tests.cli_case import CliCase
from tests.embedded_server import free_port

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

    def test_closed_input(self) -> None:
        """Without a standard input nobody is asked, and that is said."""
        code = "import os, sys; os.close(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        server = ("--server", "http://127.0.0.1:1", "--user", "joe")
        ran = python("-c", code, "-m", "himbeerecouch.cli", *server, "status", XDG_CONFIG_HOME="/nonexistent")
        self.assertEqual((ran.returncode, ran.stdout), (2, ""))
        self.assertIn("there is nobody to ask", ran.stderr)

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


class OutputTests(SynchronousTestCase):
    """Standard outputs that can't be written."""

    def run_with(self, stdout: int, *arguments: str) -> tuple[int, str]:
        """Run the command with this standard output; give its exit status, and what it says."""
        argv = [sys.executable, "-m", "himbeerecouch.cli", *arguments]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
        return ran.returncode, ran.stderr

    def test_full(self) -> None:
        """Where the disk is full, one line says so, and the exit status is 1."""
        with Path("/dev/full").open("wb") as full:
            for arguments in (["--version"], ["deploy", "--help"]):
                said = "Error: the output can't be written: No space left on device\n"
                self.assertEqual(self.run_with(full.fileno(), *arguments), (1, said))

    def test_nobody_reads(self) -> None:
        """Where nobody reads it any more, it ends as other Unix tools do, and says nothing."""
        read, write = os.pipe()
        os.close(read)
        self.addCleanup(os.close, write)
        self.assertEqual(self.run_with(write, "--help"), (128 + signal.SIGPIPE, ""))

    def test_closed(self) -> None:
        """A standard output that was closed beforehand is no better."""
        shell = ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "himbeerecouch.cli", "--help"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(shell, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        self.assertEqual((ran.returncode, ran.stderr.count(b"\n")), (1, 1))
        self.assertIn(b"the output can't be written", ran.stderr)

    def test_only_once(self) -> None:
        """It is said once, whatever is written after that; what can be written is, in the encoding of the terminal."""
        with Path("/dev/full").open("w") as full:
            output = stdout.told(full)
            output.write("lost")
            self.assertRaises(click.ClickException, output.flush)
            output.write("x" * 100_000)
            output.close()
        file = Path(self.mktemp())
        with file.open("w", encoding="latin-1") as there:
            stdout.told(there).write("\xfc")
        self.assertEqual(file.read_bytes(), b"\xfc")


class SettingsTests(SynchronousTestCase):
    def run_where(self, *arguments: str, **environment: str) -> Any:
        """Run ``where`` below the group."""
        self.patch(main, "COMMANDS", {"where": ("test", "")})
        self.patch(main.Commands, "get_command", lambda *_: where)
        return CliRunner().invoke(himbeerecouch, arguments, env={"NO_COLOR": "1", **environment})

    def test_server(self) -> None:
        """The server is that of an option, before or behind the command, else the environment, else a file."""
        file = Path(self.mktemp())
        file.write_text("http://filed:5984\n")
        self.assertEqual(
            self.run_where("where", "--server-file", str(file)).stdout, "http://filed:5984 nedm/raspberries\n"
        )
        told = {"HIMBEERECOUCH_SERVER": "https://told/", "HIMBEERECOUCH_DATABASE": "other"}
        self.assertEqual(self.run_where("where", **told).stdout, "https://told:443 other\n")
        for line in (["--server-file", str(file), "where"], ["where", "--server-file", str(file)]):
            self.assertEqual(self.run_where(*line, **told).stdout, "http://filed:5984 other\n")
        both = ["--server", SERVER, "--server-file", str(file), "where"]
        self.assertEqual(self.run_where(*both, **told).stdout, f"{SERVER} other\n")
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
        self.assertEqual(self.find(), Basic("admin", "a password"))
        self.assertEqual(self.find("admin"), Basic("admin", "a password"))
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
        self.assertEqual(self.find(HIMBEERECOUCH_PASSWORD="told"), Basic("typed", "told"))
        self.assertEqual(
            asked,
            [
                f"User at {SERVER}",
                f"Password of typed at {SERVER}",
                f"Password of admin at {SERVER}",
                f"User at {SERVER}",
            ],
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


class ProbeTests(CliCase):
    async def ran(self, answers: list[Answer], *arguments: str) -> Any:
        """Run ``probe`` in a network whose Pis answer so."""
        self.patch(ask, "probe", lambda url, timeout_s, port: answers)
        return await self.himbeerecouch("probe", *arguments)

    async def test_answers(self) -> None:
        """All that answer are listed, with their passwords where they wait to be enrolled."""
        answers = [Answer(7, None, "10.0.0.3"), Answer(12345, "p", "10.0.0.4")]
        ran = await self.ran(answers)
        self.assertEqual(ran.exit_code, 0)
        self.assertEqual(
            [line.split() for line in ran.stdout.splitlines()],
            [["MacID", "address", "password"], ["7", "10.0.0.3", "(enrolled)"], ["12345", "10.0.0.4", "p"]],
        )
        ran = await self.ran(answers, "--json")
        self.assertEqual(json.loads(ran.stdout)[0], {"MacID": 7, "enrolled": True, "address": "10.0.0.3"})

    async def test_nobody(self) -> None:
        """Where nobody answers the exit status is 1, and a time that is none is refused."""
        ran = await self.ran([])
        self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
        self.assertIn("within 3 s", ran.stderr)
        self.assertEqual((await self.ran([], "--timeout", "0")).exit_code, 2)


class WhoamiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.server = self.folder / "server"
        self.folder.mkdir()
        self.server.write_text(f"{SERVER}\n")

    def ran(self, *arguments: str) -> Any:
        """Run ``whoami`` on a Pi with the MacID 7."""
        line = ["whoami", "--mac-id", "7", "--state-dir", str(self.folder), *arguments]
        return CliRunner().invoke(himbeerecouch, ["--server-file", str(self.server), *line])

    def kept(self, **members: Any) -> None:
        """Write what a daemon keeps."""
        whole = {"mac_id": 7, "enrolled": False, "password": "secret", "proven": False, "next_password": None}
        (self.folder / "7").mkdir(exist_ok=True)
        (self.folder / "7" / ACCOUNT).write_text(json.dumps(whole | members))

    def test_before_the_daemon(self) -> None:
        """Before the daemon has run there is no password."""
        ran = self.ran()
        self.assertEqual(ran.exit_code, 0)
        self.assertIn("not made yet", ran.stdout)
        self.assertIn(SERVER, ran.stdout)
        self.assertEqual(list(self.folder.iterdir()), [self.server])

    def test_after_it(self) -> None:
        """It says where the password is, and whether the Pi has logged in, and never the password."""
        for enrolled, said in ((False, "not yet"), (True, "it has logged in")):
            self.kept(enrolled=enrolled)
            ran = self.ran()
            self.assertIn(str(self.folder / "7" / ACCOUNT), ran.stdout)
            self.assertIn(said, ran.stdout)
            self.assertNotIn("secret", ran.output)
        self.kept(password=legacy_password(7, find_serial()))
        self.assertIn("old formula", self.ran().stdout)

    def test_json(self) -> None:
        """The same as JSON; the password may also come from a file, and the server be missing."""
        self.kept(enrolled=True)
        password = self.folder / "password"
        password.write_text("secret\n")
        self.server.unlink()
        ran = self.ran("--json", "--password-file", str(password))
        told = {"mac_id": 7, "password": str(password), "server": None, "enrolled": True}
        self.assertEqual(json.loads(ran.stdout), told)
        self.assertIn("server file", ran.stderr)
        self.assertEqual(self.ran("--server", "nonsense").exit_code, 2)

    def test_what_may_not_be_read(self) -> None:
        """Who may not read it is told to use sudo; what can't be read for another reason is an error too."""

        def refuse(kind: type[OSError]) -> None:
            def read(_self: object, name: str) -> bytes:
                raise errors.StateError(name, "can't be read") from kind()

            self.patch(StateFolder, "read", read)

        refuse(PermissionError)
        self.assertIn("sudo", self.ran().stderr)
        refuse(OSError)
        ran = self.ran()
        self.assertEqual(ran.exit_code, 1)
        self.assertNotIn("sudo", ran.stderr)


class ReactorTests(SynchronousTestCase):
    """What is run in a reactor of its own, as a process."""

    def script(self, body: str) -> str:
        """A script that runs ``main`` in the reactor."""
        return f"import signal, os\nfrom himbeerecouch.cli.reactor import run_async\n{body}\nprint(run_async(main))"

    def test_result(self) -> None:
        """What it returns is returned, and what it raises is raised."""
        self.assertEqual(python("-c", self.script("async def main(reactor): return 5")).stdout, "5\n")
        ran = python("-c", self.script("async def main(reactor): raise ValueError('so')"))
        self.assertIn("ValueError: so", ran.stderr)

    def test_interrupted(self) -> None:
        """Ctrl-C and SIGTERM cancel it, so that it may say good-bye; then it may also return as if nothing was."""
        for number in ("SIGINT", "SIGTERM"):
            body = (
                "from twisted.internet.task import deferLater\n"
                "async def main(reactor):\n"
                f"    reactor.callLater(0, os.kill, os.getpid(), signal.{number})\n"
                "    try:\n        await deferLater(reactor, 60)\n"
                "    finally:\n        print('good-bye', flush=True)"
            )
            ran = python("-c", self.script(body))
            self.assertIn("KeyboardInterrupt", ran.stderr)
            self.assertEqual(ran.stdout, "good-bye\n")
        ran = python(
            "-c", self.script(body.replace("    finally:\n        ", "    except Exception:\n        return "))
        )
        self.assertEqual(ran.stdout, "good-bye\nNone\n")

    def test_a_second_time(self) -> None:
        """Who does not end by Ctrl-C ends by the second one."""
        body = (
            "from twisted.internet.task import deferLater\n"
            "async def main(reactor):\n"
            "    reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)\n"
            "    reactor.callLater(0.1, os.kill, os.getpid(), signal.SIGINT)\n"
            "    try:\n        await deferLater(reactor, 60)\n"
            "    except Exception:\n        await deferLater(reactor, 60)"
        )
        self.assertEqual(python("-c", self.script(body)).returncode, -signal.SIGINT)

    def test_nobody_there(self) -> None:
        """A server that is not there is an error in one line, with what to look for."""
        told = {"HIMBEERECOUCH_USER": "a", "HIMBEERECOUCH_PASSWORD": "secret"}
        server = f"http://127.0.0.1:{free_port()}"
        ran = python("-m", "himbeerecouch.cli", "name", "--server", server, **told)
        self.assertEqual((ran.returncode, ran.stdout, len(ran.stderr.splitlines())), (1, "", 1), ran.stderr)
        self.assertIn("no connection to", ran.stderr)
        self.assertNotIn("..", ran.stderr)
        self.assertNotIn("secret", ran.stderr)

    def test_ca_file(self) -> None:
        """A CA file that can't be used is named."""
        ran = python("-m", "himbeerecouch.cli", "name", "--server", SERVER, "--ca-file", "/nonexistent")
        self.assertEqual((ran.returncode, len(ran.stderr.splitlines())), (1, 1), ran.stderr)
        self.assertIn("/nonexistent", ran.stderr)
