"""What the benchmarks say of samples is what was measured; no time is judged here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import fleets, pages
from benchmarks.__main__ import report
from benchmarks.bars import Bar, chart, short
from benchmarks.samples import Goal, Measurement, added, as_json, circumstances, figures, spread, table

MEASUREMENT = Measurement(
    "a thing",
    "ms",
    [2.0, 4.0, 6.0],
    {"the floor": [1.0, 2.0, 3.0], "nothing": [0.0]},
    [Goal("at most 5", True), Goal("at most 3", False)],
    {"another": "it is not installed"},
    {"a part": [1.0, 1.0]},
)


class SamplesTests(SynchronousTestCase):
    def test_spread(self) -> None:
        """Median, tenths and the 99th percentile are those of the samples."""
        found = spread([float(value) for value in range(1, 201)])
        self.assertEqual((found.median, found.p99, found.number), (100.5, 199.0, 200))
        self.assertEqual((round(found.low, 1), round(found.high, 1)), (20.9, 180.1))

    def test_few_samples(self) -> None:
        """Of one sample all figures are that one; of fewer than 100 the 99th percentile is the largest."""
        self.assertEqual(spread([7.0]), (7.0, 7.0, 7.0, 7.0, 1))
        self.assertEqual(spread([3.0, 1.0]).p99, 3.0)

    def test_no_samples(self) -> None:
        """What was not measured has no figures."""
        self.assertRaises(ValueError, spread, [])

    def test_table(self) -> None:
        """A table has each figure, the ratio of ours to it, its parts, what is missing, and each goal's outcome."""
        shown = table(MEASUREMENT).splitlines()
        self.assertEqual(shown[0], "a thing (ms)")
        for part, line in zip(
            ("himbeerecouch", "2.00 x", "nothing", "of it: a part", "another", "met", "MISSED"), shown[1:], strict=True
        ):
            self.assertIn(part, line)
        self.assertIn("not measured: it is not installed", shown[5])
        for line in shown[3:5]:
            self.assertNotIn(" x", line)

    def test_json(self) -> None:
        """The report holds every figure but no samples, and can be read again."""
        told = json.loads(json.dumps(report([MEASUREMENT])))
        self.assertEqual(told["measurements"], [json.loads(json.dumps(as_json(MEASUREMENT)))])
        self.assertEqual(
            told["measurements"][0]["ours"], {"median": 4.0, "low": 2.4, "high": 5.6, "p99": 6.0, "number": 3}
        )
        self.assertEqual(told["measurements"][0]["parts"]["a part"]["number"], 2)
        self.assertEqual(told["measurements"][0]["goals"][1], {"text": "at most 3", "met": False})

    def test_in_parts(self) -> None:
        """A part that is measured again replaces its own figures; those of another day, machine or version all go."""
        file = Path(self.mktemp())
        other, again = MEASUREMENT._replace(name="other"), MEASUREMENT._replace(ours=[1.0])
        named = ("measurements", ("name",))
        told = added(file, report([MEASUREMENT, other]), *named)
        file.write_text(json.dumps(told))
        self.assertEqual(
            added(file, report([again, MEASUREMENT._replace(name="new")]), *named)["measurements"],
            report([again, other, MEASUREMENT._replace(name="new")])["measurements"],
        )
        for name in ("date", "machine", "himbeerecouch"):
            file.write_text(json.dumps({**told, name: "other"}))
            self.assertEqual(added(file, report([again]), *named), report([again]))


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = Path(self.mktemp()).with_suffix(".rst")

    def written(self, *measurements: Measurement) -> str:
        """What is in the page after a report of these."""
        pages.write(json.loads(json.dumps(report(list(measurements)))), self.page)
        return self.page.read_text(encoding="utf-8")

    def test_figures(self) -> None:
        """The page has figures, ratios, parts, what is missing, and each goal's outcome; a second time the same."""
        self.page.write_text(f"What is said\n\n{pages.MARK}what is old\n", encoding="utf-8")
        text = self.written(MEASUREMENT)
        self.assertTrue(text.startswith(f"What is said\n\n{pages.MARK}\nThe figures\n"))
        self.assertNotIn("what is old", text)
        self.assertIn("   * - the floor\n     - 2.00\n     - 1.20 .. 2.80\n     - 3.00\n     - 3\n     - 2.00\n", text)
        self.assertIn("   * - nothing\n     - 0\n     -\n     -\n     - 1\n     -\n", text)
        self.assertIn("   * - of it: ``a part``\n     - 1.00\n", text)
        self.assertIn("another: not measured (it is not installed)", text)
        self.assertIn("- Goal: at most 5: met.\n- Goal: at most 3: **missed**.\n", text)
        self.assertEqual(self.written(MEASUREMENT), text)

    def test_pictures(self) -> None:
        """What has a picture has it beside the page, and its figures in words for those who can't see it."""
        self.page.write_text(pages.MARK, encoding="utf-8")
        text = self.written(Measurement(pages.CHARTS["deploy"], "ms", [2.0], {"the floor": [1.0]}))
        name = f"{self.page.stem}-deploy.svg"
        self.assertIn(
            f".. image:: {name}\n   :alt: {pages.CHARTS['deploy']}, in ms: himbeerecouch 2.00, the floor 1.00", text
        )
        self.assertTrue(self.page.with_name(name).is_file())

    def test_fleets(self) -> None:
        """Fleets have a table for each place of the status, the slowest beside the median, and what was missing."""
        self.page.write_text(pages.MARK, encoding="utf-8")
        timed = figures([1.0, 2.0, 9.0])
        fleet = {
            "pis": 1000,
            "status": fleets.OWN,
            "rest_cpu_percent": 4.5,
            "deploy_s": timed,
            "back_s": figures([7.0]),
        }
        same = {"pis": 10, "status": fleets.SAME, "rest_cpu_percent": 0.0, "missing": "timed out"}
        pages.write(json.loads(json.dumps({**circumstances(), "fleets": [fleet, same]})), self.page)
        text = self.page.read_text(encoding="utf-8")
        first, second = (text.index(f".. list-table:: {title}\n") for title in fleets.TITLES.values())
        self.assertIn("   * - 1,000\n     - 4.5\n     -\n     -\n     -\n     -\n     - 2 (9)\n     - 7\n", text)
        self.assertLess(first, text.index("1,000\n"))
        self.assertLess(second, text.index("- Of 10: not measured (timed out)\n"))
        self.assertIn(
            f".. image:: {self.page.stem}-rest.svg\n   :alt: {fleets.REST}, in % of a core: 1,000 Pis 4.50", text
        )
        self.assertTrue(self.page.with_name(f"{self.page.stem}-rest.svg").is_file())
        self.assertIn("- Goal: 1,000 Pis at rest take at most 10 % of a core: met.\n", text)
        missed = fleets.goals([{**fleet, "rest_cpu_percent": 10.1}, {**fleet, "missing": ""}, {**fleet, "pis": 300}])
        self.assertEqual([goal.met for goal in missed], [False])

    def test_no_place(self) -> None:
        """A page without the line that says where the figures go is left as it is."""
        self.page.write_text("a page\n", encoding="utf-8")
        self.assertRaises(ValueError, self.written, MEASUREMENT)
        self.assertEqual(self.page.read_text(encoding="utf-8"), "a page\n")


class ChartTests(SynchronousTestCase):
    def bars(self, *bars: Bar) -> Any:
        """The picture of these bars, as XML."""
        return ElementTree.fromstring(chart("a < b", "ms", bars))

    def test_length(self) -> None:
        """Each decade takes the same length, and each bar ends where its median is."""
        svg = self.bars(*(Bar(str(value), value, value, value) for value in (1.0, 10.0, 100.0)))
        widths = [float(one.get("width", "0")) for one in svg.iter() if one.get("height") == "18"]
        self.assertGreater(widths[0], 0)
        self.assertAlmostEqual(widths[1] - widths[0], widths[2] - widths[1], places=0)

    def test_text(self) -> None:
        """It says what it shows, each name and figure; it has a ground of its own, and needs nothing from elsewhere."""
        svg = self.bars(Bar("ours & co", 1234.0, 1000.0, 2000.0, ours=True), Bar("it", 0.5, 0.5, 0.5))
        text = "".join(svg.itertext())
        for part in ("a < b (ms)", "ours & co", "1,234", "0.500", "0.1", "10,000"):
            self.assertIn(part, text)
        self.assertTrue(next(one for one in svg if one.tag.endswith("}rect")).get("fill", "").startswith("#f"))

    def test_short(self) -> None:
        """Three digits, and no exponent."""
        table = {0.0: "0", 0.01234: "0.0123", 1.0: "1.00", 12.34: "12.3", 999.4: "999", 12345.6: "12,346"}
        self.assertEqual({value: short(value) for value in table}, table)
