"""The machine's interfaces."""

from __future__ import annotations

import socket
import sys

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.discovery.netif import Interface, describe, interfaces

UP, BROADCAST, LOOPBACK = 0x1, 0x2, 0x8


class Interfaces(SynchronousTestCase):
    """What is known of them."""

    def test_described(self) -> None:
        """The broadcast address is the last one of the network; what is down or has none is left out."""
        for flags, address, netmask, broadcast in (
            (UP | BROADCAST, "192.168.1.7", "255.255.255.0", "192.168.1.255"),
            (UP | BROADCAST, "10.1.2.3", "255.255.240.0", "10.1.15.255"),
            (UP | LOOPBACK, "127.0.0.1", "255.0.0.0", "127.255.255.255"),
            (BROADCAST, "192.168.1.7", "255.255.255.0", None),
            (UP, "10.8.0.2", "255.255.255.0", None),
            (UP | BROADCAST, "10.0.0.1", "255.255.255.255", None),
            (UP | BROADCAST, "10.0.0.1", "255.255.255.254", None),
        ):
            found = describe("eth0", 2, flags, socket.inet_aton(address), socket.inet_aton(netmask))
            expected = None if broadcast is None else Interface("eth0", 2, address, broadcast)
            self.assertEqual(found, expected, (flags, address, netmask))

    def test_of_this_machine(self) -> None:
        """The kernel names the loopback interface with its real index."""
        self.assertIn(
            Interface("lo", socket.if_nametoindex("lo"), "127.0.0.1", "127.255.255.255"),
            interfaces(),
        )

    def test_gone_meanwhile(self) -> None:
        """An interface that goes away while the kernel is asked is left out."""

        def gone(_name: str) -> int:
            raise OSError("no interface with this name")

        self.patch(socket, "if_nametoindex", gone)
        self.assertEqual(interfaces(), ())

    def test_other_systems(self) -> None:
        """Where the kernel is no Linux, nothing is known, and nothing fails."""
        self.patch(sys, "platform", "darwin")
        self.assertEqual(interfaces(), ())
