"""The ground for tests that await."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.trial.unittest import TestCase


class AsyncCase(TestCase):
    """A test whose methods are coroutines."""

    async def failing(self, kind: type[Exception], awaitable: Awaitable[object]) -> Any:
        """Await what has to fail; give its error."""
        try:
            await awaitable
        except kind as error:
            return error
        raise self.failureException(f"no {kind.__name__}")
