"""Where the others are installed, and how they get there: never into the environment of himbeerecouch itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HOME = Path(".bench")


class NotThere(Exception):
    """It could not be installed here; the text says why."""


def python_of(name: str, *packages: str) -> Path:
    """Give the Python of a virtual environment ``name`` that has ``packages``; installs them the first time."""
    folder = HOME / name
    python = (folder / "bin" / "python").absolute()
    if not (folder / ".installed").exists():
        _run(name, sys.executable, "-m", "venv", str(folder))
        _run(name, str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        (folder / ".installed").touch()
    return python


def node_modules_of(name: str, *packages: str) -> Path:
    """Give the folder ``node_modules`` that has ``packages``; installs them the first time."""
    npm = shutil.which("npm")
    if npm is None:
        raise NotThere("Node.js and npm are not installed")
    folder = HOME / name
    if not (folder / ".installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        _run(name, npm, "--prefix", str(folder), "install", "--silent", "--no-audit", "--no-fund", *packages)
        (folder / ".installed").touch()
    return (folder / "node_modules").absolute()


def _run(name: str, *argv: str) -> None:
    print(f"{name}: {' '.join(argv[1:])}", file=sys.stderr, flush=True)
    try:
        subprocess.run(argv, check=True, timeout=900, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotThere(f"it can't be installed: {error}") from error
