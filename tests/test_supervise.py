"""The states of programs, and their pauses."""

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.model import ProgramState as State
from himbeerecouch.programs.supervise import TRANSITIONS, Event, after, pause_s


class Supervise(SynchronousTestCase):
    """All of it is tables."""

    def test_transitions(self) -> None:
        """What is in the table happens, and all else is an error that says so."""
        for state in State:
            for event in Event:
                if (state, event) in TRANSITIONS:
                    self.assertIs(after(state, event), TRANSITIONS[state, event])
                else:
                    with self.assertRaisesRegex(ValueError, state.value):
                        after(state, event)

    def test_pauses(self) -> None:
        """One second, doubling to 300."""
        pauses = [pause_s(failures) for failures in (1, 2, 3, 8, 9, 10, 10_000)]
        self.assertEqual(pauses, [1, 2, 4, 128, 256, 300, 300])
