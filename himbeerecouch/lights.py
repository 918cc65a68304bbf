"""What the LED is used for: it blinks while the Pi waits to be enrolled, and when somebody asks which one it is."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from himbeerecouch.led import Blinker

IDENTIFY_S = 60.0


class Lights(Service):
    """Blinks for its two reasons; the LED is given back as it was found once there is none of them.

    In the reactor's thread.  ``waiting`` says whether the Pi waits to be enrolled.
    """

    def __init__(self, blinker: Blinker, clock: IReactorTime, *, has_led: bool, waiting: Callable[[], bool]) -> None:
        self._blinker = blinker
        self._clock = clock
        self._has_led = has_led
        self._waiting = waiting
        self._identify_end: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()
        self.look()

    def stopService(self) -> None:
        super().stopService()
        if self._identify_end is not None:
            self._identify_end.cancel()
            self._identify_end = None
        self._blinker.stop()

    def look(self) -> None:
        """Blink or leave off, as things are now; called when the Pi has been enrolled."""
        if self.running and (self._waiting() or self._identify_end is not None):
            self._blinker.start()
        else:
            self._blinker.stop()

    async def identify(self) -> str:
        """Blink for a minute; asked again meanwhile, for a minute from then on.  Returns what the asker is told."""
        if not self._has_led:
            return "this machine has no LED that could blink"
        if self._identify_end is not None:
            self._identify_end.cancel()
        self._identify_end = self._clock.callLater(IDENTIFY_S, self._identified)
        self.look()
        return f"blinking for {IDENTIFY_S:.0f} s"

    def _identified(self) -> None:
        self._identify_end = None
        self.look()
