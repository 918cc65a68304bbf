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
    print('[]', flush=True)
"""


class ComplaintTests(SynchronousTestCase):
    def test_table(self) -> None:
        """A source that compiles has no complaint; any other has one, with its line and column where it has those."""
        self.assertEqual(compiling.findings("def main():\n    return 1\n"), [])
        for source, line, column in (
            ('def main():\n    print "x"\n', 2, 5),
            ("äöü = )\n", 1, 7),
            ("if x:\n\ty\n        z\n", 3, None),
            ("return 1\n", 1, 1),
            ("(" * 1000, 1, None),
            ("x = '\ud800'", None, None),
        ):
            (found,) = compiling.findings(source)
            self.assertEqual((found["line"], found["warning"]), (line, False), source)
            self.assertTrue(found["message"])
            if column is not None:
                self.assertEqual(found["column"], column, source)
        (found,) = compiling.findings('def main():\n    print "x"\n')
        self.assertEqual(found["text"], 'print "x"')
        self.assertTrue(compiling.findings("x = '\0'"))

    def test_warnings(self) -> None:
        """What the compiler only warns of is marked as that, and comes before the reason why it stops."""
        (found,) = compiling.findings("\nx is 1\n")
        self.assertEqual((found["line"], found["warning"]), (2, True))
        self.assertEqual([each["warning"] for each in compiling.findings("x is 1\nreturn\n")][-1], False)

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
        found = await syntax.check(reactor, ["x is 1", "x ="])
        self.assertEqual([complaint is None for complaint in found], [True, False])

    async def test_compiler_that_dies(self) -> None:
        """Where one source ends the process, the others are compiled all the same."""
        from twisted.internet import reactor

        self.patch(syntax, "WORKER", self.mortal)
        found = await syntax.check(reactor, ["a", "die", "b", "die"])
        self.assertEqual([complaint is None for complaint in found], [True, False, True, False])
        found = await syntax.check(reactor, ["die"] * 25)
        self.assertEqual(len([complaint for complaint in found if complaint is not None]), 25)
        self.assertIn("too many", str(found[-1]))
        said = await syntax.findings(reactor, ["die", "a", "die", "b"], most_deaths=2)
        self.assertEqual([bool(each) for each in said], [True, False, True, True])

    async def test_compiler_that_takes_too_long(self) -> None:
        """A source on which the compiler spends all its time is told as such."""
        from twisted.internet import reactor

        ((found,),) = await syntax.findings(reactor, ["x = 1"], timeout_s=0.0)
        self.assertIn("can't cope", str(found))

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
        self.assertTrue(len(answers) < 2 or (answers[0] and not answers[1]), answers)
