"""What documents mean, and why some are refused."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import documents
from himbeerecouch.errors import DocumentError
from himbeerecouch.model import Action, Command, Exports, Program, Reading, Restart

MAC = 202481600350967
LIMIT = 1000


def read(**members: Any) -> Reading:
    return documents.read({"_id": "doc", "_rev": "1-a", **members}, MAC, max_source_bytes=LIMIT)


def program(**members: Any) -> Program:
    found = read(type=MAC, **members).program
    assert found is not None
    return found


def command(**members: Any) -> Command:
    found = read(type=f"{MAC}_cmd", **members).command
    assert found is not None
    return found


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


class ProgramTests(SynchronousTestCase):
    def test_code(self) -> None:
        """``code`` is the module ``main``; the name is for people, the id stands in where there is none."""
        found = program(name="blink", code="def main(): pass")
        self.assertEqual(
            (found.id, found.rev, found.name, dict(found.modules), found.offline),
            ("doc", "1-a", "blink", {"main": "def main(): pass"}, True),
        )
        self.assertEqual([program(code="", name=name).name for name in (None, "", 5)], ["doc", "doc", "doc"])

    def test_modules(self) -> None:
        """``modules["main"]`` serves where there is no ``code``, and ``code`` wins where both are there."""
        self.assertEqual(program(modules={"main": "a", "pkg.sub": "b"}).modules, {"main": "a", "pkg.sub": "b"})
        self.assertEqual(program(code="c", modules={"main": "a"}).modules, {"main": "c"})
        self.assertEqual(program(code=None, modules={"main": "a"}).modules, {"main": "a"})

    def test_nothing_to_run(self) -> None:
        """With neither ``code`` nor a module ``main`` nothing runs, and only the global modules count."""
        self.assertEqual(read(type=MAC), Reading())
        self.assertEqual(read(type=MAC, modules={"helper": ""}), Reading())
        found = read(type=MAC, global_modules={"g": "X = 1"})
        self.assertEqual(found, Reading(exports=Exports("doc", "1-a", {"g": "X = 1"})))

    def test_addressed(self) -> None:
        """The MacID may be a number, whole or with a point, or a decimal string; anything else is another's."""
        for ours in (MAC, float(MAC), str(MAC)):
            self.assertIsNotNone(read(type=ours, code="").program, ours)
        for kind in (True, MAC + 1, f"0{MAC}", [MAC], {"a": MAC}, None, f"{MAC}_cmd2"):
            self.assertEqual(read(type=kind, code=""), Reading(), kind)
        self.assertEqual(documents.read({"_id": "d", "type": True, "code": ""}, 1, max_source_bytes=9), Reading())

    def test_answered(self) -> None:
        """What bears a ``ret`` is nothing, whatever else it has: the database's indexes leave it out as well."""
        self.assertEqual(read(type=MAC, code="x", global_modules={"g": ""}, ret=None), Reading())

    def test_another_pis_global_modules_count(self) -> None:
        """Global modules are for every program of the database, whichever Pi their document is for."""
        found = read(type=5, code="x", global_modules={"g": ""})
        self.assertEqual((found.program, found.exports), (None, Exports("doc", "1-a", {"g": ""})))
        self.assertEqual(read(type=5, global_modules=None), Reading())

    def test_digest(self) -> None:
        """The digest changes with anything but the revision, whatever the order of the members."""
        one = documents.read({"_id": "d", "_rev": "1-a", "type": MAC, "code": "x"}, MAC, max_source_bytes=9).program
        same = documents.read({"code": "x", "type": MAC, "_rev": "2-b", "_id": "d"}, MAC, max_source_bytes=9).program
        assert one is not None and same is not None
        self.assertEqual(one.digest, same.digest)
        self.assertNotEqual(program(code="x").digest, program(code="x", note=1).digest)

    def test_offline(self) -> None:
        """Only ``"offline": false`` makes a program wait for the server."""
        self.assertEqual([program(code="", offline=value).offline for value in (True, None, 0)], [True] * 3)
        self.assertFalse(program(code="", offline=False).offline)

    def test_restart_and_rollback(self) -> None:
        """A program is started again after a crash, and never rolled back, unless its document says otherwise."""
        table = {None: Restart.ON_FAILURE} | {restart.value: restart for restart in Restart}
        self.assertEqual({said: program(code="", restart=said).restart for said in table}, table)
        self.assertEqual((program(code="").restart, program(code="").rollback), (Restart.ON_FAILURE, False))
        self.assertEqual(
            [program(code="", rollback=said).rollback for said in (True, False, None)], [True, False, False]
        )

    def test_stopped(self) -> None:
        """A program runs unless its document says that it is stopped."""
        self.assertEqual([program(code="", stopped=said).stopped for said in (True, False, None)], [True, False, False])
        self.assertFalse(program(code="").stopped)

    def test_refused(self) -> None:
        """Each document that can't be used says why."""
        table: tuple[tuple[dict[str, Any], str], ...] = (
            ({"code": 5}, '"code" must be a string'),
            ({"code": "x" * (LIMIT + 1)}, "has 1001 bytes; at most 1000"),
            ({"code": "ü" * 501}, "has 1002 bytes"),
            ({"code": "a\0b"}, '"code" has a NUL'),
            ({"code": "'\ud800'"}, "lone surrogate"),
            ({"modules": ["main"]}, '"modules" must be an object'),
            ({"modules": {"main": None}}, '"modules.main" must be a string'),
            ({"modules": {"foo-bar": ""}}, "can't be the name of a module"),
            ({"modules": {"": ""}}, "can't be the name"),
            ({"modules": {"a..b": ""}}, "can't be the name"),
            ({"modules": {"class": ""}}, "can't be the name"),
            ({"modules": {"a\nb": ""}}, r'"a\nb" in "modules"'),
            ({"global_modules": "x"}, '"global_modules" must be an object'),
            ({"code": "", "restart": "sometimes"}, '"restart" must be one of "always", "on-failure", "never"'),
            ({"code": "", "restart": ["always"]}, '"restart" must be one of'),
            ({"code": "", "restart": False}, '"restart" must be one of'),
            ({"code": "", "rollback": "true"}, '"rollback" must be true or false'),
            ({"code": "", "rollback": 1}, '"rollback" must be true or false'),
            ({"code": "", "stopped": "yes"}, '"stopped" must be true or false'),
            ({"code": "", "deep": nested(65)}, "nested more than 64 levels"),
        )
        for members, reason in table:
            error = self.assertRaises(DocumentError, read, type=MAC, **members)
            self.assertIn(reason, error.reason)
            self.assertEqual(error.document_id, "doc")
            self.assertIn("'doc'", str(error))

    def test_accepted(self) -> None:
        """What is merely unusual is taken: 64 levels, a module called ``os``, names in other scripts."""
        program(code="", deep=nested(63))
        self.assertEqual(set(program(code="", modules={"os": "", "ﬁ": ""}).modules), {"main", "os", "fi"})

    def test_depth_counts_objects_too(self) -> None:
        """Objects in objects count as lists in lists do."""
        value: Any = 0
        for _ in range(65):
            value = {"a": value}
        self.assertRaises(DocumentError, read, type=MAC, code="", deep=value)


class PrintableTests(SynchronousTestCase):
    def test_escaped_and_cut(self) -> None:
        """A name goes to the log on one line, whatever is in it."""
        self.assertEqual(documents.printable("a\nb\x1b[1m\0ü"), "a\\nb\\x1b[1m\\x00ü")
        self.assertEqual(documents.printable("abc", 2), "ab...")
        self.assertEqual(program(code="", name="\n" * 10_000).name, "\\n" * 200 + "...")


class CommandTests(SynchronousTestCase):
    def test_command(self) -> None:
        """``cmd`` is the program and its arguments; all else has a default."""
        found = command(cmd=["uname", "-a"])
        self.assertEqual(
            (
                found.id,
                found.rev,
                found.argv,
                found.action,
                found.timeout_s,
                found.expires,
                found.cancel,
                found.claimed,
            ),
            ("doc", "1-a", ("uname", "-a"), None, 600.0, None, False, False),
        )
        self.assertEqual(found.body["cmd"], ["uname", "-a"])

    def test_members(self) -> None:
        """Timeout, expiry, cancel and an earlier claim are read."""
        found = command(
            cmd=["x"], timeout=5, expires="1970-01-01T00:01:00Z", cancel=True, execution={"state": "running"}
        )
        self.assertEqual((found.timeout_s, found.expires, found.cancel, found.claimed), (5.0, 60.0, True, True))
        self.assertEqual([command(cmd=["x"], timeout=10**n).timeout_s for n in (12, 400)], [1e9, 1e9])

    def test_action(self) -> None:
        """An action stands in place of ``cmd``."""
        found = command(action="identify")
        self.assertEqual((found.action, found.argv), (Action.IDENTIFY, ()))

    def test_ignored(self) -> None:
        """What has been answered, even by null, and what is for another Pi, is nothing."""
        self.assertEqual(read(type=f"{MAC}_cmd", cmd=["x"], ret=None), Reading())
        self.assertEqual(read(type="5_cmd", cmd=["x"]), Reading())

    def test_refused(self) -> None:
        """Each command that can't be run says why."""
        table: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, '"cmd" must be a list of strings'),
            ({"cmd": "ls"}, "must be a list of strings"),
            ({"cmd": []}, "must be a list of strings"),
            ({"cmd": ["sleep", 5]}, "must be a list of strings"),
            ({"cmd": ["", "x"]}, "must name a program"),
            ({"cmd": ["a", "b\0"]}, "NUL"),
            ({"cmd": ["a", "\ud800"]}, "lone surrogate"),
            ({"cmd": ["a", "x" * 128 * 1024]}, "more than 131071 bytes"),
            ({"cmd": ["a"], "timeout": 0}, '"timeout" must be'),
            ({"cmd": ["a"], "timeout": True}, '"timeout" must be'),
            ({"cmd": ["a"], "timeout": "5"}, '"timeout" must be'),
            ({"cmd": ["a"], "expires": "tomorrow"}, '"expires" must be a time'),
            ({"cmd": ["a"], "expires": 5}, '"expires" must be a time'),
            ({"action": "explode"}, '"action" must be one of identify, restart, rotate'),
            ({"action": ["restart"]}, '"action" must be one of'),
            ({"action": "restart", "cmd": ["a"]}, "both"),
        )
        for members, reason in table:
            error = self.assertRaises(DocumentError, read, type=f"{MAC}_cmd", **members)
            self.assertIn(reason, error.reason, members)

    def test_argument_at_the_limit(self) -> None:
        """The longest argument that Linux takes is taken."""
        command(cmd=["a", "x" * (128 * 1024 - 1)])


class WatchTests(SynchronousTestCase):
    def test_watch(self) -> None:
        """Who looks at the log of a Pi says until when; nonsense is refused with the reason."""
        self.assertEqual(read(type=f"{MAC}_watch", until="1970-01-01T00:01:00Z"), Reading(watched_until=60.0))
        self.assertEqual(read(type=f"{MAC}_watch"), Reading())
        self.assertEqual(read(type="5_watch", until="1970-01-01T00:01:00Z"), Reading())
        nonsense: tuple[object, ...] = (5, "soon", [], True)
        for until in nonsense:
            with self.assertRaises(DocumentError) as caught:
                read(type=f"{MAC}_watch", until=until)
            self.assertIn('"until" must be a time', caught.exception.reason)
