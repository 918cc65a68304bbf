"""Begins the command ``himbeerecouch``; also ``python -m himbeerecouch.cli``."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Run the command, and end the process with its exit status."""
    try:
        import click  # noqa: F401 - whether it is there
    except ImportError:
        sys.exit('himbeerecouch: this command needs one package more: pip install "himbeerecouch[cli]"')
    from himbeerecouch.cli import stdout
    from himbeerecouch.cli.main import himbeerecouch

    if sys.stdin is None:
        # It was closed by whoever runs this: nobody is asked, and no socket comes to be in its place.
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - for as long as the process lives
    stdout.take_over()
    himbeerecouch(prog_name="himbeerecouch")


if __name__ == "__main__":
    main()
