"""Begins the command ``himbeerecouch``; also ``python -m himbeerecouch.cli``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command, and end the process with its exit status."""
    try:
        import click  # noqa: F401 - whether it is there
    except ImportError:
        sys.exit('himbeerecouch: this command needs one package more: pip install "himbeerecouch[cli]"')
    from himbeerecouch.cli import stdout
    from himbeerecouch.cli.main import himbeerecouch

    stdout.take_over()
    himbeerecouch(prog_name="himbeerecouch")


if __name__ == "__main__":
    main()
