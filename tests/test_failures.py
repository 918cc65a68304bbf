"""The last failures, within their size."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.model import Failure
from himbeerecouch.status.failures import ERROR_BYTES, LIMIT_BYTES, LINES_BYTES, render


def failure(number: int, error: str = "", lines: tuple[str, ...] = ()) -> Failure:
    return Failure(f"{number}-a", float(number), error, lines)


class FailuresTests(SynchronousTestCase):
    def test_failures(self) -> None:
        """Each is told with its revision, time, traceback and the lines before, oldest first."""
        told = render({"a": [failure(1, "boom", ("x", "y")), failure(2)], "b": []}, "at {:g}".format)
        self.assertEqual(
            told,
            {
                "a": [
                    {"rev": "1-a", "time": "at 1", "error": "boom", "log": ["x", "y"]},
                    {"rev": "2-a", "time": "at 2", "error": "", "log": []},
                ]
            },
        )

    def test_one_is_cut(self) -> None:
        """Of a long traceback the beginning and the end are kept, of the lines before it the last."""
        lines = tuple(f"{number:03}" + "ü" * 100 for number in range(50))
        told = render({"a": [failure(1, "first" + "x" * 20000 + "last", lines)]}, str)["a"][0]
        self.assertLessEqual(len(json.dumps(told["error"])), ERROR_BYTES)
        self.assertTrue(told["error"].startswith("firstx") and told["error"].endswith("xlast"))
        self.assertLessEqual(len(json.dumps(told["log"])), LINES_BYTES + 2)
        self.assertEqual(told["log"][-1][:3], "049")
        self.assertGreater(len(told["log"]), 3)

    def test_all_are_bounded(self) -> None:
        """With many of them the newest of every program is kept first."""
        many = {f"p{number}": [failure(age, "x" * 3000) for age in range(10)] for number in range(5)}
        told = render(many, str)
        self.assertLessEqual(len(json.dumps(list(told.values()))), LIMIT_BYTES + 20)
        self.assertEqual({len(those) for those in told.values()}, {4, 5})
        self.assertEqual([those[-1]["rev"] for those in told.values()], ["9-a"] * 5)
        self.assertEqual(render(many, str, limit_bytes=10), {})
