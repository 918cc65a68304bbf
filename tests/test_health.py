"""How the machine is, by its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.status.health import Health
from himbeerecouch.version import VERSION

PI = {
    "proc/sys/kernel/hostname": "lab-7\n",
    "proc/sys/kernel/osrelease": "6.6.31+rpt-rpi-v8\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/uptime": "1234.56 4000.00\n",
    "proc/loadavg": "0.52 0.41 0.30 1/123 4567\n",
    "proc/meminfo": "MemTotal:        3884372 kB\nMemFree: 1 kB\nMemAvailable:    3200000 kB\nHugePages_Total:  0\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n",
}
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
VOLT = "sys/class/hwmon/hwmon1/in0_lcrit_alarm"


class HealthTests(SynchronousTestCase):
    def root(self, files: Mapping[str, str | None]) -> Path:
        """A file system with those files."""
        root = Path(self.mktemp())
        root.mkdir(parents=True)
        for path, content in files.items():
            if content is not None:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(content)
        return root

    def test_pi(self) -> None:
        """All that a Raspberry Pi tells."""
        health = Health(self.root(PI))
        machine = health.read()
        self.assertEqual(health.read().versions, machine.versions)
        self.assertEqual((machine.hostname, machine.uptime_s), ("lab-7", 1234.56))
        self.assertEqual(machine.versions["himbeerecouch"], VERSION)
        self.assertEqual(machine.versions["kernel"], "6.6.31+rpt-rpi-v8")
        self.assertEqual(machine.versions["os"], "Debian GNU/Linux 12 (bookworm)")
        self.assertEqual(machine.versions["model"], "Raspberry Pi 4 Model B Rev 1.4")
        self.assertEqual(
            {name: value for name, value in machine.health.items() if not name.startswith("disk")},
            {
                "cpu_temperature_c": 48.3,
                "under_voltage": True,
                "load": [0.52, 0.41, 0.3],
                "memory_total_bytes": 3884372 * 1024,
                "memory_available_bytes": 3200000 * 1024,
            },
        )

    def test_nothing(self) -> None:
        """Where nothing can be read, everything is null, and nothing fails."""
        machine = Health(self.root({})).read()
        self.assertEqual((machine.hostname, machine.uptime_s, machine.versions["model"]), ("", None, None))
        self.assertEqual(
            {value for name, value in machine.health.items() if not name.startswith("disk")}, {None}, machine.health
        )
        gone = Health(Path(self.mktemp())).read()
        self.assertEqual((gone.health["disk_free_bytes"], gone.health["disk_read_only"]), (None, None))

    def test_no_descriptor_left(self) -> None:
        """Where no folder can be opened, what would be found there is not known, and that is no error."""

        def refuse(*given: object) -> None:
            raise OSError(24, "Too many open files")

        self.patch(Path, "glob", refuse)
        health = Health(self.root(PI)).read().health
        self.assertEqual((health["cpu_temperature_c"], health["under_voltage"]), (None, None))
        self.assertIsNotNone(health["load"])

    def test_cpu_temperature(self) -> None:
        """The zone of the processor counts, else the first that has a temperature."""
        zone = "sys/class/thermal/thermal_zone"
        for files, expected in (
            ({f"{zone}0/type": "acpitz", f"{zone}0/temp": "1000", f"{zone}1/type": "cpu_thermal"}, 1.0),
            ({f"{zone}0/type": "wifi", f"{zone}0/temp": "1", f"{zone}1/type": "cpu", f"{zone}1/temp": "60500"}, 60.5),
            ({f"{zone}0/temp": "-5000"}, -5.0),
            ({f"{zone}0/temp": "nan"}, None),
            ({f"{zone}0/temp": ""}, None),
        ):
            machine = Health(self.root(files)).read()
            self.assertEqual(machine.health["cpu_temperature_c"], expected, files)

    def test_under_voltage(self) -> None:
        """The kernel's alarm counts, else bit 0 of what the firmware tells."""
        for alarm, firmware, expected in (
            ("0", "1", False),
            ("1", None, True),
            ("x", None, None),
            (None, "50005", True),
            (None, "0x50004", False),
            (None, "0", False),
            (None, "what", None),
            (None, None, None),
        ):
            name = "rpi_volt" if alarm else "other"
            root = self.root({VOLT: alarm, FIRMWARE: firmware, "sys/class/hwmon/hwmon1/name": name})
            self.assertEqual(Health(root).read().health["under_voltage"], expected, (alarm, firmware))

    def test_this_machine(self) -> None:
        """The real files of this machine are understood."""
        machine = Health().read()
        self.assertTrue(machine.hostname)
        self.assertGreater(machine.uptime_s or 0, 0)
        for name in ("memory_total_bytes", "memory_available_bytes", "disk_total_bytes", "disk_free_bytes"):
            self.assertIsInstance(machine.health[name], int, name)
        self.assertIsInstance(machine.health["load"], list)
