"""What ran last becomes files, and files become it again, or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import documents
from himbeerecouch.boot.kept import Entry, entries, file_name, is_file_name, parse, render
from himbeerecouch.model import Exports, GlobalModule, Json, Program

MAC = 7


def program(**members: Any) -> Program:
    document: Json = {"_id": "p", "_rev": "1-a", "type": MAC, "code": "x = 'ä\u2028'", **members}
    found = documents.read(document, MAC, max_source_bytes=1000).program
    assert found is not None
    return found


def module(name: str, document_id: str, source: str = "y") -> GlobalModule:
    return GlobalModule(name, source, document_id, "2-b", f"digest of {source}")


def with_digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


class KeptTests(SynchronousTestCase):
    def parse(self, data: bytes) -> Entry | None:
        return parse(data, MAC, max_source_bytes=1000)

    def test_entries(self) -> None:
        """Each document has one file, with its program, its global modules, or both; not what waits for the server."""
        both, plain, waits = program(_id="both"), program(_id="plain"), program(_id="waits", offline=False)
        modules = [module("g", "both"), module("h", "lib"), module("i", "lib", "z")]
        self.assertEqual(
            entries([both, plain, waits], modules, lambda id: None),
            {
                file_name("both"): Entry(both, Exports("both", "2-b", {"g": "y"})),
                file_name("plain"): Entry(plain),
                file_name("lib"): Entry(None, Exports("lib", "2-b", {"h": "y", "i": "z"})),
            },
        )

    def test_there_and_back(self) -> None:
        """What is read is what was written, to the digest; so nothing is restarted by the feed."""
        for name, entry in {
            "program": Entry(program()),
            "all members": Entry(
                program(name="n", modules={"a.b": ""}, restart="always", rollback=True, other=[1.5, None])
            ),
            "surrogate": Entry(program(note="\ud800")),
            "exports": Entry(None, Exports("lib", "1-a", {"g": "y"})),
            "good": Entry(program(rollback=True), good=program(code="old")),
            "good itself": Entry(program(rollback=True), good=program(rollback=True)),
            "both": Entry(program(), Exports("p", "1-a", {"g": "y"})),
        }.items():
            with self.subTest(name=name):
                found = self.parse(render(entry))
                self.assertEqual(found, entry)
                if found and found.program and entry.program:
                    self.assertEqual(found.program.body, entry.program.body)

    def test_garbage(self) -> None:
        """Whatever else a file holds is nothing."""
        good = render(Entry(program()))
        cases: Mapping[str, bytes] = {
            "empty": b"",
            "zeros": bytes(len(good)),
            "cut": good[:-1],
            "changed": good.replace(b"x = ", b"x =_"),
            "no json": with_digest(b"{"),
            "no object": with_digest(b"[]"),
            "a member missing": with_digest(b"{}"),
            "deep": with_digest(b"[" * 100_000),
            "document of another kind": with_digest(json.dumps({"program": [1], "exports": None}).encode()),
            "exports of another kind": with_digest(json.dumps({"program": None, "exports": 5}).encode()),
        }
        for name, data in cases.items():
            with self.subTest(name=name):
                self.assertIsNone(self.parse(data))

    def test_not_taken_over(self) -> None:
        """A program that this Pi does not take as it is set up now is left out; the global modules stay."""
        exports = Exports("p", "1-a", {"g": "y"})
        data = render(Entry(program(), exports))
        for entry in (parse(data, 8, max_source_bytes=1000), parse(data, MAC, max_source_bytes=3)):
            self.assertEqual(entry, Entry(None, exports))

    def test_body_does_not_count(self) -> None:
        """Two programs are the same where all that counts is: the document as such is only kept."""
        self.assertEqual(program(), evolve(program(), body={}))

    def test_file_names(self) -> None:
        """Any id has a name that a file can have, and no two have the same."""
        ids = ["a", "A", "a/b", "../x", "\0", "\ud800", "ä" * 5000, "", "."]
        names = [file_name(id) for id in ids]
        self.assertEqual(len(set(map(str.lower, names))), len(ids))
        for name in names:
            self.assertRegex(name, r"\Akept-[0-9a-f]{32}\.json\Z")
            self.assertEqual(
                [is_file_name(other) for other in (name, f"{name}.bad", f"{name}.new", "lock")],
                [True, False, False, False],
            )
