"""Logs the temperature of the CPU; off a Pi, where there is no sensor, how busy the machine is."""

import os
import time

SENSOR = "/sys/class/thermal/thermal_zone0/temp"  # in thousandths of a degree


def reading():
    try:
        with open(SENSOR) as sensor:
            return f"CPU temperature {int(sensor.read()) / 1000:.1f} C"
    except (OSError, ValueError):
        return f"no temperature sensor here; load {os.getloadavg()[0]:.2f}"


def main():
    while not should_quit():
        log(reading())
        time.sleep(30)
