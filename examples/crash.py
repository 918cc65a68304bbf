"""Crashes on purpose, to show what the log then says; it is started again after 1 s, 2 s, 4 s and so on."""


def main():
    readings = {"temperature": 21.5}
    log("the humidity is", readings["humidity"])
