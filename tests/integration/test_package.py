"""The wheel and the sdist, installed as a user installs them."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("himbeerecouch", "himbeerecouch-probe", "himbeerecouch-embedded", "himbeerecouch-web")


def run(*argv: object, cwd: Path | None = None) -> str:
    """Run a program to its end; return what it wrote.  Its failure is the test's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(
        [str(part) for part in argv], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


class PackageTests(SynchronousTestCase):
    timeout = 600

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        source = self.folder / "source"
        source.mkdir(parents=True)
        # Of a copy of what git has, so that nothing that lies about here gets in, and nothing is left here.
        files = run("git", "-C", ROOT, "ls-files", "-z").split("\0")
        for name in filter(None, files):
            if (ROOT / name).is_file():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes((ROOT / name).read_bytes())
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", self.folder / "dist", cwd=source)

    def installed(self, package: Path) -> Path:
        """The binaries of a clean virtual environment with the package in it."""
        home = self.folder / f"venv-{package.suffix[1:]}"
        venv.create(home, with_pip=True)
        run(home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", package)
        return home / "bin"

    def test_wheel_and_sdist(self) -> None:
        """Both install working commands, found from any folder; uninstalling leaves Twisted whole."""
        wheel, *_ = (self.folder / "dist").glob("*.whl")
        sdist, *_ = (self.folder / "dist").glob("*.tar.gz")
        names = zipfile.ZipFile(wheel).namelist()
        self.assertIn("twisted/plugins/himbeerecouch_plugin.py", names)
        self.assertIn("himbeerecouch/examples/average/main.py", names)
        self.assertIn("himbeerecouch/examples/average/global/sensors.py", names)
        self.assertEqual([name for name in names if name.startswith("twisted/") and name.endswith("__init__.py")], [])
        self.assertEqual([name for name in names if name.startswith(("tests", "benchmarks"))], [])
        self.assertIn("himbeerecouch/web/static/index.html", names)
        self.assertTrue(any(name.startswith("himbeerecouch/web/static/assets/") for name in names))
        self.assertEqual([name for name in names if name.startswith("himbeerecouch/web/page/")], [])
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        for package in (wheel, sdist):
            binaries = self.installed(package)
            for command in COMMANDS:
                shown = run(binaries / "twistd", "-n", command, "--help", cwd=elsewhere)
                self.assertIn(f"[options] {command} ", shown)
            shown = run(binaries / "python", "-c", "import himbeerecouch; print(himbeerecouch.util.getmacid)")
            self.assertIn("getmacid", shown)
            shown = run(binaries / "python", "-c", "import himbeerecouch.demo as d; print(d.examples_folder())")
            self.assertTrue((Path(shown.strip()) / "clock.py").is_file(), shown)
            bare = subprocess.run([binaries / "himbeerecouch"], capture_output=True, text=True, check=False)
            self.assertEqual((bare.returncode, bare.stdout), (1, ""))
            self.assertIn("himbeerecouch[cli]", bare.stderr)
        run(binaries / "pip", "install", "--quiet", "--disable-pip-version-check", "click")
        self.assertIn("Commands:", run(binaries / "himbeerecouch", "--help", cwd=elsewhere))
        run(binaries / "pip", "uninstall", "--yes", "himbeerecouch")
        shown = run(binaries / "twistd", "--help", cwd=elsewhere)
        self.assertNotIn("himbeerecouch", shown)
        run(binaries / "python", "-c", "import twisted, twisted.plugins, twisted.internet.reactor, treq")
