"""The history of programs: tables."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import documents
from himbeerecouch.fleet import deployments
from himbeerecouch.fleet.deployments import Deployment
from himbeerecouch.model import Json

AT = "2026-05-01T12:00:00.000Z"
ID = "7:blink"


def version(rev: str, *, at: str = AT, by: str | None = "anna", **document: Any) -> Deployment:
    """A version of blink."""
    return Deployment(ID, rev, 7, at, by, document or None)


class DocumentTests(SynchronousTestCase):
    def test_rendered(self) -> None:
        """What is kept is the contract between the tool and the page."""
        program = {"_id": ID, "_rev": "3-c", "type": "7", "name": "blink", "code": "x", "_attachments": {}}
        self.assertEqual(
            deployments.render(deployments.of(program, at=1_777_636_800.0, by="anna")),
            {
                "_id": "deployment:7:blink:3-c",
                "type": "deployment",
                "program": ID,
                "rev": "3-c",
                "mac_id": 7,
                "at": AT,
                "by": "anna",
                "document": {"type": "7", "name": "blink", "code": "x"},
            },
        )
        removed = deployments.render(deployments.removal(program, "4-d", at=1_777_636_800.0, by=None))
        self.assertEqual((removed["document"], removed["removed"], removed["rev"]), (None, True, "4-d"))
        for document in (deployments.render(version("3-c", code="x")), removed):
            read = deployments.read(document)
            assert read is not None
            self.assertEqual(deployments.render(read), document)

    def test_no_pi_sees_it(self) -> None:
        """What is kept means nothing to the Pi of the program, whose feed and snapshot look at the same fields."""
        document = deployments.render(version("3-c", type=7, code="x", global_modules={"g": "x"}, ret=["", ""]))
        reading = documents.read(document, 7, max_source_bytes=100)
        self.assertEqual((reading.program, reading.exports, reading.command), (None, None, None))
        self.assertNotIn("global_modules", document)

    def test_read(self) -> None:
        """Only what says which revision of which program it is, is a deployment; what else is wrong is left out."""
        good = deployments.render(version("3-c", code="x"))
        for wrong in ({"type": 7}, {"program": None}, {"rev": 3}):
            self.assertIsNone(deployments.read(good | wrong))
        odd = deployments.read(good | {"mac_id": True, "at": 5, "by": [], "document": "x"})
        self.assertEqual(odd, Deployment(ID, "3-c", None, "", None, None))

    def test_history(self) -> None:
        """The newest revision comes first, by its number; what only lies in between is not taken in."""
        kept = [version("9-a", x=1), version("10-a", x=1), version("2-b", x=1), version("2-a", at="2026", x=1)]
        other = Deployment(f"{ID}:5-x", "11-a", 7, AT, None, {})
        told = [deployments.render(one) for one in (*kept, other)]
        self.assertEqual([one.rev for one in deployments.history(told, ID)], ["10-a", "9-a", "2-b", "2-a"])
        start, end = deployments.id_range(ID)
        self.assertTrue(all(start < document["_id"] < end for document in told))
        self.assertEqual([deployments.generation(rev) for rev in ("12-a", "x-a", "", "9" * 20)], [12, 0, 0, 0])


class ContentTests(SynchronousTestCase):
    def test_mac_id(self) -> None:
        """A Pi is named by a number, or by that in decimal; nothing else is one."""
        table: list[tuple[object, int | None]] = [(7, 7), ("7", 7), (True, None), ("7_cmd", None), (None, None)]
        table += [("", None), ("٣", None), ([7], None), ("9" * 30, None)]
        for kind, mac_id in table:
            self.assertEqual(deployments.mac_id_of({"type": kind}), mac_id, kind)

    def test_with_sources(self) -> None:
        """Sources are replaced as a whole; all else of the document stays."""
        document = {"_id": ID, "_rev": "1-a", "type": 7, "restart": "never", "code": "x", "modules": {"a": "x"}}
        self.assertEqual(
            deployments.with_sources(document, {"code": "y", "global_modules": {"g": ""}, "type": 1, "name": "no"}),
            {"_id": ID, "_rev": "1-a", "type": 7, "restart": "never", "code": "y", "global_modules": {"g": ""}},
        )

    def test_rolled_back(self) -> None:
        """What comes back is all of the document but whom it is for, and whether it is stopped."""
        to = {"type": 8, "code": "old", "restart": "never", "stopped": True}
        now = {"_id": ID, "_rev": "2-b", "type": "7", "code": "new", "rollback": True}
        back: Json = {"_id": ID, "_rev": "2-b", "type": "7", "code": "old", "restart": "never"}
        self.assertEqual(deployments.rolled_back(now, to), back)
        self.assertEqual(deployments.rolled_back(now | {"stopped": True}, to), back | {"stopped": True})
        self.assertEqual(deployments.rolled_back(None, to), {"type": 8, "code": "old", "restart": "never"})

    def test_previous(self) -> None:
        """The version before is the newest that says something else: not one that was only stopped or saved again."""
        versions = [
            version("6-f", code="c", stopped=True),
            version("5-e", code="c"),
            version("4-d"),
            version("3-c", code="b"),
            version("1-a", code="a"),
        ]
        now = {"_id": ID, "_rev": "6-f", "code": "c", "stopped": True}
        self.assertEqual(deployments.previous(versions, now), versions[3])
        self.assertEqual(deployments.previous(versions[2:], None), versions[3])
        self.assertIsNone(deployments.previous(versions[:3], now))

    def test_matching(self) -> None:
        """A version is named by its revision, the number of it, or its beginning."""
        versions = [version(rev) for rev in ("12-ab", "2-cd", "1-ef", "1-eg")]
        table = {
            "2": ["2-cd"],
            "1-e": ["1-ef", "1-eg"],
            "1-ef": ["1-ef"],
            "1": ["1-ef", "1-eg"],
            "3": [],
            "12-": ["12-ab"],
        }
        for rev, found in table.items():
            self.assertEqual([one.rev for one in deployments.matching(versions, rev)], found, rev)


class DifferenceTests(SynchronousTestCase):
    def test_same(self) -> None:
        """CouchDB's own fields make no difference."""
        self.assertEqual(deployments.difference({"_rev": "1-a", "code": "x"}, {"_rev": "2-b", "code": "x"}), [])

    def test_difference(self) -> None:
        """Each source is a file of its own, and the fields are one too."""
        before = {"restart": "never", "code": "a\nb\n", "modules": {"m": "x\n"}, "global_modules": 5}
        after = {"code": "a\nc", "global_modules": {"g": "y\n", "odd": 3}}
        self.assertEqual(
            deployments.difference(before, after, ("lab", "here")),
            [
                "--- lab/fields",
                "+++ here/fields",
                "@@ -1 +0,0 @@",
                '-restart: "never"',
                "--- lab/global/g.py",
                "+++ here/global/g.py",
                "@@ -0,0 +1 @@",
                "+y",
                "--- lab/global/odd.py",
                "+++ here/global/odd.py",
                "@@ -0,0 +1 @@",
                "+3 (no newline at the end)",
                "--- lab/m.py",
                "+++ here/m.py",
                "@@ -1 +0,0 @@",
                "-x",
                "--- lab/main.py",
                "+++ here/main.py",
                "@@ -1,2 +1,2 @@",
                " a",
                "-b",
                "+c (no newline at the end)",
            ],
        )
