"""Puts the daemon together: ``twistd himbeerecouch``."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict, fields, frozen
from twisted.application.service import MultiService
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python import usage

from himbeerecouch import notify, unix
from himbeerecouch.account import Account
from himbeerecouch.actions import actions, rotate
from himbeerecouch.boot import kept
from himbeerecouch.boot.quarantine import Quarantine, boot_id
from himbeerecouch.boot.shelf import Shelf
from himbeerecouch.catalogue import Catalogue
from himbeerecouch.commands.journal import Journal
from himbeerecouch.commands.runner import Commands
from himbeerecouch.couch.changes import Changes
from himbeerecouch.couch.client import Login, connect
from himbeerecouch.daemon import Daemon
from himbeerecouch.discovery.responder import Discovery, DiscoveryService, Mode
from himbeerecouch.discovery.wire import PORT
from himbeerecouch.enrolment import Enrolment
from himbeerecouch.errors import HimbeerecouchError, StateError
from himbeerecouch.identity import find_identity
from himbeerecouch.led import Blinker, find_led
from himbeerecouch.lights import Lights
from himbeerecouch.model import Program
from himbeerecouch.node import Node
from himbeerecouch.programs.host import Host, to_log
from himbeerecouch.programs.loader import compile_error
from himbeerecouch.programs.supervise import PROVEN_AFTER_S
from himbeerecouch.server_file import ServerFile
from himbeerecouch.status.health import Health
from himbeerecouch.status.service import Status
from himbeerecouch.status.sources import Sources
from himbeerecouch.store import DEFAULT_STATE_DIR, StateFolder, until_boot

STARTED = "started"
"""The state file that says that a first snapshot was dealt with once."""

log = Logger()


@frozen
class Config:
    """What the daemon was told on its command line; the defaults are what the help says."""

    server_file: str = "/etc/rspby/server"
    database: str = "nedm/raspberries"
    interface: str | None = None
    mac_id: int | None = None
    password_file: str | None = None
    state_dir: str = str(DEFAULT_STATE_DIR)
    quit_timeout: float = 20.0
    ca_file: str | None = None
    discovery: str = Mode.ENROLL.value
    discovery_port: int = PORT
    max_source: int = 1024 * 1024

    def arguments(self) -> list[str]:
        """The command line that says the same."""
        return [
            f"--{name.replace('_', '-')}={value}"
            for name, value in asdict(self).items()
            if value is not None and value != getattr(fields(Config), name).default
        ]


def _has_started(state: StateFolder) -> bool:
    return state.read(STARTED) is not None


def _remember_start(state: StateFolder) -> None:
    """From now on commands that come in while the daemon is down are run when it is up again."""
    try:
        state.write(STARTED, b"")
    except StateError as error:
        log.warn("{error}: the next start takes the commands that it then finds for old ones", error=error)


# --- the command line -------------------------------------------------------------------------------------------------


_DATABASE_NAME = re.compile(r"[a-z][a-z0-9_$()+/-]*")
"""CouchDB's own rule (its API reference, ``PUT /{db}``)."""


def _number(option: str, kind: Callable[[str], Any], low: float, high: float) -> Callable[[str], Any]:
    def coerce(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise usage.UsageError(f"--{option} must be {what} from {low} to {high}, not {text!r}")
        return value

    return coerce


def _mode(text: str) -> str:
    known = [mode.value for mode in Mode]
    if text not in known:
        raise usage.UsageError(f"--discovery must be one of {', '.join(known)}, not {text!r}")
    return text


def _database(text: str) -> str:
    if not _DATABASE_NAME.fullmatch(text):
        raise usage.UsageError(
            f"--database {text!r}: a database's name begins with a small letter, and has only small letters, digits "
            "and _ $ ( ) + - / in it"
        )
    return text


class Options(usage.Options):
    """The options of ``twistd himbeerecouch``."""

    synopsis = "[options]"
    longdesc = "Runs the Python programs that a CouchDB database has for this machine, and keeps them running."
    optParameters = [  # noqa: RUF012 - twistd reads it from the class
        ["server-file", None, Config().server_file, "File of one line, the URL of the CouchDB server"],
        ["database", None, Config().database, "Name of the database that has the programs", _database],
        ["interface", None, None, "Network interface whose address is the MacID [default: eth0, end0, wlan0, ...]"],
        [
            "mac-id",
            None,
            None,
            "Take this MacID, a decimal number, in place of an interface's",
            _number("mac-id", int, 1, 2**48 - 1),
        ],
        ["password-file", None, None, "File of one line, the password to log in with in place of the Pi's own"],
        ["state-dir", None, Config().state_dir, "Folder for what has to outlive the daemon, such as the password"],
        [
            "quit-timeout",
            None,
            Config().quit_timeout,
            "Seconds that a program has to return when it is stopped",
            _number("quit-timeout", float, 1, 3600),
        ],
        ["ca-file", None, None, "File with the certificates (PEM) of the CA to trust, for a laboratory's own one"],
        [
            "discovery",
            None,
            Config().discovery,
            "Who is told the password: open (all), enroll (until the first login), off",
            _mode,
        ],
        [
            "discovery-port",
            None,
            Config().discovery_port,
            "UDP port to answer probes on",
            _number("discovery-port", int, 1, 65535),
        ],
        [
            "max-source",
            None,
            Config().max_source,
            "Largest source of one module, in bytes",
            _number("max-source", int, 1, 2**30),
        ],
    ]

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option: a forgotten ``--`` would otherwise be ignored."""
        if arguments:
            raise usage.UsageError(f"what is {arguments[0]!r}? All is said by options")

    def postOptions(self) -> None:
        """Bound twistd's log file before twistd opens it."""
        parent = getattr(self, "parent", None)
        if parent is not None:
            unix.bound_log_file(parent)

    def config(self) -> Config:
        """The options as a value.  Paths are made absolute: a program may change the folder that all of it runs in."""
        given = {field.name: self[field.name.replace("_", "-")] for field in fields(Config)}
        for name in ("server_file", "password_file", "state_dir", "ca_file"):
            given[name] = given[name] and str(Path(given[name]).absolute())
        return Config(**given)


# --- the house --------------------------------------------------------------------------------------------------------


def makeService(options: Options) -> MultiService:
    """Called by twistd before it goes into the background.  Ends with a message where the daemon can't start."""
    from twisted.internet import reactor

    parent: MutableMapping[str, Any] = getattr(options, "parent", None) or {}
    # One that comes before the daemon has its handler, as in `rspby start && rspby reload`, must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handover, systemd = unix.take_handover(), notify.take(os.environ)
        return make_daemon(reactor, options.config(), parent, handover, systemd=systemd)
    except HimbeerecouchError as error:
        raise SystemExit(f"himbeerecouch does not start: {error}") from error


def make_daemon(
    reactor: Any,
    config: Config,
    twistd: MutableMapping[str, Any],
    handover: unix.Handover,
    *,
    systemd: Mapping[str, str],
    proven_after_s: float = PROVEN_AFTER_S,
) -> MultiService:
    """Put all services together.  Raises HimbeerecouchError where this can't be this Pi's daemon.

    ``systemd`` is how that asks to be told of the daemon.  A program that has run for ``proven_after_s`` is one to go
    back to.
    """
    unix.use_monotonic_time(reactor)
    unix.return_large_blocks()
    unix.share_processor()
    identity = find_identity(interface=config.interface, mac_id=config.mac_id)
    state = StateFolder.open(Path(config.state_dir), identity.folder)
    boot_state = until_boot(state)
    account = Account(identity, state, password_file=Path(config.password_file) if config.password_file else None)
    led = find_led()
    lights = Lights(Blinker(led, reactor), reactor, has_led=led is not None, waiting=lambda: not account.enrolled)

    def accepted(password: str) -> None:
        account.accepted(password)
        lights.look()

    login = Login(account.username, account.passwords(), accepted)

    def look_again(node: Node) -> None:
        if unix.out_of_descriptors():
            # A program that leaks them would keep its own mending out, and the Pi off the net for ever.
            whole.replace("it can't open anything any more: a program opens files or sockets, and closes none")
            return
        node.look_for_server()
        if account.look_again():
            login.replace(account.passwords())

    couch = connect(reactor, login=login, ca_file=config.ca_file, random=random.random)
    commands = Commands(
        reactor,
        couch,
        config.database,
        actions=actions(
            identify=lights.identify,
            restart=lambda: whole.replace("a command asks for it"),
            rotate=lambda: rotate(account, couch, login),
        ),
        journal=Journal(state),
    )
    shelf = Shelf(
        state,
        partial(kept.parse, mac_id=account.mac_id, max_source_bytes=config.max_source),
        clock=reactor,
        in_thread=lambda write: deferToThreadPool(reactor, reactor.getThreadPool(), write),
    )
    restored = shelf.load()

    def heard(program: Program, line: str) -> None:
        to_log(program, line)
        status.printed(program.id)

    host = Host(
        reactor,
        global_modules=lambda: node.global_modules,
        quit_timeout_s=config.quit_timeout,
        proven_after_s=proven_after_s,
        replace=lambda reason: whole.replace(reason),  # noqa: PLW0108 - it is made further down
        changed=lambda id: node.program_changed(id),  # noqa: PLW0108 - it is made further down
        already_finished=handover.finished,
        before={entry.good.id: entry.good for entry in restored if entry.good is not None},
        sink=heard,
        now=reactor.seconds,
    )
    quarantine = Quarantine(
        boot_state,
        clock=reactor,
        boot=boot_id(),
        changed=lambda id: status.changed(),
        now=reactor.seconds,
        released=lambda: node.reconcile(),  # noqa: PLW0108 - it is made further down
    )
    sources = Sources(reactor, couch, account.mac_id, programs=host, overview=lambda: node, machine=Health().read)
    status = Status(reactor, couch, config.database, sources, random=random.random)
    node = Node(
        clock=reactor,
        read_server_file=ServerFile(config.server_file).read,
        couch=couch,
        changes=lambda listener: Changes(
            couch,
            config.database,
            account.mac_id,
            listener,
            clock=reactor,
            random=random.random,
            failing=lambda: look_again(listener),
        ),
        host=host,
        commands=commands,
        status=status,
        catalogue=Catalogue(account.mac_id, config.max_source),
        shelf=shelf,
        restored=restored,
        quarantine=quarantine,
        compile_error=compile_error,
        stale=not (handover.replaced or _has_started(state) or _has_started(boot_state)),
        settled=partial(_remember_start, boot_state),
    )
    enrolment = Enrolment(reactor, waiting=lambda: not account.enrolled, hurry=couch.hurry)
    discovery = DiscoveryService(
        Discovery(
            account.mac_id,
            lambda: account.password,
            lambda: account.enrolled,
            Mode(config.discovery),
            clock=reactor,
            probed=enrolment.probed,
        ),
        reactor=reactor,
        port=config.discovery_port,
    )

    def close() -> None:
        """All that is to outlive this image is on disk; the next one may take the folder."""
        shelf.close()
        quarantine.close()
        state.close()

    whole = Daemon(
        reactor,
        name=str(state.path),
        node=node,
        host=host,
        commands=commands,
        systemd=notify.Notify(reactor, systemd),
        twistd=twistd,
        arguments=config.arguments(),
        handover=handover,
        quit_timeout_s=config.quit_timeout,
        close=close,
        unlock=state.close,
        sign=state.sign,
    )
    for service in (node, discovery, enrolment, lights):
        service.setServiceParent(whole)
    return whole
