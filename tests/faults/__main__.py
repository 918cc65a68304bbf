"""Runs the faults: ``python -m tests.faults [numbers]``; several at a time, each in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType
from typing import NoReturn

from attrs import frozen
from twisted.trial.unittest import SkipTest

from tests.faults.stage import Stage
from tests.faults.table import FAULTS
from tests.integration.world import environment

AT_ONCE = 5
"""They mostly wait: for pauses to end, for deadlines, for the server."""
SURVIVED, LOST, SKIPPED = "survived", "NOT SURVIVED", "skipped"


@frozen
class Outcome:
    """What became of one fault."""

    number: int
    verdict: str
    told: str
    took_s: float


def perform(number: int, folder: Path) -> Outcome:
    """Do one fault in this process, and take its world down."""
    began = time.monotonic()
    stage = Stage(folder)

    def terminated(number: int, frame: FrameType | None) -> NoReturn:
        stage.close()  # whatever is waited for in other threads ends with it
        raise AssertionError("it took too long")

    signal.signal(signal.SIGTERM, terminated)
    try:
        try:
            verdict, told = SURVIVED, FAULTS[number].run(stage)
        finally:
            stage.close()
    except SkipTest as reason:
        verdict, told = SKIPPED, str(reason)
    except AssertionError as error:
        verdict, told = LOST, str(error)
    except Exception:  # noqa: BLE001 - whatever it is, the daemon has not been shown to survive
        verdict, told = LOST, traceback.format_exc()
    return Outcome(number, verdict, told, time.monotonic() - began)


def _child(number: int, folder: Path) -> Outcome:
    """Do one fault in a process of its own, which is ended when it takes too long."""
    began = time.monotonic()
    argv = [sys.executable, "-m", "tests.faults", "--one", str(number), str(folder)]
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, env=environment())
        try:
            told = process.communicate(timeout=FAULTS[number].limit_s)[0]
        except subprocess.TimeoutExpired:
            process.terminate()  # so that it takes down what it has started
            try:
                told = process.communicate(timeout=30)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                told = process.communicate()[0]
    lines = told.splitlines()
    try:
        return Outcome(**json.loads(lines[-1]))
    except (IndexError, ValueError, TypeError):
        return Outcome(number, LOST, f"no outcome; status {process.returncode}", time.monotonic() - began)


def _show(outcome: Outcome) -> None:
    fault = FAULTS[outcome.number]
    first, *more = outcome.told.splitlines() or [""]
    print(f"{outcome.number:>3}  {fault.title:<28}  {first}  [{outcome.took_s:.0f} s]  {outcome.verdict}", flush=True)
    for line in more:
        print(f"       {line}", flush=True)


def run(numbers: Iterable[int], folder: Path) -> list[Outcome]:
    """Do these faults, and show each outcome as it comes."""
    wanted = sorted(numbers)
    outcomes = []
    for group, at_once in (
        ([n for n in wanted if not FAULTS[n].busy], AT_ONCE),
        ([n for n in wanted if FAULTS[n].busy], 1),
    ):
        group.sort(key=lambda number: -FAULTS[number].limit_s)  # the long ones first, so that none is left alone
        with ThreadPoolExecutor(at_once) as pool:
            for done in as_completed([pool.submit(_child, number, folder / f"fault{number}") for number in group]):
                _show(done.result())
                outcomes.append(done.result())
    return sorted(outcomes, key=lambda outcome: outcome.number)


def main(arguments: Sequence[str]) -> int:
    """Run all faults, or those named; return the exit status."""
    if arguments[:1] == ["--one"]:
        outcome = perform(int(arguments[1]), Path(arguments[2]))
        print(json.dumps({name: getattr(outcome, name) for name in ("number", "verdict", "told", "took_s")}))
        return 0
    try:
        numbers = [int(word) for word in arguments] or list(FAULTS)
        unknown = [number for number in numbers if number not in FAULTS]
    except ValueError:
        print("usage: python -m tests.faults [number ...]", file=sys.stderr)
        return 2
    if unknown:
        print(f"there is no fault {unknown[0]}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="himbeerecouch-faults-", ignore_cleanup_errors=True) as folder:
        outcomes = run(set(numbers), Path(folder))
    print("\n  #  fault                         verdict       what happened")
    for outcome in outcomes:
        first = (outcome.told.splitlines() or [""])[0]
        print(f"{outcome.number:>3}  {FAULTS[outcome.number].title:<28}  {outcome.verdict:<12}  {first}")
    skipped = [outcome for outcome in outcomes if outcome.verdict == SKIPPED]
    survived = [outcome for outcome in outcomes if outcome.verdict == SURVIVED]
    ran = len(outcomes) - len(skipped)
    if skipped:
        print(f"skipped: {', '.join(str(outcome.number) for outcome in skipped)}")
    print(f"{len(survived)} of {ran} faults survived", flush=True)
    return 0 if ran and len(survived) == ran else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
