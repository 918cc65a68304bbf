"""The last changes of a database, found by what selectors ask for."""

from __future__ import annotations

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.couch import query
from himbeerecouch.embedded import recent as recent_module
from himbeerecouch.embedded.anchors import anchors_of
from himbeerecouch.embedded.ledger import Change, Stored
from himbeerecouch.embedded.recent import LONG_CHARACTERS, MOST_FACTS, MOST_FIELDS, Recent
from himbeerecouch.embedded.revisions import Leaf
from himbeerecouch.embedded.selector import compile_selector
from himbeerecouch.embedded.storage import Database


def change(seq: int, id: str = "", **members: Any) -> Change:
    """A change of a document."""
    id = id or f"d{seq}"
    return Change(Stored(id, seq, Leaf(1, ("a",), False, "{}"), 0), {"_id": id, "_rev": "1-a", **members})


class RecentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.recent = Recent(0, self.latest)
        self.seq = 0
        self.disk: list[Change] = []
        """What the database would read; nothing, unless a test says so."""
        self.readings = 0

    def latest(self, most: int, most_bytes: int) -> tuple[int, list[Change]]:
        """As the database does: what there is, and the number behind which that is all."""
        self.readings += 1
        begin = self.disk[-most - 1].stored.seq if len(self.disk) > most else 0
        return (begin, self.disk[-most:]) if self.disk else (self.seq, [])

    def add(self, *documents: dict[str, Any]) -> None:
        """One change for each."""
        for members in documents:
            self.seq += 1
            self.recent.add([change(self.seq, **members)])

    def find(self, selector: dict[str, Any], since: int) -> list[int] | None:
        """The numbers of the changes that may match."""
        found = self.recent.find(anchors_of(selector), since, self.seq)
        return None if found is None else [seq for seq, _ in found]

    def test_what_matters(self) -> None:
        """Of what has changed since, those are found that share a fact with the selector, in order."""
        self.assertEqual(self.find({"type": 7}, 0), [])
        self.add({"type": 7}, {"type": 8}, {}, {"type": [7, 9]}, {"type": {"a": 7}}, {"type": 7.0})
        self.assertEqual(self.find({"type": 7}, 0), [1, 4, 6])
        self.assertEqual(self.find({"type": 7}, 1), [4, 6])
        self.assertEqual(self.find({"type": {"$exists": True}}, 2), [4, 5, 6])
        self.assertEqual(self.find({"$or": [{"type": 8}, {"type": 9}]}, 0), [2, 4])
        self.assertEqual(self.find({"type": 7}, 6), [])

    def test_not_known(self) -> None:
        """Where it is not known, that is said: nothing is left out."""
        self.add({"a": 1})
        self.assertIsNone(self.find({"a": 1}, 0))
        self.assertEqual(self.find({"a": 1}, 1), [])
        self.add({"a": 1})
        self.assertEqual(self.find({"a": 1}, 1), [2])
        self.assertIsNone(self.find({"a": 1}, 0))
        self.assertIsNone(self.find({"$not": {"a": 1}}, 2))
        self.assertIsNone(self.recent.find(anchors_of({"a": 1}), 2, 3))
        self.assertIsNone(Recent(5, lambda *_: (5, [])).find(anchors_of({"a": 1}), 4, 5))

    def test_look_back(self) -> None:
        """What was changed before anybody has asked for it, as after a start, is read once for all who come back."""
        self.disk = [change(seq, type=seq % 3) for seq in range(1, 8)]
        self.patch(recent_module, "LOOK_BACK", 5)
        self.seq = 7
        self.recent = Recent(7, self.latest)
        self.assertEqual(self.find({"type": 1}, 7), [])
        self.assertEqual(self.readings, 0)
        self.assertEqual(self.find({"type": 1}, 2), [4, 7])
        self.assertEqual(self.find({"type": 0}, 3), [6])
        self.assertIsNone(self.find({"type": 1}, 1))
        self.add({"type": 1, "a": 1})
        self.assertIsNone(self.find({"a": 1}, 2))
        self.disk.append(change(8, type=1, a=1))
        self.assertEqual(self.find({"type": 1}, 2), [4, 7, 8])
        self.assertEqual(self.readings, 1)
        self.assertEqual(self.find({"a": 1}, 4), [8])
        self.assertEqual(self.find({"type": 1}, 3), [4, 7, 8])
        self.assertEqual(self.readings, 2)

    def test_latest(self) -> None:
        """The database gives its last changes in order, as many and as large as asked for, and where they begin."""
        database = Database(None, "db", now_s=0.0, call_soon=lambda _: None)
        self.addCleanup(database.close)
        for id in ("a", "b", "c", "a"):
            database.put(id, [Leaf(1, ("x",), id == "b", '{"n":1}')], {"n": 1})
        database.commit()
        for most, most_bytes, begin, ids in ((9, 99, 0, "bca"), (3, 99, 0, "bca"), (2, 99, 2, "ca"), (9, 20, 2, "ca")):
            found, changes = database.latest(most, most_bytes)
            self.assertEqual((found, "".join(change.stored.id for change in changes)), (begin, ids))
            self.assertEqual(dict(changes[-1].document), {"_id": "a", "_rev": "1-x", "n": 1})
        self.assertIs(changes[0].document.get("_deleted"), None)
        self.assertIs(database.latest(9, 99)[1][0].document["_deleted"], True)

    def test_many_fields(self) -> None:
        """Only so many fields are kept in mind."""
        for number in range(MOST_FIELDS):
            self.assertEqual(self.find({f"f{number}": 1}, 0), [])
        self.add({"one more": 1})
        self.assertIsNone(self.find({"one more": 1}, 0))
        self.assertEqual(self.find({"f0": 1}, 0), [])

    def test_large_documents(self) -> None:
        """A change with long or many values is found by everybody: it is not kept in mind what they are."""
        self.assertEqual(self.find({"a": 1}, 0), [])
        self.add({"a": "x" * (LONG_CHARACTERS + 1)}, {"a": list(range(MOST_FACTS + 1))}, {"a": 2})
        self.assertEqual(self.find({"a": 1}, 0), [1, 2])
        self.assertEqual(self.find({"a": 1}, 1), [2])

    def test_of_ids(self) -> None:
        """The changes of documents that are named are found; not where it is less work to ask for each of them."""
        self.add(*({"id": id} for id in "abacb"))
        self.assertEqual(self.recent.of_ids({"a", "b", "x", "y", "z"}, 0, 5), [(1, "a"), (2, "b"), (3, "a"), (5, "b")])
        self.assertEqual(self.recent.of_ids({"a", "b"}, 3, 5), [(5, "b")])
        self.assertEqual(self.recent.of_ids({"a"}, 5, 5), [])
        self.assertIsNone(self.recent.of_ids({"a", "b"}, 2, 5))
        self.assertIsNone(self.recent.of_ids({"a", "b"}, 4, 6))
        self.assertIsNone(Recent(5, self.latest).of_ids({"a", "b"}, 4, 5))

    def test_bounded(self) -> None:
        """Only so many changes are kept, and nothing of the others."""
        self.patch(recent_module, "MOST_CHANGES", 3)
        self.patch(recent_module, "LOOK_BACK", 0)
        self.assertEqual(self.find({"a": 1}, 0), [])
        self.add({"a": 1}, {"a": "x" * 1000}, {"a": 2}, {"a": 1}, {"a": 1})
        self.assertIsNone(self.find({"a": 1}, 1))
        self.assertEqual(self.find({"a": 1}, 2), [4, 5])
        self.assertEqual(self.find({"a": 2}, 2), [3])
        self.add({}, {}, {})
        self.assertEqual(self.find({"a": 1}, 5), [])
        self.assertEqual(self.recent._by_anchor, {})
        self.assertEqual(self.recent._for_all, [])

    def test_every_match_is_found(self) -> None:
        """Whatever changes, a follower's selector matches nothing that is not found."""
        source = random.Random(7)
        values: list[Any] = [7, "7", "7_cmd", "8_cmd", None, True, 7.0, [7], ["7_cmd", 3], {"x": 1}, "y" * 400]
        selectors = [query.feed(mac_id, ids) for mac_id in (7, 8) for ids in ([], ["d3", "d5"])]
        for selector in selectors:
            self.find(selector, 0)
        documents = []
        for seq in range(1, 300):
            members = {
                name: source.choice(values) for name in ("type", "ret", "global_modules") if source.random() < 0.5
            }
            members |= {"_deleted": True} if source.random() < 0.1 else {}
            documents.append(change(seq, f"d{seq % 20}", **members))
            self.recent.add(documents[-1:])
        self.seq = 299
        for selector in selectors:
            matches = compile_selector(selector).matches
            for since in (0, 100, 290, 299):
                found = self.find(selector, since)
                assert found is not None
                wanted = {one.stored.seq for one in documents[since:] if matches(dict(one.document))}
                self.assertLessEqual(wanted, set(found))
                self.assertLess(len(found), 250)
