"""The command ``himbeerecouch``: what an operator does with a fleet, from a terminal."""
