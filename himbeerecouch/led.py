"""The board's activity LED: it blinks while a Pi waits to be enrolled, or is asked to show which one it is.

An LED is a courtesy.  Where there is none, or it can't be reached, nothing happens and nothing is raised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

log = Logger()

SYSFS_NAMES = ("ACT", "led0")
"""The activity LED in /sys/class/leds, by the name that newer and older kernels give it."""


class Led(Protocol):
    """A light that can be borrowed for a while.  No call raises; each takes effect at once."""

    def set(self, on: bool) -> None:
        """Light it, or put it out."""

    def restore(self) -> None:
        """Give it back as it was found; done twice, it changes nothing more."""


class SysfsLed:
    """An LED of /sys/class/leds: its trigger (usually the SD card's activity) is put aside until ``restore``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, str] = {}
        """File name -> what it held, from the first ``set`` on until ``restore``."""
        self._complained = False

    def set(self, on: bool) -> None:
        """See ``Led``."""
        try:
            if not self._found:
                brightness = self._read("brightness")
                self._found = {"brightness": brightness, "trigger": _chosen(self._read("trigger"))}
                self._write("trigger", "none")
            self._write("brightness", self._read("max_brightness") if on else "0")
        except OSError as error:
            self._complain(error)

    def restore(self) -> None:
        """See ``Led``."""
        found, self._found = self._found, {}
        try:
            # The trigger last: a brightness of 0 makes the kernel drop the trigger.
            for name, content in found.items():
                self._write(name, content)
        except OSError as error:
            self._complain(error)

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="ascii").strip()

    def _write(self, name: str, content: str) -> None:
        # The kernel takes what it understands in one write; no file of a disk is touched.
        (self._folder / name).write_text(content, encoding="ascii")

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.info("the LED {folder} can't be used: {error}", folder=str(self._folder), error=error)


def _chosen(triggers: str) -> str:
    """The trigger in brackets: the file lists all there are, and marks the one that is set."""
    for name in triggers.split():
        if name.startswith("[") and name.endswith("]"):
            return name[1:-1]
    return "none"


@frozen
class Pin:
    """Where a board's activity LED is wired to."""

    number: int
    """By Broadcom's numbering.  On that board it is not on the header, so that a user's wiring is never driven."""
    lit_when: bool


PINS = {
    "Model A": Pin(16, False),
    "Model B": Pin(16, False),
    "Model A+": Pin(47, True),
    "Model B+": Pin(47, True),
    "Pi 2 Model B": Pin(47, True),
    "Zero": Pin(47, False),
    "Zero W": Pin(47, False),
    "Pi 4 Model B": Pin(42, True),
}
"""By the name that RPi.GPIO gives the board.  On the others the LED hangs on a chip of its own, out of reach."""


class GpioLed:
    """An LED by way of RPi.GPIO, where the kernel's files may not be written."""

    def __init__(self, gpio: Any, pin: Pin) -> None:
        self._gpio = gpio
        self._pin = pin
        self._taken = False

    def set(self, on: bool) -> None:
        """See ``Led``.  Pins are numbered process-wide in one way: where a program has chosen the other, no light."""
        gpio = self._gpio
        try:
            if not self._taken:
                if gpio.getmode() not in (None, gpio.BCM):
                    return
                gpio.setmode(gpio.BCM)
                gpio.setup(self._pin.number, gpio.OUT)
                self._taken = True
            gpio.output(self._pin.number, self._pin.lit_when is on)
        except Exception as error:  # noqa: BLE001 - RPi.GPIO and its replacements raise whatever they like
            log.debug("RPi.GPIO does not drive the LED: {error}", error=error)

    def restore(self) -> None:
        """See ``Led``."""
        if not self._taken:
            return
        self._taken = False
        try:
            self._gpio.cleanup(self._pin.number)
        except Exception as error:  # noqa: BLE001 - as above
            log.debug("RPi.GPIO does not let go of the LED: {error}", error=error)


def find_led(root: Path = Path("/")) -> Led | None:
    """The board's activity LED, or None where there is none that may be used.

    ``root`` is where /sys hangs, for tests.  An LED that the kernel shows and this user may write comes first, then
    RPi.GPIO, if that is installed and the board is a Pi whose LED it can reach.
    """
    for name in SYSFS_NAMES:
        folder = root / "sys/class/leds" / name
        if _writable(folder / "brightness") and _writable(folder / "trigger"):
            return SysfsLed(folder)
    return _gpio_led()


def _writable(path: Path) -> bool:
    try:
        # Opened for writing, not asked about: root may write files of a file system that is read-only, if asked.
        with path.open("r+"):
            return True
    except OSError:
        return False


def _gpio_led() -> Led | None:
    try:
        from RPi import GPIO

        board = GPIO.RPI_INFO["TYPE"]
    except Exception:  # noqa: BLE001 - off a Pi, its import raises a RuntimeError and more
        return None
    pin = PINS.get(board)
    return None if pin is None else GpioLed(GPIO, pin)


class Blinker:
    """Blinks an LED on the reactor's thread, as often as it is started, until it is stopped."""

    def __init__(self, led: Led | None, clock: IReactorTime, *, period_s: float = 1.0) -> None:
        """``led`` None: start and stop do nothing.  ``period_s`` is one light and one dark phase together."""
        self._led = led
        self._clock = clock
        self._period_s = period_s
        self._lit = False
        self._loop: LoopingCall | None = None

    @property
    def running(self) -> bool:
        """Whether it blinks."""
        return self._loop is not None

    def start(self) -> None:
        """Begin to blink, unless it does already."""
        if self._led is None or self._loop is not None:
            return
        self._lit = False
        self._loop = LoopingCall(self._turn, self._led)
        self._loop.clock = self._clock
        ended = self._loop.start(self._period_s / 2)
        ended.addErrback(lambda failure: log.failure("the LED blinks no more", failure=failure))

    def stop(self) -> None:
        """Leave off, and give the LED back as it was."""
        loop, self._loop = self._loop, None
        if self._led is not None and loop is not None:
            if loop.running:
                loop.stop()
            self._led.restore()

    def _turn(self, led: Led) -> None:
        self._lit = not self._lit
        led.set(self._lit)
