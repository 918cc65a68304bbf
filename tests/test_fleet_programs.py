"""Programs from the operator's side, on an embedded server."""

from __future__ import annotations

from typing import Any

from himbeerecouch.errors import AmbiguousProgram, Forbidden, NotFound, Unavailable, UnknownProgram, UnknownVersion
from himbeerecouch.fleet import deployments, programs, saving
from himbeerecouch.fleet.saving import Edit
from himbeerecouch.model import Json
from tests.cli_case import DATABASE
from tests.program_case import MAC_ID, ProgramCase


class FindTests(ProgramCase):
    async def test_find(self) -> None:
        """A program is found by its name, then by its id, then by what the tool would have called it."""
        await self.program("by-hand", name="blink", type=str(MAC_ID))
        await self.program(f"{MAC_ID}:heater", name="renamed")
        await self.program("other", name="blink", type=8)
        await self.program("answered", name="blink", ret=["", ""])
        for name, id in (
            ("blink", "by-hand"),
            ("by-hand", "by-hand"),
            ("renamed", f"{MAC_ID}:heater"),
            ("heater", f"{MAC_ID}:heater"),
        ):
            self.assertEqual((await programs.find(self.desk, MAC_ID, name))["_id"], id, name)
        with self.assertRaises(UnknownProgram) as raised:
            await programs.find(self.desk, MAC_ID, "other")
        self.assertEqual(raised.exception.known, ("renamed", "blink"))

    async def test_ambiguous(self) -> None:
        """Of two with one name neither is taken, unless one is meant by its id."""
        await self.program("a", name="blink")
        await self.program("b", name="blink")
        with self.assertRaises(AmbiguousProgram) as raised:
            await programs.find(self.desk, MAC_ID, "blink")
        self.assertEqual(raised.exception.ids, ("a", "b"))
        self.assertEqual((await programs.find(self.desk, MAC_ID, "b"))["_id"], "b")
        await self.program("blink", name="other")
        self.assertEqual((await programs.find(self.desk, MAC_ID, "blink"))["_id"], "blink")

    async def test_many_pis(self) -> None:
        """The programs of many Pis are found as those of a few are, however many pages they take."""
        self.patch(programs, "PAGE", 3)
        for mac_id in range(1, 13):
            await self.program(f"{mac_id}:blink", name="blink", type=mac_id if mac_id % 2 else str(mac_id))
        for mac_ids in (range(1, 5), range(1, 14)):
            found = await programs.find_all(self.desk, list(mac_ids), "blink")
            self.assertEqual(
                {mac_id: None if one is None else one["_id"] for mac_id, one in found.items()},
                {mac_id: f"{mac_id}:blink" if mac_id < 13 else None for mac_id in mac_ids},
            )

    def test_label(self) -> None:
        """A program without a usable name is called by its id."""
        names: list[Any] = ["n", "", 5, None]
        self.assertEqual([programs.label({"_id": "i", "name": name}) for name in names], ["n", "i", "i", "i"])


class SaveTests(ProgramCase):
    async def kept(self, id: str) -> list[tuple[str, str | None]]:
        """The history: generation and who, newest first."""
        return [(one.rev.partition("-")[0], one.by) for one in await programs.history(self.desk, id)]

    async def edit(self, id: str, **members: Any) -> Edit:
        """An edit of what is there."""
        before = await self.desk.find_one(DATABASE, id)
        return Edit(before, {**(before or {"_id": id, "type": MAC_ID}), **members})

    async def test_history(self) -> None:
        """What is replaced is kept first, also where others had saved it; who saved the new one is written down."""
        await self.program("p", code="a")
        await self.program("p", code="b")
        (saved,) = await saving.save(self.desk, [await self.edit("p", code="c")])
        self.assertEqual((saved.changed, saved.problem), (True, ""))
        self.assertEqual(await self.kept("p"), [("3", "admin"), ("2", None)])
        (again,) = await saving.save(self.desk, [await self.edit("p", code="c")])
        self.assertEqual((again.changed, again.rev), (False, saved.rev))
        versions = await programs.history(self.desk, "p")
        self.assertEqual([(one.document or {}).get("code") for one in versions], ["c", "b"])

    async def test_conflict(self) -> None:
        """Who was slower is told who was faster; what he had is not saved, and nothing is lost."""
        await self.program("p", code="a")
        mine = await self.edit("p", code="mine")
        await saving.save(self.desk, [await self.edit("p", code="theirs")])
        other = await self.edit("q", code="q")
        told = await saving.save(self.desk, [mine, other])
        self.assertEqual([(one.program, one.rev is None) for one in told], [("p", True), ("q", False)])
        self.assertIn("was saved meanwhile, by admin at 20", told[0].problem)
        self.assertEqual((await self.desk.get(DATABASE, "p"))["code"], "theirs")
        slow = await self.edit("q", code="mine")
        await saving.remove(self.desk, await self.desk.get(DATABASE, "q"))
        (told_of,) = await saving.save(self.desk, [slow])
        self.assertIn("q was removed meanwhile", told_of.problem)
        self.assertEqual(await self.kept("q"), [("2", "admin"), ("1", "admin")])

    async def test_taken(self) -> None:
        """The id of a new program may be that of a document which was handed to another Pi."""
        await self.program(f"{MAC_ID}:p", type=8)
        edits = await programs.edits(self.desk, [MAC_ID], "p", {"code": "a"})
        (saved,) = await saving.save(self.desk, list(edits.values()))
        self.assertEqual(saved.rev, None)
        self.assertIn("which is no program of this Pi", saved.problem)

    async def test_somebody(self) -> None:
        """Who saves by other means leaves no name."""
        rev = await self.program("p")
        self.assertEqual(await saving.saved_by(self.desk, "p", rev), "by somebody who left no name")

    async def test_remove(self) -> None:
        """A removal is kept with who did it; one that somebody has just replaced is not removed."""
        await self.program("p", code="a")
        before = await self.desk.get(DATABASE, "p")
        await self.program("p", code="b")
        late = await saving.remove(self.desk, before)
        self.assertEqual((late.rev, late.changed), (None, False))
        self.assertIn("meanwhile", late.problem)
        gone = await saving.remove(self.desk, await self.desk.get(DATABASE, "p"))
        self.assertEqual((gone.changed, gone.problem), (True, ""))
        self.assertEqual(await self.kept("p"), [("3", "admin"), ("2", None), ("1", None)])
        with self.assertRaises(UnknownProgram):
            await programs.find(self.desk, MAC_ID, "p")

    async def test_forbidden(self) -> None:
        """What the server does not let somebody save is told in its words."""
        code = 'function (doc) { if (doc.type !== "deployment" && doc.code === "b") throw({forbidden: "not b"}); }'
        await self.desk.put(DATABASE, {"_id": "_design/guard", "validate_doc_update": code})
        (saved,) = await saving.save(self.desk, [await self.edit("p", code="b")])
        self.assertEqual((saved.rev, saved.problem), (None, "not b"))

    async def test_history_that_may_not_be_written(self) -> None:
        """Without a history nothing is replaced; and where only who did it can't be written, it says so."""
        code = 'function (doc) { if (doc.type === "deployment") throw({forbidden: "no history"}); }'
        await self.desk.put(DATABASE, {"_id": "_design/guard", "validate_doc_update": code})
        (saved,) = await saving.save(self.desk, [await self.edit("p", code="a")])
        self.assertIsNotNone(saved.rev)
        self.assertIn("not who did it: document 'deployment:p:1-", saved.problem)
        with self.assertRaises(Forbidden):
            await saving.save(self.desk, [await self.edit("p", code="b")])
        with self.assertRaises(Forbidden):
            await saving.remove(self.desk, await self.desk.get(DATABASE, "p"))
        self.assertEqual((await self.desk.get(DATABASE, "p"))["code"], "a")

    async def test_removal_that_can_not_be_written_down(self) -> None:
        """A removal of which only who did it can't be written says so."""
        code = "function (doc) { if (doc.removed) throw({forbidden: 'no'}); }"
        await self.desk.put(DATABASE, {"_id": "_design/guard", "validate_doc_update": code})
        await self.program("p")
        gone = await saving.remove(self.desk, await self.desk.get(DATABASE, "p"))
        self.assertEqual(gone.changed, True)
        self.assertIn("it is removed, but not who did it", gone.problem)

    async def test_kept_once(self) -> None:
        """What is in the history stays as it is; what somebody has deleted from it is written again."""
        rev = await self.program("p")
        version = deployments.of(await self.desk.get(DATABASE, "p"), at=0.0, by="first")
        await saving.keep(self.desk, [version])
        await saving.keep(self.desk, [deployments.of({"_id": "p", "_rev": rev}, at=1.0, by="second")])
        (kept,) = await programs.history(self.desk, "p")
        self.assertEqual(kept, version)
        await self.desk.delete(DATABASE, kept.id, (await self.desk.get(DATABASE, kept.id))["_rev"])
        await saving.keep(self.desk, [version])
        self.assertEqual(await programs.history(self.desk, "p"), [version])

    def test_parts(self) -> None:
        """Many documents go in several requests; one that is too large for any goes alone."""
        small, large = {"_id": "s"}, {"_id": "l" * 100}
        documents = [small, small, large, small]
        self.assertEqual(list(saving.parts(documents, 30)), [[small, small], [large], [small]])
        self.assertEqual(list(saving.parts([])), [])

    def test_errors(self) -> None:
        """A row of _bulk_docs is the error that its word stands for."""
        table = {"forbidden": Forbidden, "unauthorized": Forbidden, "not_found": NotFound, "internal": Unavailable}
        for word, kind in table.items():
            error = saving.error_of({"id": "p", "error": word, "reason": "why"})
            self.assertEqual((type(error), str(error)), (kind, "document 'p': why"))


class VersionTests(ProgramCase):
    async def history_of(self, name: str) -> tuple[Json | None, list[str]]:
        """A program, and the revisions of it that are known."""
        now, versions = await programs.history_of(self.desk, MAC_ID, name)
        return now, [one.rev for one in versions]

    async def test_never_kept(self) -> None:
        """What nobody has kept yet is a version too."""
        rev = await self.program("p")
        now, revs = await self.history_of("p")
        self.assertEqual((now and now["_rev"], revs), (rev, [rev]))
        self.assertEqual(await programs.history(self.desk, "p"), [])

    async def test_removed(self) -> None:
        """A program that was removed has its versions, under its name and its id, but not another Pi's."""
        for id, mac_id in ((f"{MAC_ID}:p", MAC_ID), ("by-hand", MAC_ID), ("others", 8)):
            await self.program(id, type=mac_id)
            await saving.remove(self.desk, await self.desk.get(DATABASE, id))
        for name in ("p", "by-hand"):
            now, revs = await self.history_of(name)
            self.assertEqual((now, [rev.partition("-")[0] for rev in revs]), (None, ["2", "1"]))
        for name in ("others", "never"):
            with self.assertRaises(UnknownProgram):
                await self.history_of(name)

    async def test_version(self) -> None:
        """A version is meant by its revision or the beginning of it, or is the one before; never a guess."""
        await self.program("p", code="a")
        for code in ("b", "c"):
            before = await self.desk.get(DATABASE, "p")
            await saving.save(self.desk, [Edit(before, {**before, "code": code})])
        now, versions = await programs.history_of(self.desk, MAC_ID, "p")
        for rev, code in ((None, "b"), ("1", "a"), (versions[1].rev, "b")):
            found = programs.version(versions, now, "p", rev)
            self.assertEqual((found.document or {})["code"], code)
        for wrong, words in (("7", "no version '7'"), ("", "several versions")):
            with self.assertRaisesRegex(UnknownVersion, words):
                programs.version(versions, now, "p", wrong)
        with self.assertRaisesRegex(UnknownVersion, "no earlier version"):
            programs.version(versions[:1], now, "p", None)
