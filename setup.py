"""What the package needs and installs; the tools' settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
# Read, not imported: the package is not installed yet.
VERSION = re.search(r'^VERSION = "(.+)"$', (HERE / "himbeerecouch/version.py").read_text(encoding="utf-8"), re.M)

setup(
    name="himbeerecouch",
    version=VERSION[1],
    description="Runs Python programs on Raspberry Pis by way of documents in a CouchDB database",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    # twisted.plugins is a namespace that Twisted owns: only the one module is added to it, and never an __init__.py.
    packages=[
        "himbeerecouch",
        "himbeerecouch.boot",
        "himbeerecouch.cli",
        "himbeerecouch.commands",
        "himbeerecouch.couch",
        "himbeerecouch.discovery",
        "himbeerecouch.embedded",
        "himbeerecouch.examples",
        "himbeerecouch.fleet",
        "himbeerecouch.programs",
        "himbeerecouch.status",
        "himbeerecouch.web",
        "twisted.plugins",
    ],
    # They are for reading too, so they lie at the top of the repository.
    package_dir={"himbeerecouch.examples": "examples"},
    package_data={
        "himbeerecouch": ["py.typed"],
        "himbeerecouch.examples": ["*.py", "*/*.py", "*/*/*.py"],
        "himbeerecouch.fleet": ["*.js"],
        "himbeerecouch.web": ["static/*", "static/assets/*"],
    },
    install_requires=["Twisted[tls]>=25.5", "treq>=24.9", "service_identity>=24.1", "attrs>=23.1"],
    entry_points={"console_scripts": ["himbeerecouch = himbeerecouch.cli.__main__:main"]},
    extras_require={
        "cli": ["click>=8.2.1"],
        "gpio": ["RPi.GPIO"],
        "gpio5": ["rpi-lgpio"],
        "sealed": ["PyNaCl"],
        "embedded": ["quickjs"],
        "dev": [
            "build",
            "click>=8.2.1",
            "coverage[toml]>=7.10",
            "docutils",
            "mypy",
            "mypy-zope",
            "PyNaCl",
            "quickjs",
            "ruff",
            "setuptools>=77",
            "supervisor",
            "types-setuptools",
        ],
        "docs": ["sphinx"],
    },
    classifiers=[
        "Framework :: Twisted",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        # Those that the test suite has passed on.
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering",
        "Topic :: System :: Distributed Computing",
    ],
)
