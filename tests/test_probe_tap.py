"""The command himbeerecouch-probe, without its network."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import probe_tap
from himbeerecouch.discovery.wire import PORT
from himbeerecouch.model import Answer
from himbeerecouch.probe_tap import Options, makeService

WAITING = Answer(202481600350967, "apassword", "192.168.1.7")
SEALED = Answer(8, "p", "10.0.0.4", sealed=True)
ENROLLED = Answer(7, None, "10.0.0.3")


class Command(SynchronousTestCase):
    """What it prints, and how it ends."""

    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def run_command(self, *arguments: str, found: Any) -> int:
        """Run it on what ``found`` returns or raises, and give the exit status."""

        def probe(server: str, timeout: float, *, port: int) -> list[Answer]:
            self.asked = (server, timeout, port)
            if isinstance(found, BaseException):
                raise found
            return list(found)

        self.patch(probe_tap, "probe", probe)
        options = Options()
        options.parseOptions(arguments)
        status = self.assertRaises(SystemExit, makeService, options).code
        assert isinstance(status, int)
        return status

    def test_a_table(self) -> None:
        """A line for each Pi below one of headings, and nothing else; status 0, also where all are enrolled."""
        status = self.run_command("--server", "http://a", found=[ENROLLED, WAITING])
        self.assertEqual(
            self.out.getvalue().splitlines(),
            [
                "MacID            address      password",
                "7                10.0.0.3     (enrolled)",
                "202481600350967  192.168.1.7  apassword",
            ],
        )
        self.assertEqual((status, self.err.getvalue()), (0, ""))
        self.assertEqual(self.asked, ("http://a", 3.0, PORT))

    def test_json(self) -> None:
        """With --json it is a list of objects, with their addresses, and whether their passwords came sealed."""
        status = self.run_command("--server", "http://a", "--json", found=[ENROLLED, SEALED, WAITING])
        self.assertEqual(
            json.loads(self.out.getvalue()),
            [
                {"MacID": 7, "enrolled": True, "address": "10.0.0.3"},
                {"MacID": 8, "password": "p", "sealed": True, "address": "10.0.0.4"},
                {"MacID": 202481600350967, "password": "apassword", "sealed": False, "address": "192.168.1.7"},
            ],
        )
        self.assertEqual(status, 0)

    def test_nobody(self) -> None:
        """Where nobody answers, the status is 1, and people learn it on stderr."""
        for arguments, output in (([], ""), (["--json"], "[]\n")):
            self.out.truncate(self.out.seek(0))
            status = self.run_command(
                "--server", "http://a", "--timeout", "0.5", "--discovery-port", "5", *arguments, found=[]
            )
            self.assertEqual((status, self.out.getvalue(), self.asked), (1, output, ("http://a", 0.5, 5)))
            self.assertIn("0.5 s", self.err.getvalue())

    def test_could_not_ask(self) -> None:
        """A server that is missing or no URL, and a network that refuses, are a line on stderr and the status 2."""
        for arguments, found, said in (
            ([], [], "--server is missing"),
            (["--server", "x"], ValueError("'x' is no URL"), "no URL"),
            (["--server", "http://a"], OSError("no sockets left"), "no sockets left"),
        ):
            self.assertEqual(self.run_command(*arguments, found=found), 2)
            self.assertIn(said, self.err.getvalue())
            self.assertEqual(self.out.getvalue(), "")

    def test_interrupted(self) -> None:
        """Ctrl-C ends it without a traceback, with the status that a shell gives for it."""
        self.assertEqual(self.run_command("--server", "http://a", found=KeyboardInterrupt()), 130)
        self.assertEqual((self.out.getvalue(), self.err.getvalue()), ("", ""))

    def test_arguments(self) -> None:
        """Times and ports that make no sense are refused."""
        for arguments in (
            ["--timeout", "0"],
            ["--timeout", "-1"],
            ["--timeout", "inf"],
            ["--timeout", "nan"],
            ["--timeout", "soon"],
            ["--discovery-port", "0"],
            ["--discovery-port", "65536"],
            ["--discovery-port", "x"],
        ):
            self.assertRaises(usage.UsageError, Options().parseOptions, arguments)
