"""Everything at random, for as long as one likes: ``python -m tests.soak [MINUTES [SEED]]``.

Edits, deletions, commands, restarts and kills of server and daemon, cuts of the network between them, from a seed that
is printed.  At the end what runs has to be what the database says, every command ran at most once and has an answer,
and descriptors, threads and memory are as at the start.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.faults.proxy import Proxy
from tests.faults.stage import KEPT_CONNECTIONS, Stage, check, named, own_threads, ready_for_commands
from tests.integration.world import MAC_ID, PATH, Daemon, until

IDS: Final = tuple(f"program{number}" for number in range(8))
SETTLED_WITHIN_S: Final = 180.0
"""A pause of 60 s may just have begun, and a dead connection takes 30 s to be noticed."""
PROVEN_S: Final = 60.0
"""A daemon that is killed three times sooner than this after its start suspects its programs."""
MORE_MB: Final = 10.0

BODIES: Final[dict[str, str]] = {
    "loop": "def main():\n    while not should_quit():\n        alive()\n        time.sleep(0.3)\n",
    "stubborn": "def main():\n    while True:\n        alive()\n        time.sleep(0.3)\n",
    "threads": (
        "import threading\n\ndef main():\n    threading.Thread(target=loop).start()\n\n"
        "def loop():\n    while not should_quit():\n        alive()\n        time.sleep(0.3)\n"
    ),
    "imports": (
        "from shared import VALUE\n\ndef main():\n    while not should_quit():\n"
        "        alive(VALUE)\n        time.sleep(0.3)\n"
    ),
    "prints": "def main():\n    while not should_quit():\n        alive()\n        print('x' * 5000)\n",
    "crashes": "def main():\n    return 1 / 0\n",
    "finishes": "def main():\n    pass\n",
    "nonsense": "def main(:\n",
}
SHOWS: Final = frozenset({"loop", "stubborn", "threads", "imports", "prints"})
"""These say that they are alive."""
HEAD: Final = """import os, time

def alive(value=""):
    with open({path!r} + ".new", "w") as file:
        file.write({version!r} + value)
    os.replace({path!r} + ".new", {path!r})

"""

COMMANDS: Final[dict[str, tuple[str, str | None]]] = {
    "quick": ("echo out", "out\n"),
    "slow": ("sleep 2; echo out", "out\n"),
    "failing": ("echo out; exit 3", "out\n"),
    "children": ("sleep 3 & echo out", "out\n"),
    "large": ("head -c 3000000 /dev/zero", None),
    "endless": ("echo out; sleep 600", None),
}
"""What a command does after it has noted that it ran, and what it prints where it comes to its end."""


class Soak:
    """One soak: a world, what was done to it, and what has to be true of it."""

    def __init__(self, stage: Stage, seed: int, minutes: float) -> None:
        self.random = random.Random(seed)
        self.seconds = minutes * 60
        self.world = stage.world()
        self.world.guard()
        self.proxy = Proxy(stage, self.world.port)
        self.world.server_file.write_text(self.proxy.url)
        self.alive = self.world.folder / "alive"
        self.alive.mkdir()
        self.ran = self.world.folder / "ran"
        self.version = 0
        self.kinds: dict[str, str] = {}
        self.commands: dict[str, str] = {}
        self.done: dict[str, int] = {}
        self.began = time.monotonic()
        self.daemon: Daemon = self.world.start()
        self.daemons = [self.daemon]
        self.started_at = time.monotonic()
        self.early_kills = 0
        ready_for_commands(self.world)

    # --- what is done -------------------------------------------------------------------------------------------------

    def edit(self) -> None:
        """Save a program, new or changed, of any kind."""
        self._edit(self.random.choice(IDS), self.random.choice(list(BODIES)))

    def _edit(self, id: str, kind: str) -> None:
        self.version += 1
        version = f"v{self.version}"
        code = BODIES[kind]
        if kind != "nonsense":
            code = HEAD.format(path=str(self.alive / id), version=version) + code
        self.kinds[id] = kind
        self.world.save(id, type=MAC_ID, name=id, code=code, shows=version if kind in SHOWS else None, kind=kind)

    def edit_quickly(self) -> None:
        """Save one program many times."""
        id = self.random.choice(IDS)
        for _ in range(self.random.randint(5, 30)):
            self._edit(id, self.random.choice(list(BODIES)))

    def delete(self) -> None:
        """Delete a program."""
        if self.kinds:
            id = self.random.choice(sorted(self.kinds))
            self.world.delete(id)
            del self.kinds[id]

    def hand_over(self) -> None:
        """Give a program to another Pi."""
        if self.kinds:
            id = self.random.choice(sorted(self.kinds))
            self.world.save(id, type=MAC_ID + 1, code="def main(): pass\n", shows=None)
            self.kinds[id] = "another Pi's"

    def share(self, *, good: bool | None = None) -> None:
        """Save the global module, sometimes with a typo."""
        self.version += 1
        good = self.random.random() < 0.7 if good is None else good
        source = f"VALUE = ' with s{self.version}'\n" if good else "VALUE = !\n"
        self.world.save("shared", type=5, global_modules={"shared": source}, value=f" with s{self.version}")

    def command(self) -> None:
        """Insert a command."""
        kind = self.random.choice([*COMMANDS, "missing"])
        id = f"c{len(self.commands)}"
        argv = (
            ["sh", "-c", f"echo {id} >> {self.ran}; {COMMANDS[kind][0]}"] if kind in COMMANDS else ["no-such-program"]
        )
        self.commands[id] = kind
        self.world.save(id, type=f"{MAC_ID}_cmd", cmd=argv, timeout=1 if kind == "endless" else 30)

    def cancel(self) -> None:
        """Cancel a command that may run, or have ended."""
        if self.commands:
            id = self.random.choice(list(self.commands)[-3:])
            with contextlib.suppress(OSError):  # the Pi may write its answer just now
                document = self.world.get(id)
                if "ret" not in document:
                    self.world.couch.ask("PUT", f"{PATH}/{id}", document | {"cancel": True})

    def restart_server(self) -> None:
        """Stop or kill the server, and start it a moment later."""
        if self.random.random() < 0.5:
            self.world.server.stop()
        else:
            self.world.server.kill()
        time.sleep(self.random.uniform(0, 2))
        self.world.server_up()

    def restart_daemon(self) -> None:
        """Stop or kill the daemon, and start it a moment later; not in the last half, which looks for leaks."""
        if time.monotonic() - self.began > self.seconds / 2:
            return
        early = time.monotonic() - self.started_at < PROVEN_S
        if self.random.random() < 0.5 or (early and self.early_kills >= 2):
            self.early_kills = 0
            self.has_handlers()
            status = self.daemon.stop()
            check(status == 0, f"the daemon ended with {status}\n{self.daemon.log()[-3000:]}")
        else:
            self.early_kills = self.early_kills + 1 if early else 0
            self.daemon.kill()
        time.sleep(self.random.uniform(0, 1))
        self.daemon = self.world.start()
        self.daemons.append(self.daemon)
        self.started_at = time.monotonic()

    def hang_up(self) -> None:
        """SIGHUP: read the server file again, and restart the programs."""
        self.has_handlers()
        self.daemon.signal(signal.SIGHUP)

    def has_handlers(self) -> None:
        """Wait until the daemon takes signals: while Python itself starts, nothing can keep them from ending it."""
        until(lambda: "[himbeerecouch." in self.daemon.log(), "the daemon's first line")
        time.sleep(0.3)

    def trouble(self) -> None:
        """Make the network fail in some way, or in none."""
        self.well()
        faults: list[dict[str, Any]] = [
            {"stalled": True},
            {"silent": True},
            {"refuse": True},
            {"cut_after": self.random.randint(100, 5000)},
            {"slice_s": 0.001},
            {"latency_s": 0.2},
            {},
        ]
        self.proxy.set(**self.random.choice(faults))

    def well(self) -> None:
        """Mend the network."""
        self.proxy.set(stalled=False, silent=False, refuse=False, cut_after=None, slice_s=None, latency_s=0.0)

    def reset(self) -> None:
        """Reset all connections."""
        self.proxy.reset()

    def run(self) -> None:
        """Do all that, until the time is over."""
        deeds: dict[Callable[[], None], int] = {
            self.edit: 20,
            self.edit_quickly: 3,
            self.delete: 6,
            self.hand_over: 3,
            self.share: 4,
            self.command: 16,
            self.cancel: 3,
            self.restart_server: 3,
            self.restart_daemon: 3,
            self.hang_up: 2,
            self.trouble: 6,
            self.well: 6,
            self.reset: 4,
        }
        told_s = 0.0
        while (passed_s := time.monotonic() - self.began) < self.seconds:
            (deed,) = self.random.choices(list(deeds), list(deeds.values()))
            deed()
            self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1
            status = self.daemon.process.poll()
            check(status is None, f"the daemon ended by itself with {status}\n{self.daemon.log()[-3000:]}")
            if passed_s - told_s > 30:
                told_s = passed_s
                print(f"{passed_s:4.0f} s: {sum(self.done.values())} deeds, {len(self.commands)} commands", flush=True)
            time.sleep(self.random.uniform(0, 0.4))

    # --- what has to be true ------------------------------------------------------------------------------------------

    def wanted(self) -> dict[str, str]:
        """What the database says should show, by id."""
        rows = self.world.couch.ask("GET", f"{PATH}/_all_docs?include_docs=true")["rows"]
        documents = {row["id"]: row["doc"] for row in rows}
        value = documents.get("shared", {}).get("value", "")
        found = {}
        for id, document in documents.items():
            if document.get("type") == MAC_ID and document.get("shows"):
                found[id] = document["shows"] + (value if document["kind"] == "imports" else "")
        return found

    def shown(self) -> dict[str, str]:
        """What shows within a second and a half, by id."""
        for path in self.alive.iterdir():
            path.unlink(missing_ok=True)
        time.sleep(1.5)
        return {path.name: path.read_text() for path in self.alive.iterdir() if path.suffix != ".new"}

    def settle(self, what: str) -> None:
        """Wait until what runs is what the database says."""
        wanted, shown = self.wanted(), self.shown()
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while shown != wanted:
            check(time.monotonic() < deadline, f"{what}: {shown} runs, and the database says {wanted}")
            shown = self.shown()

    def check_commands(self) -> None:
        """Every command ran at most once, and has the answer that it ought to have."""
        for id in self.commands:
            self.world.answered(id, SETTLED_WITHIN_S)
        ran = self.ran.read_text().split() if self.ran.exists() else []
        for id, kind in self.commands.items():
            document = self.world.get(id)
            state, times = document["execution"]["state"], ran.count(id)
            about = f"{id} ({kind}) ran {times} times and is {state}: {json.dumps(document['ret'])[:200]}"
            check(times <= 1, about)
            if kind == "missing":
                check(times == 0 and document["ret"][0] is None, about)
            elif state in {"done", "failed", "timeout"}:
                check(times == 1, about)
                out = COMMANDS[kind][1]
                check(out is None or state == "timeout" or document["ret"][0] == out, about)
                check((state == "failed") == (kind == "failing"), about)
            else:
                check(state in {"interrupted", "cancelled"}, about)
        left = named(f"echo c[0-9]* >> {self.ran}") + named(f" >> {self.ran}; ")
        check(not left, f"processes of commands are left over: {left}")

    def size(self) -> tuple[int, int, float]:
        """The daemon's threads, descriptors and memory, with a few programs and nothing going on."""
        for id in sorted(self.kinds):
            self.world.delete(id)
        self.kinds.clear()
        self.share(good=True)
        for id, kind in zip(IDS, sorted(SHOWS), strict=False):
            self._edit(id, kind)
        self.settle("a few programs")
        time.sleep(2)
        return own_threads(self.daemon), self.daemon.descriptors(), self.daemon.resident_mb()


def soak(minutes: float, seed: int, folder: Path) -> str:
    """Soak; return what was done.  Raises AssertionError with what is wrong."""
    stage = Stage(folder)
    try:
        one = Soak(stage, seed, minutes)
        before = one.size()
        one.run()
        one.well()
        one.share(good=True)
        one.settle("at the end")
        one.check_commands()
        threads, files, mb = one.size()
        check(threads <= before[0], f"{threads} threads, and {before[0]} at the start")
        until(
            lambda: one.daemon.descriptors() <= before[1] + KEPT_CONNECTIONS,
            f"{files} files, and {before[1]} at the start",
        )
        check(mb <= before[2] + MORE_MB, f"{mb:.1f} MB, and {before[2]:.1f} MB at the start")
        status = one.daemon.stop()
        check(status == 0, f"the daemon ended with {status}")
        for daemon in one.daemons:
            wrong = (
                daemon.lines("should not happen")
                + daemon.lines("Unhandled")
                + daemon.lines("the role himbeerecouch_operator")
            )
            check(not wrong, f"in the log: {wrong[:3]}")
        deeds = ", ".join(f"{count} {name}" for name, count in sorted(one.done.items()))
        return (
            f"{deeds}; {len(one.daemons)} daemons; threads {before[0]} -> {threads}, files {before[1]} -> {files}, "
            f"memory {before[2]:.1f} -> {mb:.1f} MB"
        )
    except AssertionError as error:
        kept = Path(tempfile.gettempdir()) / f"himbeerecouch-soak-{seed}-{os.getpid()}.log"
        with contextlib.suppress(NameError), kept.open("w") as file:
            file.writelines(f"--- daemon {daemon.pid}\n{daemon.log()}\n" for daemon in one.daemons)
        raise AssertionError(f"{error}\nthe daemons' logs are in {kept}") from None
    finally:
        stage.close()


def main(arguments: Sequence[str]) -> int:
    """Soak for ``MINUTES`` (10) from ``SEED`` (a new one); return the exit status."""
    minutes = float(arguments[0]) if arguments else 10.0
    seed = int(arguments[1]) if arguments[1:] else secrets.randbelow(10**6)
    print(f"soaking for {minutes:g} minutes; the same again: make soak MINUTES={minutes:g} SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="himbeerecouch-soak-", ignore_cleanup_errors=True) as folder:
        try:
            print(soak(minutes, seed, Path(folder)))
        except AssertionError as error:
            print(f"{error}\nnot clean (seed {seed})")
            return 1
    print(f"clean (seed {seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
