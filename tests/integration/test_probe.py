"""Asking for Pis across real networks, with the real twistd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.netns import ROOT, Namespace, start_pi

PROBE = "himbeerecouch-probe"
SERVER = "http://server.name:5984"


LISTENER = """
import socket
heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
print("ready", flush=True)
seen = b""
while b"the end of it" not in seen:
    seen += heard.recv(65536)
print("password of 7" in seen.decode("latin-1"), seen.count(b'"server"') > 0, flush=True)
"""
"""Reads whatever passes on the networks of its machine, until it reads the words that end it."""

WITHOUT_NACL = "import sys; sys.modules['nacl'] = None; "


def twistd(*arguments: str) -> tuple[str, ...]:
    """The command line of twistd with this very Python."""
    return (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments)


class AcrossNetworks(TestCase):
    """Asking from a machine with two cables, and without a default route."""

    def setUp(self) -> None:
        self.asker = Namespace(self)
        self.near, self.far = Namespace(self), Namespace(self)
        self.asker.cable(self.near, "10.71.0.1/24", "10.71.0.7/24")
        self.asker.cable(self.far, "10.72.0.1/20", "10.72.0.8/20")

    def test_every_network_is_asked(self) -> None:
        """The Pis of both networks answer, with or without -n; stdout holds the table only, and no file is left."""
        start_pi(self, self.near, 7)
        start_pi(self, self.far, 8, "enrolled")
        folder = Path(self.mktemp())
        folder.mkdir()
        # As a daemon that runs in this folder leaves it.
        (folder / "twistd.pid").write_text(str(os.getpid()))
        table = [
            "MacID  address    password",
            "7      10.71.0.7  password of 7",
            "8      10.72.0.8  (enrolled)",
        ]
        # Long enough to ask twice: who was answered a moment ago is answered a second later.
        for foreground in ((), ("-n",)):
            ran = self.asker.run(*twistd(*foreground, PROBE, "--server", SERVER, "--timeout", "1.2"), cwd=folder)
            self.assertEqual((ran.stdout.splitlines(), ran.stderr, ran.returncode), (table, "", 0))
        ran = self.asker.run(*twistd(PROBE, "--server", SERVER, "--timeout", "1.2", "--json"), cwd=folder)
        self.assertEqual([found["MacID"] for found in json.loads(ran.stdout)], [7, 8])
        self.assertEqual([path.name for path in folder.iterdir()], ["twistd.pid"])

    def test_two_cables_into_one_network(self) -> None:
        """Where two interfaces have the same network, as cable and radio may, each is asked."""
        other = Namespace(self)
        self.asker.cable(other, "10.71.0.2/24", "10.71.0.9/24")
        start_pi(self, self.near, 7)
        start_pi(self, other, 9)
        ran = self.asker.run(*twistd(PROBE, "--server", SERVER, "--timeout", "0.5", "--json"))
        self.assertEqual([found["MacID"] for found in json.loads(ran.stdout)], [7, 9])

    def test_several_addresses(self) -> None:
        """An interface with two addresses is asked at both networks."""
        self.near.ip("address", "flush", "scope", "global")
        device = json.loads(self.near.run("ip", "-j", "link", "show", "type", "veth").stdout)[0]["ifname"]
        asking = json.loads(self.asker.run("ip", "-j", "address", "show", "to", "10.71.0.0/24").stdout)[0]["ifname"]
        self.near.ip("address", "add", "10.73.0.7/24", "dev", device)
        self.asker.ip("address", "add", "10.73.0.1/24", "dev", asking, "label", f"{asking}:b"[:15])
        start_pi(self, self.near, 7)
        ran = self.asker.run(*twistd(PROBE, "--server", SERVER, "--timeout", "0.5", "--json"))
        self.assertEqual([found["address"] for found in json.loads(ran.stdout)], ["10.73.0.7"])

    def test_the_functions(self) -> None:
        """broadcast_message finds the one that waits, and none where all are enrolled."""
        start_pi(self, self.near, 7)
        start_pi(self, self.far, 8, "enrolled")
        ask = f"from himbeerecouch.discovery.ask import broadcast_message as b; print(b({SERVER!r}, 0.5))"
        ran = self.asker.run(sys.executable, "-c", ask)
        self.assertEqual(ran.stdout.strip(), "{'MacID': 7, 'password': 'password of 7'}")
        ran = self.far.run(sys.executable, "-c", ask)
        self.assertIn(
            "NobodyAnswered: no Raspberry Pi that waits to be enrolled answered; enrolled already: 8", ran.stderr
        )

    def test_one_who_waits_without_a_daemon(self) -> None:
        """receive_broadcast_message on one machine and broadcast_message on the other find each other."""
        receive = (
            "from himbeerecouch import util\n"
            "from himbeerecouch.discovery import receive\n"
            "util.getmacid, util.getpassword = lambda: 7, lambda: 'p'\n"
            "print('ready', flush=True)\n"
            "print(receive.receive_broadcast_message(10), flush=True)\n"
        )
        waiting = self.near.start(self, sys.executable, "-c", receive)
        ask = f"from himbeerecouch.discovery.ask import broadcast_message as b; print(b({SERVER!r}, 1.5))"
        self.assertEqual(self.asker.run(sys.executable, "-c", ask).stdout.strip(), "{'MacID': 7, 'password': 'p'}")
        assert waiting.stdout is not None
        self.assertEqual(waiting.stdout.readline().strip(), SERVER)


class Overheard(TestCase):
    """What one learns who reads all that passes on the network."""

    def test_sealed(self) -> None:
        """The password is not in what passes, and the one who asked has it; without PyNaCl it can be read."""
        asker, pi = Namespace(self), Namespace(self)
        asker.cable(pi, "10.71.0.1/24", "10.71.0.7/24")
        start_pi(self, pi, 7)
        ask = f"from himbeerecouch.discovery.ask import broadcast_message as b; print(b({SERVER!r}, 1.2))"
        end = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'the end of it', ('10.71.0.7', 9))"
        for prelude, expected in (("", "False True"), (WITHOUT_NACL, "True True")):
            listener = pi.start(self, sys.executable, "-c", LISTENER)
            ran = asker.run(sys.executable, "-c", prelude + ask)
            self.assertEqual(ran.stdout.strip(), "{'MacID': 7, 'password': 'password of 7'}", ran.stderr)
            asker.run(sys.executable, "-c", end)
            assert listener.stdout is not None
            self.assertEqual(listener.stdout.readline().strip(), expected)


class OnOneMachine(TestCase):
    """Asking where there is no network but the loopback interface."""

    def test_simulated_pis(self) -> None:
        """Several daemons of this machine share the port, and all answer."""
        machine = Namespace(self)
        start_pi(self, machine, 1)
        start_pi(self, machine, 2)
        ran = machine.run(*twistd(PROBE, "--server", SERVER, "--timeout", "0.5", "--json"))
        self.assertEqual(
            [(found["MacID"], found["address"]) for found in json.loads(ran.stdout)],
            [(1, "127.0.0.1"), (2, "127.0.0.1")],
        )

    def test_nobody(self) -> None:
        """With nobody there, not even a network, it ends by itself after its timeout with the status 1."""
        machine = Namespace(self)
        machine.ip("link", "set", "lo", "down")
        ran = machine.run(*twistd(PROBE, "--server", SERVER, "--timeout", "0.2"))
        self.assertEqual((ran.stdout, ran.returncode), ("", 1))
        self.assertIn("no Raspberry Pi answered", ran.stderr)


class WithoutAsking(TestCase):
    """What twistd makes of its arguments."""

    def run_twistd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            twistd(*arguments),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def test_help(self) -> None:
        """--help names all options and the exit statuses."""
        ran = self.run_twistd(PROBE, "--help")
        for part in ("--server", "--timeout", "--json", "--discovery-port", "Exit status"):
            self.assertIn(part, ran.stdout)
        self.assertEqual(ran.returncode, 0)

    def test_no_server(self) -> None:
        """Without a server it says so on stderr and ends with the status 2."""
        ran = self.run_twistd(PROBE)
        self.assertEqual((ran.stdout, ran.returncode), ("", 2))
        self.assertIn("--server", ran.stderr)
