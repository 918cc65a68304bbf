"""How a program goes from state to state, and how long it waits after a crash.  Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from himbeerecouch.model import ProgramState as State

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
PROVEN_AFTER_S: Final = 60.0
"""A program that ran this long before it crashed begins again with the shortest pause."""


class Event(enum.Enum):
    """What happens to a program."""

    LOADED = "its modules are there and main() is being called"
    RETURNED = "main() and every thread of it have returned"
    FAILED = "an exception ended it"
    WAIT = "it is to be started again, later"
    STOP = "it has to quit"
    START = "its thread is being started"


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.STARTING, Event.LOADED): State.RUNNING,
    (State.STARTING, Event.RETURNED): State.FINISHED,
    (State.STARTING, Event.FAILED): State.CRASHED,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.RUNNING, Event.RETURNED): State.FINISHED,
    (State.RUNNING, Event.FAILED): State.CRASHED,
    (State.RUNNING, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.LOADED): State.STOPPING,
    (State.STOPPING, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.START): State.STARTING,
    (State.CRASHED, Event.WAIT): State.BACKOFF,
    (State.CRASHED, Event.START): State.STARTING,
    (State.BACKOFF, Event.START): State.STARTING,
    (State.FINISHED, Event.START): State.STARTING,
    (State.FINISHED, Event.STOP): State.STOPPING,
}


def after(state: State, event: Event) -> State:
    """The state that follows; a ValueError where that can't happen to a program in this state."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"a program that is {state.value} can't have: {event.value}") from None


def failures_after(failures: int, *, ran_s: float) -> int:
    """How many crashes in a row there are now, this one included, where the program had run for ``ran_s``."""
    return 1 if ran_s >= PROVEN_AFTER_S else failures + 1


def pause_s(failures: int) -> float:
    """Seconds until the next start after so many crashes in a row (1 or more)."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
