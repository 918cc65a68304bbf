"""The documents say what is: links, options, examples and the rooms of the house."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
from twisted.scripts import twistd
from twisted.trial.unittest import SynchronousTestCase

import himbeerecouch.cli.main
import himbeerecouch.embedded.tap
import himbeerecouch.web.tap
from himbeerecouch import documents, probe_tap, tap
from himbeerecouch.cli.main import COMMANDS
from himbeerecouch.couch import query

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.rst"
PAGES = sorted(DOCS.glob("*.rst"))
MAC_ID = 202481600350967
"""The one that the examples of the documents are for."""


def blocks(path: Path, language: str) -> Iterator[str]:
    """The code blocks of a document in one language, without their indentation."""
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.strip() == f".. code-block:: {language}":
            indent = len(line) - len(line.lstrip()) + 3
            taken = []
            for inner in lines:
                if inner.strip() and not inner.startswith(" " * indent):
                    break
                taken.append(inner[indent:])
            yield "\n".join(taken).strip("\n") + "\n"


def options_in(path: Path) -> dict[str, str]:
    """The options that a document lists as terms, each with what it says of them."""
    found: dict[str, str] = {}
    term: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("``-"):
            term = re.findall(r"``(--?[a-z-]+)", line)
            found |= dict.fromkeys(term, line)
        elif line and not line.startswith(" "):
            term = []
        else:
            found |= {name: f"{found[name]} {line.strip()}" for name in term}
    return found


class TextTests(SynchronousTestCase):
    def test_readme_is_valid(self) -> None:
        """What a package index shows of the README, and the changelog, is valid reStructuredText without Sphinx."""
        for path in (README, ROOT / "CHANGELOG.rst"):
            done = subprocess.run(
                [sys.executable, "-m", "docutils", "--strict", "--syntax-highlight=none", "--writer=xml", path],
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_links(self) -> None:
        """What the README links to is there, and every page can be reached from it or from the index."""
        text = README.read_text(encoding="utf-8")
        links = set(re.findall(r"<([^<>\s]+)>`__", text)) | set(re.findall(r"image:: (\S+)", text))
        ours = {link for link in links if not link.startswith("https://")}
        self.assertIn("docs/configuration.rst", ours)
        self.assertEqual([link for link in sorted(ours) if not (ROOT / link).is_file()], [])
        listed = set(re.findall(r"^   ([a-z-]+)$", (DOCS / "index.rst").read_text(encoding="utf-8"), re.MULTILINE))
        self.assertEqual(listed, {page.stem for page in PAGES} - {"index"})

    def test_etc(self) -> None:
        """All that is in etc/ is described, and what the documents name of it is there."""
        named = set().union(
            *(re.findall(r"(?<!/)\betc/([\w.-]+\w)", page.read_text(encoding="utf-8")) for page in (README, *PAGES))
        )
        self.assertEqual(named, {path.name for path in (ROOT / "etc").iterdir()})

    def test_make(self) -> None:
        """Every target of make that the README names is there, and is described there too."""
        named = set(re.findall(r"``make (\w+)``", README.read_text(encoding="utf-8")))
        there = set(re.findall(r"^(\w+):.*  ## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        self.assertIn("contract", named)
        self.assertEqual(named - there, set())

    def test_picture(self) -> None:
        """The picture is well-formed, has a ground of its own, and needs nothing from elsewhere."""
        text = (DOCS / "picture.svg").read_text(encoding="utf-8")
        svg = ElementTree.fromstring(text)
        first, *_ = (element for element in svg if element.tag.endswith("}rect"))
        self.assertTrue(first.get("fill", "").startswith("#f"))
        self.assertNotIn("href", text)


def parameters(options: Any) -> dict[str, Any]:
    """The options of a command, each with its default; None where it has none."""
    taking = {f"--{name}": default for name, _short, default, *_ in options.optParameters}
    return taking | {f"--{name}": None for name, *_ in getattr(options, "optFlags", [])}


class OptionTests(SynchronousTestCase):
    def assert_documented(self, options: dict[str, Any], listed: dict[str, str]) -> None:
        """A page lists all options of a command, with their defaults."""
        self.assertEqual(sorted(options.keys() - listed.keys()), [])
        for name, default in options.items():
            if default is not None:
                shown = f"{default:g}" if isinstance(default, float) else str(default)
                self.assertIn(shown, listed[name], f"the default of {name}")

    def test_daemon(self) -> None:
        """configuration.rst has every option of the daemon; all others that it lists are twistd's own."""
        ours, listed = parameters(tap.Options), options_in(DOCS / "configuration.rst")
        self.assert_documented(ours, listed)
        others = listed.keys() - ours.keys()
        shown = twistd.ServerOptions().getUsage()  # type: ignore[attr-defined]  # imported there under either platform
        self.assertIn("--pidfile", others)
        self.assertEqual([name for name in sorted(others) if not re.search(rf"{name}[ ,=]", shown)], [])

    def test_embedded(self) -> None:
        """embedded.rst has every option of the embedded database, and no others."""
        ours, listed = parameters(himbeerecouch.embedded.tap.Options), options_in(DOCS / "embedded.rst")
        self.assert_documented(ours, listed)
        self.assertEqual(listed.keys() - ours.keys(), set())

    def test_web(self) -> None:
        """page.rst has every option of the page's server, and no others."""
        ours, listed = parameters(himbeerecouch.web.tap.Options), options_in(DOCS / "page.rst")
        self.assert_documented(ours, listed)
        self.assertEqual(listed.keys() - ours.keys(), set())

    def test_probe(self) -> None:
        """discovery.rst names every option of the probe."""
        text = (DOCS / "discovery.rst").read_text(encoding="utf-8")
        self.assertEqual([name for name in parameters(probe_tap.Options) if name not in text], [])

    def test_command_line(self) -> None:
        """command-line.rst names every command, and every option of each."""
        text = (DOCS / "command-line.rst").read_text(encoding="utf-8")
        context = click.Context(himbeerecouch.cli.main.himbeerecouch)
        commands = {name: himbeerecouch.cli.main.himbeerecouch.get_command(context, name) for name in COMMANDS}
        self.assertEqual([name for name in commands if f"``himbeerecouch {name}" not in text], [])
        options = {
            tuple(parameter.opts)
            for command in (himbeerecouch.cli.main.himbeerecouch, *commands.values())
            if command is not None
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.hidden
        }
        named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
        self.assertEqual(sorted(names for names in options if named.isdisjoint(names)), [])


class ExampleTests(SynchronousTestCase):
    def test_python(self) -> None:
        """The Python in the documents compiles."""
        sources = [source for page in (README, *PAGES) for source in blocks(page, "python")]
        programs = [source for source in sources if ">>>" not in source]
        self.assertGreater(len(programs), 2)
        for source in programs:
            ast.parse(source)

    def test_documents(self) -> None:
        """The documents in the documents mean something to the Pi that they are for."""
        found = [json.loads(text) for page in (README, *PAGES) for text in blocks(page, "json")]
        self.assertGreater(len(found), 2)
        for document in found:
            reading = documents.read(document, MAC_ID, max_source_bytes=1024 * 1024)
            self.assertTrue(reading.program or reading.exports or reading.command, document)

    def test_indexes(self) -> None:
        """The indexes that an admin is told to make are the ones that the daemon asks for."""
        text = "".join(blocks(DOCS / "getting-started.rst", "sh"))
        told = [json.loads(body) for body in re.findall(r"_index .*? -d '(.*?)'", text, re.DOTALL)]
        self.assertEqual(told, list(query.INDEXES.values()))


class LayoutTests(SynchronousTestCase):
    def test_rooms(self) -> None:
        """layout.rst has every package, and every module that it names is there."""
        text = (DOCS / "layout.rst").read_text(encoding="utf-8")
        package = ROOT / "himbeerecouch"
        rooms = {f"himbeerecouch.{path.parent.name}" for path in package.glob("*/__init__.py")}
        self.assertEqual({name for name in rooms if f"``{name}``" not in text}, set())
        modules = set(re.findall(r"``((?!himbeerecouch)[a-z_]+(?:\.[a-z_]+)?)``", text))
        there = {path.stem for path in package.iterdir()}
        there |= {f"{path.parent.name}.{path.stem}" for path in package.glob("*/*.py")}
        page = package / "web" / "page" / "src"
        folders = (ROOT, ROOT / "tests", ROOT / "tests" / "page", ROOT / ".ci", page, page / "editor")
        elsewhere = {path.name.removesuffix(".test.mjs") for folder in folders for path in folder.iterdir()}
        elsewhere |= {"documents.read", "plan.plan"}
        self.assertEqual(modules - there - elsewhere, set())
