"""A program of several modules: reads a pretended sensor and logs a running average."""

import time

from average import Average
from sensors import noise


def main():
    average = Average()
    while not should_quit():
        for _ in range(100):
            average.add(noise())
        log(f"mean of {average.count} readings: {average.value:.4f}")
        time.sleep(20)
