"""Sources are compiled in a process of its own, whatever that does to the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from himbeerecouch.fleet import compiling, syntax
from himbeerecouch.fleet.syntax import Complaint

# Stands for a compiler that crashes at one source: which do, differs from Python to Python.
MORTAL = """
import json, os, sys
for source in json.load(sys.stdin):
    if 'die' in source:
        os.abort()
    print('null', flush=True)
"""


class ComplaintTests(SynchronousTestCase):
    def test_table(self) -> None:
        """A source that compiles has no complaint; any other has one, with its line where there is one."""
        self.assertIsNone(compiling.complaint("def main():\n    return 1\n"))
        self.assertIsNone(compiling.complaint(r'x = "\d"'))
        found = compiling.complaint('def main():\n    print "x"\n') or {}
        self.assertEqual((found["line"], found["text"]), (2, 'print "x"'))
        self.assertIn("print", str(found["message"]))
        self.assertIsNotNone(compiling.complaint("x = '\0'"))
        deep = compiling.complaint("(" * 1000) or {}
        self.assertTrue(deep["message"])

    def test_words(self) -> None:
        """A complaint reads well with a line, and without."""
        self.assertEqual(str(Complaint(2, "invalid syntax", "x y")), "line 2: invalid syntax: x y")
        self.assertEqual(str(Complaint(None, "too large")), "too large")


class WorkerTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.mortal = Path(self.mktemp())
        self.mortal.write_text(MORTAL, encoding="utf-8")

    async def test_check(self) -> None:
        """Each source has its answer, in order, also where one of them is no text that could be encoded."""
        from twisted.internet import reactor

        found = await syntax.check(reactor, ["x = 1", "x ==", "y = '\ud800'", "def f(:", "z = 'ü'"])
        self.assertEqual([complaint is None for complaint in found], [True, False, False, False, True])
        self.assertEqual(await syntax.check(reactor, []), [])

    async def test_compiler_that_dies(self) -> None:
        """Where one source ends the process, the others are compiled all the same."""
        from twisted.internet import reactor

        self.patch(syntax, "WORKER", self.mortal)
        found = await syntax.check(reactor, ["a", "die", "b", "die"])
        self.assertEqual([complaint is None for complaint in found], [True, False, True, False])
        found = await syntax.check(reactor, ["die"] * 25)
        self.assertEqual(len([complaint for complaint in found if complaint is not None]), 25)
        self.assertIn("too many", str(found[-1]))

    def test_memory_is_bounded(self) -> None:
        """What the compiler would take gigabytes for is a complaint, not a machine without memory."""
        source = "x = " + "+".join(["[" + "1," * 50 + "]"] * 60_000)
        done = subprocess.run(
            [sys.executable, "-I", syntax.WORKER],
            input=json.dumps([source, "x = 1"]),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertTrue(len(answers) < 2 or (answers[0] is not None and answers[1] is None), answers)
