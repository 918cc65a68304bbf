"""The activity LED."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.led import PINS, Blinker, GpioLed, Led, Pin, SysfsLed, find_led


class FakeLed:
    """Keeps what was done to it."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def set(self, on: bool) -> None:
        self.done.append(on)

    def restore(self) -> None:
        self.done.append("restored")


class BrokenLed(FakeLed):
    """Raises, which no LED may."""

    def set(self, on: bool) -> None:
        raise ZeroDivisionError


class FakeGpio(ModuleType):
    """The part of RPi.GPIO that is used."""

    BCM, BOARD, OUT = 11, 10, 0

    def __init__(self, board: str = "Zero") -> None:
        super().__init__("RPi.GPIO")
        self.RPI_INFO = {"TYPE": board}
        self.mode: int | None = None
        self.done: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def getmode(self) -> int | None:
        return self.mode

    def setmode(self, mode: int) -> None:
        self.mode = mode

    def setup(self, pin: int, direction: int) -> None:
        self.done.append(("setup", pin, direction))

    def output(self, pin: int, high: bool) -> None:
        if self.error is not None:
            raise self.error
        self.done.append(("output", pin, high))

    def cleanup(self, pin: int) -> None:
        if self.error is not None:
            raise self.error
        self.done.append(("cleanup", pin))


def install(case: SynchronousTestCase, gpio: ModuleType | None) -> None:
    """Make ``gpio`` what ``from RPi import GPIO`` finds; None: nothing is found."""
    package = ModuleType("RPi")
    if gpio is not None:
        package.GPIO = gpio  # type: ignore[attr-defined]
    for name in ("RPi", "RPi.GPIO"):
        case.addCleanup(sys.modules.pop, name, None)
        if name in sys.modules:
            case.addCleanup(sys.modules.__setitem__, name, sys.modules.pop(name))
    sys.modules["RPi"] = package


class FolderCase(SynchronousTestCase):
    """Has a folder that looks like /."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def led(self, name: str = "ACT", trigger: str = "none rc-feedback [mmc0] timer", brightness: str = "0") -> Path:
        folder = self.root / "sys/class/leds" / name
        folder.mkdir(parents=True)
        for file, content in (("trigger", trigger), ("brightness", brightness), ("max_brightness", "255")):
            (folder / file).write_text(content + "\n")
        return folder

    def content(self, folder: Path) -> tuple[str, str]:
        return (folder / "trigger").read_text().strip(), (folder / "brightness").read_text().strip()


class Sysfs(FolderCase):
    """An LED of the kernel."""

    def test_on_off_and_back(self) -> None:
        """It goes to full brightness and to 0 with no trigger, and gets back the trigger and brightness it had."""
        for trigger, brightness, name in (("none [mmc0] timer", "0", "ACT"), ("[none] mmc0", "7", "led0")):
            folder = self.led(name, trigger, brightness)
            led = SysfsLed(folder)
            led.set(True)
            self.assertEqual(self.content(folder), ("none", "255"))
            led.set(False)
            self.assertEqual(self.content(folder), ("none", "0"))
            led.restore()
            self.assertEqual(self.content(folder), (trigger.split("[")[1].split("]")[0], brightness))

    def test_borrowed_again(self) -> None:
        """What restore gives back is what was there at the last borrowing, and a second restore writes nothing."""
        folder = self.led(trigger="no brackets at all")
        led = SysfsLed(folder)
        led.set(True)
        led.restore()
        self.assertEqual(self.content(folder), ("none", "0"))
        (folder / "trigger").write_text("[heartbeat]")
        led.restore()
        self.assertEqual(self.content(folder)[0], "[heartbeat]")
        led.set(True)
        led.restore()
        self.assertEqual(self.content(folder)[0], "heartbeat")

    def test_gone(self) -> None:
        """An LED whose files vanish raises nothing, neither when it is set nor when it is given back."""
        folder = self.led()
        led = SysfsLed(folder)
        led.set(True)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        led.set(False)
        led.restore()
        led.set(True)


class Gpio(SynchronousTestCase):
    """An LED by way of RPi.GPIO."""

    def test_levels(self) -> None:
        """The pin is set up once, driven by what lights this board's LED, and let go of."""
        for lit_when in (True, False):
            gpio = FakeGpio()
            led = GpioLed(gpio, Pin(47, lit_when))
            led.set(True)
            led.set(False)
            led.restore()
            led.restore()
            self.assertEqual(
                gpio.done,
                [("setup", 47, 0), ("output", 47, lit_when), ("output", 47, not lit_when), ("cleanup", 47)],
            )

    def test_the_other_numbering(self) -> None:
        """Where a program has numbered the pins by the header, nothing is touched."""
        gpio = FakeGpio()
        gpio.mode = gpio.BOARD
        led = GpioLed(gpio, Pin(47, True))
        led.set(True)
        led.restore()
        self.assertEqual((gpio.done, gpio.mode), ([], gpio.BOARD))

    def test_an_error_of_the_library(self) -> None:
        """Whatever RPi.GPIO raises stays inside."""
        gpio = FakeGpio()
        led = GpioLed(gpio, Pin(47, True))
        led.set(True)
        gpio.error = RuntimeError("no /dev/gpiomem")
        led.set(False)
        led.restore()
        self.assertEqual(gpio.done, [("setup", 47, 0), ("output", 47, True)])


class Finding(FolderCase):
    """Which LED is taken."""

    def found(self) -> Led | None:
        return find_led(self.root)

    def test_the_kernel_first(self) -> None:
        """The kernel's LED is taken by its newer name, then by its older one, and no other LED of the machine is."""
        install(self, None)
        self.led("input3::capslock")
        self.assertIsNone(self.found())
        for name in ("led0", "ACT"):
            folder = self.led(name)
            led = self.found()
            assert led is not None
            led.set(True)
            self.assertEqual(self.content(folder), ("none", "255"))

    def test_gpio_next(self) -> None:
        """Without an LED of the kernel, RPi.GPIO is used on the boards where it reaches one."""
        for board in ("Zero", "Pi 4 Model B"):
            install(self, FakeGpio(board))
            self.assertIsInstance(self.found(), GpioLed)
        install(self, FakeGpio("Pi 3 Model B"))
        self.assertIsNone(self.found())

    def test_no_pin_of_the_header(self) -> None:
        """The pins driven are none that a header leads out: 0 to 27 on 40 pins, and 16 is not on the first boards'."""
        for board, pin in PINS.items():
            self.assertTrue(pin.number > 27 or board in ("Model A", "Model B"), board)

    def test_nothing(self) -> None:
        """A machine with neither has no LED."""
        install(self, None)
        self.assertIsNone(self.found())


class Blinking(SynchronousTestCase):
    """The blinker, on a clock of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.led = FakeLed()

    def test_blinks(self) -> None:
        """It lights up at once, changes each half period, and gives the LED back when it is stopped."""
        blinker = Blinker(self.led, self.clock, period_s=1.0)
        blinker.start()
        self.assertTrue(blinker.running)
        self.clock.pump([0.5] * 3)
        blinker.stop()
        self.assertEqual(self.led.done, [True, False, True, False, "restored"])
        self.assertEqual((blinker.running, self.clock.getDelayedCalls()), (False, []))

    def test_started_and_stopped_twice(self) -> None:
        """A second start or stop does nothing, and after a stop it can be started again."""
        blinker = Blinker(self.led, self.clock)
        blinker.stop()
        blinker.start()
        blinker.start()
        blinker.stop()
        blinker.stop()
        blinker.start()
        blinker.stop()
        self.assertEqual(self.led.done, [True, "restored"] * 2)

    def test_an_led_that_breaks_its_word(self) -> None:
        """An LED that raises all the same ends the blinking with a line in the log; stopping still gives it back."""
        blinker = Blinker(BrokenLed(), self.clock)
        blinker.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        blinker.stop()

    def test_no_led(self) -> None:
        """Without an LED nothing is scheduled."""
        blinker = Blinker(None, self.clock)
        blinker.start()
        self.assertEqual((blinker.running, self.clock.getDelayedCalls()), (False, []))
        blinker.stop()
