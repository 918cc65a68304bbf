"""How the machine is: read from sysfs and procfs, without another program and without extra packages."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import twisted
from himbeerecouch.status.heartbeat import Machine
from himbeerecouch.version import VERSION

_UNDER_VOLTAGE_NOW = 0x1
"""Bit 0 of what the firmware tells as ``get_throttled``."""


class Health:
    """Reads the machine's files below ``root``.  Called on the reactor thread: all of them are in memory."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._versions: dict[str, str | None] | None = None

    def read(self) -> Machine:
        """How it is now; what can't be read is None, and never an error."""
        if self._versions is None:
            self._versions = self._read_versions()
        return Machine(
            hostname=self._text("proc/sys/kernel/hostname") or "",
            versions=self._versions,
            uptime_s=_number((self._text("proc/uptime") or "").partition(" ")[0]),
            health={
                "cpu_temperature_c": self._cpu_temperature_c(),
                "under_voltage": self._under_voltage(),
                "load": self._load(),
                **self._memory(),
                **self._disk(),
            },
        )

    def _read_versions(self) -> dict[str, str | None]:
        release = re.search(r'^PRETTY_NAME="?([^"\n]*)', self._text("etc/os-release") or "", re.MULTILINE)
        return {
            "himbeerecouch": VERSION,
            "python": platform.python_version(),
            "twisted": twisted.__version__,
            "kernel": self._text("proc/sys/kernel/osrelease"),
            "os": release[1] if release else None,
            "model": self._text("proc/device-tree/model"),
        }

    def _cpu_temperature_c(self) -> float | None:
        zones = self._found("sys/class/thermal/thermal_zone*")
        # Whatever else has a sensor has a zone of its own; on a Pi the processor's is the first one.
        of_cpu = [zone for zone in zones if "cpu" in (_read(zone / "type") or "")]
        for zone in (*of_cpu, *zones):
            thousandths = _number(_read(zone / "temp"))
            if thousandths is not None:
                return round(thousandths / 1000, 1)
        return None

    def _under_voltage(self) -> bool | None:
        """Whether the supply is too weak now: by the kernel's own driver, else by the firmware."""
        for sensor in self._found("sys/class/hwmon/hwmon*"):
            if _read(sensor / "name") == "rpi_volt":
                alarm = _number(_read(sensor / "in0_lcrit_alarm"))
                return None if alarm is None else alarm != 0
        for file in self._found("sys/devices/platform/soc*/*firmware/get_throttled"):
            with contextlib.suppress(ValueError):
                return bool(int(_read(file) or "", 16) & _UNDER_VOLTAGE_NOW)
        return None

    def _load(self) -> list[float] | None:
        found = [_number(part) for part in (self._text("proc/loadavg") or "").split()[:3]]
        known = [number for number in found if number is not None]
        return known if len(known) == 3 else None

    def _memory(self) -> dict[str, int | None]:
        found = dict(_kilobytes(self._text("proc/meminfo") or ""))
        return {
            "memory_total_bytes": found.get("MemTotal"),
            "memory_available_bytes": found.get("MemAvailable"),
        }

    def _disk(self) -> dict[str, object]:
        try:
            disk = os.statvfs(self._root)
        except OSError:
            return {"disk_total_bytes": None, "disk_free_bytes": None, "disk_read_only": None}
        return {
            "disk_total_bytes": disk.f_blocks * disk.f_frsize,
            "disk_free_bytes": disk.f_bavail * disk.f_frsize,
            "disk_read_only": bool(disk.f_flag & os.ST_RDONLY),
        }

    def _found(self, pattern: str) -> list[Path]:
        try:
            return sorted(self._root.glob(pattern))
        except OSError:  # such as that no more files can be opened
            return []

    def _text(self, path: str) -> str | None:
        return _read(self._root / path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return None


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"-?\d{1,18}(\.\d{1,18})?", text, re.ASCII) else None


def _kilobytes(meminfo: str) -> Iterable[tuple[str, int]]:
    return ((name, int(value) * 1024) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", meminfo, re.MULTILINE))
