"""Logs the time, once in ten seconds."""

import time


def main():
    while not should_quit():
        log("it is", time.strftime("%H:%M:%S"))
        time.sleep(10)
    log("good night")
