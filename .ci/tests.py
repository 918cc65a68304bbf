"""Runs trial on the packages named, and closes with one line: N passed, N failed, N skipped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.reporter import VerboseTextReporter
from twisted.trial.runner import TestLoader, TrialRunner

ROOT = Path(__file__).resolve().parent.parent


def main(names: Sequence[str]) -> int:
    """Run the tests; return the exit status, which is 1 also where no test ran."""
    sys.path.insert(0, str(ROOT))
    runner = TrialRunner(VerboseTextReporter, workingDirectory=str(ROOT / "_trial_temp"))
    result = runner.run(TestLoader().loadByNames(list(names), recurse=True))
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"{result.successes} passed, {failed} failed, {len(result.skips)} skipped", flush=True)
    return 0 if result.successes and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
