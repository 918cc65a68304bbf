"""The version of this package; ``setup.py`` takes it from here, and the status tells it."""

VERSION = "1.0.0.dev0"
