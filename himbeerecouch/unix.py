"""What the daemon needs of Unix: its clock, log file and signals, and how a process ends or becomes another image."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import json
import linecache
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, cast

from attrs import field, frozen
from twisted.internet.interfaces import IReactorCore
from twisted.logger import ILogObserver, Logger, textFileLogObserver
from twisted.python.logfile import LogFile
from twisted.python.usage import UsageError

from himbeerecouch.model import Running

M_MMAP_THRESHOLD = -3
LARGE_BYTES = 128 * 1024
LOG_FILE_BYTES = 1_000_000
LOG_FILES = 5
HANDOVER = "HIMBEERECOUCH_HANDOVER"
ERROR_TAIL_CHARS = 500
"""So much of the error that a program ended with is handed over: the environment has little room (execve(2))."""
PIECE_CHARS = 100_000
"""One variable of the environment has at most 128 KiB, name and NUL included."""
MOST_DESCRIPTORS = 65536
SWITCH_S = 0.0005
"""Shorter costs the programs more than it saves: at 0.1 ms half of their speed."""

log = Logger()


# --- time -------------------------------------------------------------------------------------------------------------


def use_monotonic_time(reactor: object) -> None:
    """Make the reactor's timers run on the monotonic clock; called before anything is scheduled.

    By itself Twisted uses wall-clock time, which on a Pi without a clock of its own jumps by years when NTP answers.
    """
    setattr(reactor, "seconds", time.monotonic)  # noqa: B010 - the reactor's interface does not name it assignable


def share_processor() -> None:
    """Have a program that computes give way to the reactor sooner than Python's 5 ms.

    Each system call of the reactor waits that long for each such program: with ten of them a command took seconds.
    """
    sys.setswitchinterval(SWITCH_S)


# --- memory -----------------------------------------------------------------------------------------------------------


def return_large_blocks() -> None:
    """Have the C library give each large block of memory back when it is freed.

    By itself glibc raises the size from which it does so with every large block that it sees (mallopt(3)): after some
    answers of megabytes the next ones come from the heap, and what is freed there stays with the process for ever.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none, and no such habit
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def settle_memory() -> None:
    """Give back what only the start has needed, and keep what it has left out of the garbage collector's way.

    Called once all is imported, and before any program runs.  Of the fifty thousand objects that there are by then
    hardly one will ever be garbage; each full collection looks at all of them, and holds everything up meanwhile: for
    25 ms on a PC.
    """
    for name in [name for name in linecache.cache if name.startswith("<attrs generated")]:
        del linecache.cache[name]
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # other C libraries have none
        trim(0)


# --- the log file -----------------------------------------------------------------------------------------------------


def bound_log_file(twistd: Any) -> None:
    """Have twistd, whose options are ``twistd``, log to a bounded file wherever it would log to a file.

    Called while twistd still parses its command line.  Its own log file is rotated too, but the old ones are never
    deleted, and a Pi's card fills.  Raises UsageError where that file can't be written.
    """
    global _log_file  # noqa: PLW0603 - twistd takes a log observer by the name of a function without parameters
    if twistd.get("logger") or twistd.get("syslog"):
        return
    path = twistd.get("logfile")
    if path == "-" or (not path and twistd.get("nodaemon")):
        return
    _log_file = str(Path(path or "twistd.log").absolute())
    try:
        with Path(_log_file).open("ab"):
            pass  # with twistd it would be a traceback
    except OSError as error:
        raise UsageError(f"the log file {_log_file} can't be written: {error.strerror}") from error
    twistd["logfile"] = _log_file
    twistd["logger"] = f"{__name__}.{bounded_log_observer.__name__}"


_log_file = "twistd.log"


def bounded_log_observer() -> ILogObserver:
    """Log to the file of ``bound_log_file``, with at most ``LOG_FILES`` of ``LOG_FILE_BYTES``; SIGUSR1 rotates."""
    file = cast(Any, LogFile).fromFullPath(_log_file, rotateLength=LOG_FILE_BYTES, maxRotatedFiles=LOG_FILES)

    def rotate(number: int, frame: FrameType | None) -> None:
        from twisted.internet import reactor

        cast(Any, reactor).callFromThread(file.rotate)

    signal.signal(signal.SIGUSR1, rotate)
    return textFileLogObserver(file)


# --- signals ----------------------------------------------------------------------------------------------------------


def install_signals(reactor: Any, *, reload: Callable[[], None], owner_of: Callable[[int], str | None]) -> None:
    """Take the daemon's signals; called again once the reactor runs, since it takes them when it starts.

    SIGTERM and SIGINT end the daemon with exit status 0, where twistd would die of the signal.  SIGHUP calls
    ``reload``.  SIGUSR2 logs every thread's stack, with the program that it belongs to.
    """

    def end() -> None:
        reactor.callFromThread(_stop_once, reactor)

    def hang_up() -> None:
        reactor.callFromThread(reload)

    def stacks() -> None:
        # Formatted here and now: a reactor that is stuck is what one wants to see.
        log.info("stacks of all threads:\n{stacks}", stacks=thread_stacks(owner_of))

    pid = os.getpid()
    acts = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: hang_up, signal.SIGUSR2: stacks}

    def take(number: int, frame: FrameType | None) -> None:
        if os.getpid() == pid:
            acts[signal.Signals(number)]()
        else:  # in a child that has just been forked
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in acts:
        signal.signal(number, take)


def _stop_once(reactor: IReactorCore) -> None:
    from twisted.internet.error import ReactorNotRunning

    try:
        reactor.stop()
    except ReactorNotRunning:
        log.info("already stopping")


def thread_stacks(owner_of: Callable[[int], str | None]) -> str:
    """The stack of each thread, as text; ``owner_of`` gives the program of a thread's identifier."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sorted(sys._current_frames().items()):
        owner = owner_of(ident)
        head = f"{names.get(ident, ident)}{f' of program {owner!r}' if owner else ''}"
        parts.append(f"--- {head}\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(parts)


# --- ending and replacing ---------------------------------------------------------------------------------------------


@frozen
class Handover:
    """What one image of the daemon tells the next one of the same process."""

    replaced: bool = False
    """Whether there was one before."""
    finished: Mapping[str, Running] = field(factory=dict, hash=False)
    """Programs that had ended and are not started again, by id.  They stay so."""
    pid_file: str | None = None
    """To be removed at the end, since the new image is told of no pid file."""


def take_handover() -> Handover:
    """Return what the image before this one left, and forget it, so that no program or command inherits it."""
    try:
        left = os.environ.pop(HANDOVER, None)
        pieces = [left or "{}"]
        while (piece := os.environ.pop(f"{HANDOVER}_{len(pieces)}", None)) is not None:
            pieces.append(piece)
        told = json.loads("".join(pieces))
        finished = {id: Running(*running) for id, running in told.get("finished", {}).items()}
        return Handover(left is not None, finished, told.get("pid_file"))
    except (ValueError, TypeError, AttributeError):
        log.warn("{name} in the environment is not understood, and not used", name=HANDOVER)
        return Handover()


def replace_image(twistd: Mapping[str, Any], arguments: Sequence[str], handover: Handover) -> NoReturn:
    """Run the daemon afresh in this very process, in the foreground form: same pid, same log, same pid file.

    twistd would refuse to start beside its own pid file, so the new image is told of none, and removes the real one
    itself when it ends.  No descriptor is left open in it but the standard ones.
    """
    logger = twistd.get("logger")  # twistd has made the name into what it names
    if logger is not None and logger is not bounded_log_observer:
        logging = [f"--logger={logger.__module__}.{logger.__qualname__}"]
    elif twistd.get("syslog"):
        logging = ["--syslog", f"--prefix={twistd['prefix']}"]
    else:
        logging = [f"--logfile={twistd.get('logfile') or '-'}"]
    finished = {
        id: (program.digest, dict(program.asked), program.error and program.error[-ERROR_TAIL_CHARS:])
        for id, program in handover.finished.items()
    }
    # One that comes before the new image has its handler must not end it; what is ignored stays so across exec.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _close_all_on_exec()
    sys.stdout.flush()
    sys.stderr.flush()
    command = ["-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=", *logging]
    argv = [sys.executable, *command, "himbeerecouch", *arguments]
    environ = dict(os.environ)
    try:
        os.execve(sys.executable, argv, environ | _told({"finished": finished, "pid_file": handover.pid_file}))  # noqa: S606 - our own interpreter, no shell
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        log.warn("too many programs have finished for one start to tell the next: they run again")
        os.execve(sys.executable, argv, environ | _told({"pid_file": handover.pid_file}))  # noqa: S606 - as above


def _told(told: Mapping[str, object]) -> dict[str, str]:
    """The variables that hold it, piece by piece."""
    text = json.dumps(told)
    pieces = [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]
    return {f"{HANDOVER}_{number}" if number else HANDOVER: piece for number, piece in enumerate(pieces)}


def working_folder() -> str:
    """The folder that this process works in; the root where that is gone."""
    try:
        return os.getcwd()  # noqa: PTH109 - a name is what is wanted
    except OSError:
        return "/"


def go_to(folder: str) -> None:
    """Work in ``folder``; in the root where that is gone.  Nothing of Python starts in a folder that is gone."""
    try:
        os.chdir(folder)
    except OSError:
        os.chdir("/")


def _close_all_on_exec() -> None:
    """Have no descriptor inherited but the standard ones.

    Ours are not, nor what Python opens.  But a thread that does not return is blocked in C more often than not, and C
    libraries do not care: their camera or serial port would stay busy until the next start.
    """
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - names are what is wanted
    except OSError:  # such as that there is no descriptor left for it
        numbers = list(range(min(MOST_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[0])))
    for number in numbers:
        with contextlib.suppress(OSError):  # it is not open, or no more
            os.set_inheritable(number, number <= 2)


def out_of_descriptors() -> bool:
    """Whether this process can't open anything any more, not even a connection."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EMFILE
    return False


def remove_pid_file(path: str | None) -> None:
    """Remove the pid file, if there is one, as twistd does at an ordinary end."""
    if path:
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            log.warn("pid file {path} can't be removed: {error}", path=path, error=error)


def end_at_once(status: int) -> NoReturn:
    """End the process without waiting for threads that do not return: the interpreter would join them for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
