"""Who this Pi is: the MacID that is its user name, its serial number, and the old formula of its password."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from attrs import frozen

from himbeerecouch.errors import IdentityUnknown, PasswordFileError

NO_SERIAL = "ERROR000000000"
"""What the old formula takes for the serial number where there is none."""
_USUAL_INTERFACES = ("eth0", "end0", "wlan0")
_PASSWORD_LIMIT_BYTES = 4096


@frozen
class Identity:
    """What the hardware, or the operator, says about who this Pi is."""

    mac_id: int | None
    """None where no interface is there (yet), but a serial number is."""
    serial: str | None
    folder: str
    """The name of this Pi's folder in the state directory."""
    fixed: bool = False
    """The operator gave the MacID: it is never replaced by the one of the first login."""


def find_identity(*, interface: str | None = None, mac_id: int | None = None, root: Path = Path("/")) -> Identity:
    """Read who this Pi is from sysfs and procfs below ``root``; ``IdentityUnknown`` where nothing tells.

    ``interface`` names the network interface whose address is the MacID; ``mac_id`` overrides it and names the
    folder.  Called by the daemon at its start, and by people through ``himbeerecouch.util``.
    """
    serial = find_serial(root)
    if mac_id is not None:
        if mac_id <= 0:
            raise IdentityUnknown(f"--mac-id {mac_id}: a MacID is a number above 0")
        return Identity(mac_id, serial, str(mac_id), fixed=True)
    found = find_mac_id(interface, root)
    # The name of a folder: the serial number comes from the firmware, and nobody promises what is in it.
    safe = re.sub(r"[^0-9A-Za-z]", "", serial or "")
    if safe.strip("0"):
        return Identity(found, serial, safe)
    if found is None:
        named = f"network interface {interface} is not there" if interface else "there is no physical network interface"
        raise IdentityUnknown(f"{named}: this Pi does not know its MacID. Give --interface or --mac-id")
    return Identity(found, serial, str(found))


def find_serial(root: Path = Path("/")) -> str | None:
    """The serial number of the Pi as its firmware tells it; None off a Pi."""
    try:
        text = (root / "proc/device-tree/serial-number").read_text(encoding="ascii", errors="replace")
        if serial := text.strip("\0 \n"):
            return serial
    except OSError:
        pass
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    line = re.search(r"^Serial\s*:\s*(\S+)", text, re.MULTILINE)
    return line[1] if line else None


def find_mac_id(interface: str | None = None, root: Path = Path("/")) -> int | None:
    """The MacID: that of ``interface``, else of the usual ones, else of the first physical one; None without any."""
    net = root / "sys/class/net"
    if interface is not None:
        # The name is the operator's and becomes part of a path.
        return _address(net / interface) if re.fullmatch(r"[^/]+", interface) else None
    try:
        # Only what hangs on a bus has a device: bridges, tunnels and the loopback have none.
        physical = sorted(found.name for found in net.iterdir() if (found / "device").exists())
    except OSError:
        physical = []
    return next((address for name in (*_USUAL_INTERFACES, *physical) if (address := _address(net / name))), None)


def _address(interface: Path) -> int | None:
    try:
        text = (interface / "address").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text.replace(":", ""), 16) or None if re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text) else None


def legacy_password(mac_id: int, serial: str | None) -> str:
    """The password of the old formula, which whoever knows the Pi's address can guess."""
    # Not a choice of ours: it is what the fleets of old log in with.
    return hashlib.sha1(f"{mac_id}{serial or NO_SERIAL}".encode(), usedforsecurity=False).hexdigest()


def read_password_file(path: Path) -> str:
    """The one line of the operator's password file; ``PasswordFileError`` says what is wrong with it."""
    try:
        # A pipe would block here for ever, and whatever else is no file has no line.
        if not path.is_file():
            raise PasswordFileError(str(path), "it is no file" if path.exists() else "it does not exist")
        with path.open("rb") as file:
            text = file.read(_PASSWORD_LIMIT_BYTES + 1).decode("utf-8-sig").strip()
    except OSError as error:
        raise PasswordFileError(str(path), f"it can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PasswordFileError(str(path), "it is not UTF-8") from error
    if not text:
        raise PasswordFileError(str(path), "it is empty")
    if len(text) > _PASSWORD_LIMIT_BYTES or any(ord(character) < 32 for character in text):
        raise PasswordFileError(str(path), "it holds more than one line")
    return text
