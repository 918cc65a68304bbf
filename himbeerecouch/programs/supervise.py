"""How a program goes from state to state, and how long it waits until it is started again.  Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from himbeerecouch.model import ProgramState as State

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
PROVEN_AFTER_S: Final = 60.0
"""A program that ran this long before it ended begins again with the shortest pause, and is one to go back to."""


class Event(enum.Enum):
    """What happens to a program."""

    LOADED = "its modules are there and main() is being called"
    FELL_BACK = "the same, but it is the revision before that runs in its place"
    RETURNED = "main() and every thread of it have returned"
    FAILED = "an exception ended it"
    WAIT = "it is to be started again, later"
    STOP = "it has to quit"
    START = "its thread is being started"
    REST = "it is not to run"


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.STARTING, Event.LOADED): State.RUNNING,
    (State.STARTING, Event.FELL_BACK): State.ROLLED_BACK,
    (State.STARTING, Event.RETURNED): State.FINISHED,
    (State.STARTING, Event.FAILED): State.CRASHED,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.RUNNING, Event.RETURNED): State.FINISHED,
    (State.RUNNING, Event.FAILED): State.CRASHED,
    (State.RUNNING, Event.STOP): State.STOPPING,
    (State.ROLLED_BACK, Event.RETURNED): State.FINISHED,
    (State.ROLLED_BACK, Event.FAILED): State.CRASHED,
    (State.ROLLED_BACK, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.LOADED): State.STOPPING,
    (State.STOPPING, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.START): State.STARTING,
    (State.CRASHED, Event.WAIT): State.BACKOFF,
    (State.CRASHED, Event.START): State.STARTING,
    (State.BACKOFF, Event.START): State.STARTING,
    (State.FINISHED, Event.WAIT): State.BACKOFF,
    (State.FINISHED, Event.START): State.STARTING,
    (State.FINISHED, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.REST): State.STOPPED,
    (State.CRASHED, Event.REST): State.STOPPED,
    (State.BACKOFF, Event.REST): State.STOPPED,
    (State.FINISHED, Event.REST): State.STOPPED,
    (State.STOPPED, Event.REST): State.STOPPED,
    (State.STOPPED, Event.START): State.STARTING,
}


def after(state: State, event: Event) -> State:
    """The state that follows; a ValueError where that can't happen to a program in this state."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"a program that is {state.value} can't have: {event.value}") from None


def pause_s(ends: int) -> float:
    """Seconds until the next start after so many ends in a row (1 or more)."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(ends - 1, 16))
