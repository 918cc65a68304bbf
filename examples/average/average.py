"""A module of this program alone."""


class Average:
    """The running mean of all that was added."""

    def __init__(self):
        self.count = 0
        self.value = 0.0

    def add(self, reading):
        self.count += 1
        self.value += (reading - self.value) / self.count
