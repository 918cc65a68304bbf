"""Who a Pi is, by what its kernel and firmware tell."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.errors import IdentityUnknown, PasswordFileError
from himbeerecouch.identity import Identity, find_identity, find_serial, legacy_password, read_password_file

MAC_ID = 202481600350967
MAC = "b8:27:eb:dc:ca:f7"
SERIAL = "00000000dbdccaf7"


class MachineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def interface(self, name: str, address: str | None, *, physical: bool = True) -> None:
        folder = self.root / "sys/class/net" / name
        folder.mkdir(parents=True)
        if address is not None:
            (folder / "address").write_text(address + "\n")
        if physical:
            (folder / "device").mkdir()

    def firmware(self, serial: bytes) -> None:
        path = self.root / "proc/device-tree/serial-number"
        path.parent.mkdir(parents=True)
        path.write_bytes(serial)

    def cpuinfo(self, text: str) -> None:
        path = self.root / "proc/cpuinfo"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_pi(self) -> None:
        """On a Pi the serial number names the folder, and the wired interface the MacID."""
        self.interface("wlan0", "b8:27:eb:00:00:01")
        self.interface("eth0", "B8:27:EB:DC:CA:F7")
        self.firmware(SERIAL.encode() + b"\0")
        self.assertEqual(find_identity(root=self.root), Identity(MAC_ID, SERIAL, SERIAL))

    def test_order_of_interfaces(self) -> None:
        """The usual interfaces in their order, then the first physical one; never a bridge or the loopback."""
        present = [
            ("lo", "00:00:00:00:00:00", False),
            ("br0", "02:00:00:00:00:09", False),
            ("usb1", "02:00:00:00:00:06", True),
            ("enx1", "02:00:00:00:00:05", True),
            ("wlan0", "02:00:00:00:00:03", False),
            ("end0", "02:00:00:00:00:02", False),
            ("eth0", "02:00:00:00:00:01", False),
        ]
        expected = {"eth0": 1, "end0": 2, "wlan0": 3, "enx1": 5, "usb1": 6}
        while present:
            self.root = Path(self.mktemp())
            for name, address, physical in present:
                self.interface(name, address, physical=physical)
            last = present.pop()[0]
            with self.subTest(last=last):
                if last in expected:
                    found = find_identity(root=self.root).mac_id
                    names = {last, *(one[0] for one in present)}
                    wanted = next(number for name, number in expected.items() if name in names)
                    self.assertEqual(found, 0x020000000000 + wanted)
                else:
                    self.assertRaises(IdentityUnknown, find_identity, root=self.root)

    def test_no_address(self) -> None:
        """An interface without an Ethernet address is passed over."""
        self.interface("eth0", None)
        self.interface("end0", "00:00:00:00:00:00")
        self.interface("wlan0", "80:00:00:48:fe:80:00:00:00:00:00:00:e4:1d:2d:03:00:7b:f0:01")
        self.interface("can0", "")
        self.interface("enp3", MAC)
        self.assertEqual(find_identity(root=self.root).mac_id, MAC_ID)

    def test_no_interfaces(self) -> None:
        """Without any network, the serial number still tells which folder is this Pi's."""
        self.assertRaises(IdentityUnknown, find_identity, root=self.root)
        self.firmware(SERIAL.encode())
        self.assertEqual(find_identity(root=self.root).folder, SERIAL)

    def test_interface_given(self) -> None:
        """--interface is what counts; without it and a serial number, the error says what is missing."""
        self.interface("eth0", "02:00:00:00:00:01")
        self.interface("dummy7", "02:00:00:00:00:07", physical=False)
        self.assertEqual(find_identity(interface="dummy7", root=self.root).mac_id, 0x020000000007)
        for name in ("eth9", "../net/eth0", ""):
            error = self.assertRaises(IdentityUnknown, find_identity, interface=name, root=self.root)
            self.assertIn("--mac-id", str(error))

    def test_interface_is_late(self) -> None:
        """A Pi whose interface is not there yet still knows its folder."""
        self.firmware(SERIAL.encode())
        self.assertEqual(find_identity(interface="wlan0", root=self.root), Identity(None, SERIAL, SERIAL))

    def test_mac_id_given(self) -> None:
        """--mac-id overrides all, and names the folder: many simulated Pis may live on one machine."""
        self.firmware(SERIAL.encode())
        self.assertEqual(find_identity(mac_id=42, root=self.root), Identity(42, SERIAL, "42", fixed=True))
        for bad in (0, -1):
            self.assertRaises(IdentityUnknown, find_identity, mac_id=bad, root=self.root)

    def test_no_serial(self) -> None:
        """Off a Pi the MacID names the folder; so it does where the serial number is nothing but zeros."""
        self.interface("eth0", MAC)
        self.assertEqual(find_identity(root=self.root).folder, str(MAC_ID))
        self.cpuinfo("Serial\t\t: 0000000000000000\n")
        identity = find_identity(root=self.root)
        self.assertEqual((identity.folder, identity.serial), (str(MAC_ID), "0" * 16))

    def test_serial(self) -> None:
        """The firmware's word comes first, then the kernel's."""
        self.assertIsNone(find_serial(self.root))
        self.cpuinfo("processor\t: 0\nmodel name\t: no Serial : here\n")
        self.assertIsNone(find_serial(self.root))
        self.cpuinfo(f"Hardware\t: BCM2835\nRevision\t: a02082\nSerial\t\t: {SERIAL}\n")
        self.assertEqual(find_serial(self.root), SERIAL)
        self.firmware(b"\0")
        self.assertEqual(find_serial(self.root), SERIAL)
        (self.root / "proc/device-tree/serial-number").write_bytes(b"1000000012345678\0")
        self.assertEqual(find_serial(self.root), "1000000012345678")

    def test_serial_is_no_path(self) -> None:
        """Whatever firmware says, the folder stays inside the state directory."""
        self.interface("eth0", MAC)
        self.firmware(b"../../etc/x y\0")
        self.assertEqual(find_identity(root=self.root).folder, "etcxy")

    def test_this_machine(self) -> None:
        """Here, whatever here is, the answer is the same twice."""
        try:
            self.assertEqual(find_identity(), find_identity())
        except IdentityUnknown:
            self.assertFalse(any((found / "device").exists() for found in Path("/sys/class/net").iterdir()))


class PasswordTests(SynchronousTestCase):
    def test_old_formula(self) -> None:
        """The old formula is the SHA-1 of both numbers in a row; a fixed word stands for a missing serial number."""
        self.assertEqual(legacy_password(MAC_ID, SERIAL), "b7c99faea8b15487c6e2e9cba7f1a953d05c6c57")
        self.assertEqual(legacy_password(1, None), "599e42fc6b4330546f25e61d7c7ed6023dc043ff")

    def test_password_file(self) -> None:
        """The one line counts, without what editors put around it."""
        path = Path(self.mktemp())
        for data in (b"secret", b"secret\n", b"\xef\xbb\xbfsecret\r\n", b"  secret  \n\n"):
            path.write_bytes(data)
            with self.subTest(data=data):
                self.assertEqual(read_password_file(path), "secret")

    def test_bad_password_file(self) -> None:
        """Whatever is wrong with it is said, with its name, and nothing of what is in it."""
        path = Path(self.mktemp())
        for data, reason in (
            (b"", "empty"),
            (b" \n", "empty"),
            (b"secret\nsecond", "more than one line"),
            (b"secret" * 1000, "more than one line"),
            (b"secret\xff", "UTF-8"),
            (None, "does not exist"),
        ):
            with self.subTest(data=data):
                if data is None:
                    path.unlink()
                else:
                    path.write_bytes(data)
                error = self.assertRaises(PasswordFileError, read_password_file, path)
                self.assertIn(reason, str(error))
                self.assertIn(str(path), str(error))
                self.assertNotIn("secret", str(error))
        os.mkfifo(path)
        self.assertIn("no file", str(self.assertRaises(PasswordFileError, read_password_file, path)))
        self.assertRaises(PasswordFileError, read_password_file, Path("/proc/self/mem"))
