"""The machine's network interfaces, as far as a broadcast needs them."""

from __future__ import annotations

import array
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv4Interface

from attrs import frozen

_SIOCGIFCONF = 0x8912
_SIOCGIFFLAGS = 0x8913
_SIOCGIFNETMASK = 0x891B
_IFF_UP = 0x1
_IFF_BROADCAST = 0x2
_IFF_LOOPBACK = 0x8

_IFREQ_BYTES = struct.calcsize("16sLLHBBB0L")
"""struct ifreq: the name, and a union whose largest member holds two longs, so 40 bytes or (32 bits) 32."""

_MOST_ADDRESSES = 512

_WIDEST_WITHOUT_BROADCAST = 31
"""A prefix of 31 or 32 bits names no broadcast address (RFC 3021)."""


@frozen
class Interface:
    """One IPv4 address of an interface that reaches a network by broadcast."""

    name: str
    index: int
    address: str
    broadcast: str


def interfaces() -> tuple[Interface, ...]:
    """The IPv4 addresses of all interfaces that are up and can broadcast, the loopback interface among them.

    Asked of the kernel anew each time.  Empty on systems other than Linux, where the kernel is asked in other ways.
    """
    if sys.platform != "linux":
        return ()
    from fcntl import ioctl

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        room = array.array("B", bytes(_IFREQ_BYTES * _MOST_ADDRESSES))
        answer = ioctl(asked, _SIOCGIFCONF, struct.pack("iP", len(room), room.buffer_info()[0]))
        used_bytes = struct.unpack("iP", answer)[0]
        for start in range(0, used_bytes, _IFREQ_BYTES):
            # The whole record is handed back to the kernel: its address says which one of the interface is meant.
            record = room[start : start + _IFREQ_BYTES].tobytes()
            try:
                flags = struct.unpack_from("H", ioctl(asked, _SIOCGIFFLAGS, record), 16)[0]
                netmask = ioctl(asked, _SIOCGIFNETMASK, record)[20:24]
                # An address may bear a label of its own behind a colon.
                name = record[:16].split(b"\0")[0].split(b":")[0].decode("ascii", "replace")
                found.append(describe(name, socket.if_nametoindex(name), flags, record[20:24], netmask))
            except OSError:
                # It went away just now.
                continue
    return tuple(interface for interface in found if interface is not None)


def describe(name: str, index: int, flags: int, address: bytes, netmask: bytes) -> Interface | None:
    """The interface of that address; None where it is down or has no broadcast address.

    The broadcast address is computed, because the one that is set may be 0.0.0.0 (container networks): to the kernel
    the last address of a network is a broadcast address in any case.
    """
    own = IPv4Interface(f"{IPv4Address(address)}/{IPv4Address(netmask)}")
    if not flags & _IFF_UP or not flags & (_IFF_BROADCAST | _IFF_LOOPBACK):
        return None
    if own.network.prefixlen >= _WIDEST_WITHOUT_BROADCAST:
        return None
    return Interface(name, index, str(own.ip), str(own.network.broadcast_address))
