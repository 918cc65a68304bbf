"""The options of the page's server, and what it asks of the machine."""

from __future__ import annotations

from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.web import tap
from himbeerecouch.web.http import MAX_CONNECTIONS


class Limits:
    """Stands for the module ``resource``."""

    RLIMIT_NOFILE = 7
    RLIM_INFINITY = -1

    def __init__(self, soft: int, hard: int) -> None:
        self.limit = (soft, hard)

    def getrlimit(self, _: int) -> tuple[int, int]:
        """Tell."""
        return self.limit

    def setrlimit(self, _: int, limit: tuple[int, int]) -> None:
        """Change."""
        self.limit = limit


class TapTests(SynchronousTestCase):
    def test_options(self) -> None:
        """Without options the defaults count; what is no port is refused."""
        options = tap.Options()
        options.parseOptions([])
        self.assertEqual((options["listen"], options["discovery-port"]), ("tcp:8080:interface=127.0.0.1", 53000))
        for text in ("0", "x", "65536", "-1", "٣"):
            self.assertRaises(usage.UsageError, tap.Options().parseOptions, ["--discovery-port", text])

    def test_connections(self) -> None:
        """There may be as many connections as the machine has files for; it is asked for more where it has them."""
        wanted = 2 * MAX_CONNECTIONS + tap.OTHER_FILES
        for soft, hard, after, most in (
            (1024, 4096, wanted, MAX_CONNECTIONS),
            (1024, -1, wanted, MAX_CONNECTIONS),
            (1024, 1024, 1024, 480),
            (100_000, 100_000, 100_000, MAX_CONNECTIONS),
            (-1, -1, -1, MAX_CONNECTIONS),
            (32, 32, 32, 1),
        ):
            limits: Any = Limits(soft, hard)
            self.assertEqual(tap.connections_for(limits), most, (soft, hard))
            self.assertEqual(limits.limit[0], after)
