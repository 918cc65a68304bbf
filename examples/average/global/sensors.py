"""A global module: every program of the database, on whichever Pi, may import it."""

import random


def noise():
    """One reading of a sensor that measures nothing but noise around 1."""
    return random.gauss(1.0, 0.1)
