"""What the LED is used for."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.led import Blinker
from himbeerecouch.lights import IDENTIFY_S, Lights


class FakeLed:
    """Keeps what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def set(self, on: bool) -> None:
        self.done.append("on" if on else "off")

    def restore(self) -> None:
        self.done.append("restored")


class LightsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.led = FakeLed()
        self.waiting = True
        self.lights = Lights(
            Blinker(self.led, self.clock, period_s=1.0), self.clock, has_led=True, waiting=lambda: self.waiting
        )

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waiting(self) -> None:
        """It blinks while the Pi waits to be enrolled, and no longer."""
        self.lights.startService()
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.led.done, ["on", "off", "on", "off", "on"])
        self.waiting = False
        self.lights.look()
        self.assertEqual(self.led.done[-1], "restored")
        self.lights.stopService()

    def test_enrolled(self) -> None:
        """It is left alone on a Pi that is enrolled."""
        self.waiting = False
        self.lights.startService()
        self.clock.advance(10)
        self.lights.stopService()
        self.assertEqual(self.led.done, [])

    def test_identify(self) -> None:
        """Asked which Pi it is, it blinks for a minute; asked again, for a minute from then on."""
        self.waiting = False
        self.lights.startService()
        for _ in range(2):
            self.assertEqual(self.successResultOf(self.identify()), "blinking for 60 s")
            self.clock.advance(IDENTIFY_S - 1)
        self.assertNotIn("restored", self.led.done)
        self.clock.advance(1)
        self.assertEqual(self.led.done[-1], "restored")
        self.lights.stopService()

    def test_identify_while_waiting(self) -> None:
        """The end of the minute does not end the blinking of a Pi that waits."""
        self.lights.startService()
        self.successResultOf(self.identify())
        self.clock.advance(IDENTIFY_S)
        self.assertNotIn("restored", self.led.done)
        self.lights.stopService()

    def test_stopped_while_it_identifies(self) -> None:
        """Nothing is left over when the daemon ends in that minute."""
        self.lights.startService()
        self.successResultOf(self.identify())
        self.lights.stopService()
        self.assertEqual(self.led.done[-1], "restored")

    def test_no_led(self) -> None:
        """A machine without an LED says so."""
        lights = Lights(Blinker(None, self.clock), self.clock, has_led=False, waiting=lambda: True)
        lights.startService()
        self.assertIn("no LED", self.successResultOf(Deferred.fromCoroutine(lights.identify())))
        lights.stopService()

    def identify(self) -> Deferred[str]:
        return Deferred.fromCoroutine(self.lights.identify())
