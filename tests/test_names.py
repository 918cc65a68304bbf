"""How people call a Pi."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.errors import UnknownPi
from himbeerecouch.fleet import names
from tests.cli_case import DATABASE, CliCase


class WordTests(SynchronousTestCase):
    def test_mac_ids(self) -> None:
        """A MacID is read in decimal, and as a MAC address with colons or dashes."""
        table = {
            "7": 7,
            " 202481600350967 ": 202481600350967,
            "b8:27:eb:12:34:f7": 0xB827EB1234F7,
            "B8-27-EB-12-34-F7": 0xB827EB1234F7,
            "0": None,
            "": None,
            "-7": None,
            "1e3": None,
            "\u0667": None,
            "b8:27-eb:12:34:f7": None,
            "b827eb1234f7": None,
            "00:00:00:00:00:00": None,
            "lab": None,
            "9" * 30: None,
        }
        self.assertEqual({text: names.mac_id(text) for text in table}, table)

    def test_names(self) -> None:
        """A name is short and plain, and is neither a number nor a MAC address."""
        good = ["lab-thermo", "a", "7a", "x.y_z-1", "a" * 63, "b827eb1234f7"]
        bad = ["", "-a", ".a", "A", "a b", "a/b", "ä", "123", "b8-27-eb-12-34-f7", "a" * 64, "a\n"]
        self.assertEqual([name for name in good + bad if names.is_name(name)], good)

    def test_clean(self) -> None:
        """Case and blanks around a name don't count."""
        self.assertEqual(names.clean(" Lab-Thermo\n"), "lab-thermo")


class ResolveTests(CliCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        for name, mac_id in (("lab-thermo", 7), ("lab-pump", 8)):
            await self.desk.put(DATABASE, names.document(name, mac_id))
        await self.desk.put(DATABASE, {"_id": "name:odd", "mac_id": True})

    async def test_all_names(self) -> None:
        """All names are listed, each with its Pi; what says nothing of a Pi is left out."""
        self.assertEqual(await names.all_names(self.desk), {"lab-pump": 8, "lab-thermo": 7})

    async def test_resolve(self) -> None:
        """A number is itself, a name is looked up, and one that nobody bears is unknown, with those that are near."""
        self.assertEqual(await names.resolve(self.desk, "123"), 123)
        self.assertEqual(await names.resolve(self.desk, "Lab-Thermo"), 7)
        for text, near in (("lab-termo", ("lab-thermo",)), ("odd", ()), ("*", ())):
            try:
                await names.resolve(self.desk, text)
            except UnknownPi as error:
                self.assertEqual(error.near[:1], near)
                self.assertIn(near[0] if near else "lists the names", str(error))
            else:
                self.fail(f"{text} is nobody's name")
