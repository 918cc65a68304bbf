"""Faults 16 to 18: disks that are full, broken, read-only, or hold rubbish."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.stage import LOOP, Stage, alive, check, end_all, needs, private_mounts, ready_for_commands, runs
from tests.integration.world import MAC_ID, Daemon, World, until


def full_or_broken(stage: Stage) -> str:
    """Programs go on, state files are old or new and never torn, commands are refused with the reason."""
    return _full(stage) if stage.brief else f"{_full(stage)}; {_broken(stage)}"


def _full(stage: Stage) -> str:
    needs("mount", "mkfs.ext2", root=True)
    world = stage.world("blink")
    disk = _small_disk(stage, world)
    daemon = world.start(f"--state-dir={disk}", wait="blink runs")
    folder = disk / str(MAC_ID)
    until((folder / "started").exists, "the first snapshot")
    world.command("before", "true")
    before = _states(folder)
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)
    # A full disk has no block left; what the journal's last one still takes is noted down, and so it runs.
    _under_trouble(world, daemon, "full", fitting=20)
    for path, content in _states(folder).items():
        check(content == before.get(path) or _whole(content), f"{path} is torn: {content[:100]!r}")
    daemon.kill()
    daemon = world.start(f"--state-dir={disk}")
    until(runs(daemon, "full"), "the program, with the disk still full", 20)
    daemon.stop()
    filler.unlink()
    daemon = world.start(f"--state-dir={disk}", wait="full runs")
    check(world.command("after", "echo", "x", expires=_soon())["ret"] == ["x\n", ""], "a command, once there is room")
    alive(daemon)
    daemon.stop()
    return "full: programs went on, a command was refused, and all was well once there was room"


def _small_disk(stage: Stage, world: World) -> Path:
    image, disk = world.folder / "image", world.folder / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(2_000_000)
    subprocess.run(["mkfs.ext2", "-q", "-b", "1024", "-m", "0", str(image)], check=True)
    looped = ["mount", "-o", "loop", str(image), str(disk)]
    if subprocess.run(looped, capture_output=True, check=False).returncode:  # no loop devices: one in memory fills too
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=True)
    stage.addCleanup(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
    return disk


def _broken(stage: Stage) -> str:
    needs("strace")
    world = stage.world("blink")
    stage.addCleanup(end_all, f"--server-file={world.server_file}")  # the daemon outlives a strace that is killed
    # Every fsync of the daemon's fails with EIO, as on a card that is worn out.
    calls = "fsync,fdatasync"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", f"trace={calls}"]
    daemon = world.start(prefix=[*strace, "-e", f"inject={calls}:error=EIO"], wait="blink runs")
    until(lambda: daemon.lines("read afresh"), "the first snapshot")
    _under_trouble(world, daemon, "EIO")
    for path, content in _states(world.state_dir / str(MAC_ID)).items():
        check(_whole(content), f"{path} is torn: {content[:100]!r}")
    return "EIO: programs went on, a command was refused"


def _under_trouble(world: World, daemon: Daemon, word: str, fitting: int = 0) -> None:
    """An edit is run, and after ``fitting`` others at most a command is refused."""
    world.program("blink", LOOP.format(word))
    until(runs(daemon, word), "an edit", 20)
    for number in range(fitting + 1):
        ran = world.folder / f"ran {word} {number}"
        nothing, reason = world.command(f"{word} {number}", "touch", str(ran), expires=_soon())["ret"]
        check(ran.exists() == (nothing is not None), f"the answer is [{nothing!r}, {reason!r}], and the command lies")
        if nothing is None:
            break
    check(nothing is None and reason, f"a command was not refused but answered [{nothing!r}, {reason!r}]")
    alive(daemon)


def _soon() -> str:
    """A time that lies ahead: with no state that lasts, commands without one count as old."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


def _states(folder: Path) -> dict[str, bytes]:
    """The state files by their path: not the lock, nor what a power cut may leave beside them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock" and path.suffix not in {".new", ".bad"}
    }


def _whole(content: bytes) -> bool:
    """Whether it is JSON, or lines of it, as the journal is, and the last one as well."""
    *lines, rest = content.split(b"\n")
    return not content or _json([content]) or (not rest and _json(lines))


def _json(texts: Sequence[bytes]) -> bool:
    try:
        for text in texts:
            json.loads(text)
    except ValueError:
        return False
    return True


def read_only_root(stage: Stage) -> str:
    """Starts; state in memory; one warning."""
    needs("unshare", "mount", root=True)
    world = stage.world("blink")
    world.state_dir.mkdir()
    script = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; mount -o remount,ro,bind /'
    daemon = world.start(prefix=private_mounts(script, str(world.folder)), wait="blink runs")
    world.program("blink", LOOP.format("edited"))
    until(runs(daemon, "edited"), "an edit")
    until(lambda: daemon.lines("read afresh"), "the first snapshot")
    document = world.command("c", "echo", "x", expires=_soon())
    check(document["ret"] == ["x\n", ""], f"a command was answered {document['ret']}")
    alive(daemon)
    warnings = daemon.lines("Read-only file system")
    check(len(warnings) == 1 and "in memory" in warnings[0], f"{len(warnings)} warnings: {warnings}")
    check(not list(world.state_dir.iterdir()), "something was written")
    check(daemon.stop() == 0, "it did not end well")
    return "programs and commands run; one warning"


DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda content: content[: len(content) // 2],
    lambda content: os.urandom(len(content)),
    lambda content: b"[]",
)


def garbage(stage: Stage) -> str:
    """Set aside as ``.bad``, and all goes on."""
    world = stage.world("blink", "other")
    folder = world.state_dir / str(MAC_ID)
    daemon = world.start(password=False)
    until((folder / "account.json").exists, "a password")
    daemon.stop()
    names: set[str] = set()
    for count, damage in enumerate(DAMAGES[:1] if stage.brief else DAMAGES):
        daemon = world.start(wait="blink runs")
        ready_for_commands(world)
        world.save(f"c{count}", type=f"{MAC_ID}_cmd", cmd=["sleep", "600"])
        until(lambda: "execution" in world.get(f"c{count}"), "a claim")  # noqa: B023 - asked at once
        time.sleep(0.5)
        daemon.kill()
        damaged = [path for path, content in _states(folder).items() if content]
        for path in damaged:
            (folder / path).write_bytes(damage((folder / path).read_bytes()))
        daemon = world.start()
        _goes_on(world, daemon, count)
        left = [path for path in damaged if not (folder / f"{path}.bad").exists()]
        check(not left, f"not set aside: {left}")
        daemon.stop()
        for path in damaged:
            (folder / f"{path}.bad").unlink()
        names.update(damaged)
    return f"{len(names)} files damaged in {count + 1} ways: set aside, and all went on"


def _goes_on(world: World, daemon: Daemon, count: int) -> None:
    until(lambda: runs(daemon, "blink")() and runs(daemon, "other")(), "the programs", 20)
    world.answered(f"c{count}")
    check(world.command(f"after{count}", "echo", "x")["ret"] == ["x\n", ""], "the next command fails")
    alive(daemon)
