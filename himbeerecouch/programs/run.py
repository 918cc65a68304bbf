"""Running ``main()`` of a program in the calling thread, and telling how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from types import CoroutineType
from typing import Any, Final

from himbeerecouch.errors import ProgramError

ERROR_LIMIT_CHARS: Final = 16_384
_HERE: Final = str(Path(__file__).parent)
_IMPORTS: Final = "<frozen importlib"


def run(
    load: Callable[[], Callable[[], object]], loaded: Callable[[], None], on_quit: Callable[[Callable[[], None]], None]
) -> str | None:
    """Load a program, call its ``main()``, and return None where it finished, else what is to be said of the failure.

    Called on the program's own thread.  ``loaded`` is called in between.  A ``main`` that is a coroutine is run with
    asyncio; ``on_quit`` then gets the function that cancels it.
    """
    try:
        main = load()
        loaded()
        result = main()
        if isinstance(result, CoroutineType):
            _run_coroutine(result, on_quit)
    except SystemExit as error:
        return describe(error) if error.code else None
    except BaseException as error:  # noqa: BLE001 - the top of the program: whatever ended it is to be told
        return describe(error)
    return None


def _run_coroutine(main: CoroutineType[Any, Any, Any], on_quit: Callable[[Callable[[], None]], None]) -> None:
    import asyncio  # large, and only for the programs that use it themselves

    cancelled = False

    async def cancellable() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(main)

        def cancel() -> None:
            nonlocal cancelled
            if not task.done():
                cancelled = True
                task.cancel()

        def quit_now() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(cancel)

        on_quit(quit_now)
        await task

    try:
        asyncio.run(cancellable())
    except asyncio.CancelledError:
        if not cancelled:
            raise


def describe(error: BaseException) -> str:
    """The traceback of ``error`` as its author wants to see it: without the daemon's own frames, and bounded."""
    if isinstance(error, ProgramError):
        return str(error)
    try:
        shown = traceback.TracebackException.from_exception(error)
        _strip(shown, set())
        text = "".join(shown.format()).rstrip("\n")
    except Exception as second:  # noqa: BLE001 - a program may raise what can't even be printed
        return f"{type(error).__name__} (it can't be shown: {type(second).__name__})"
    if len(text) > ERROR_LIMIT_CHARS:
        half = ERROR_LIMIT_CHARS // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return text


def _strip(shown: traceback.TracebackException, seen: set[int]) -> None:
    if id(shown) in seen:
        return
    seen.add(id(shown))
    shown.stack[:] = [frame for frame in shown.stack if not frame.filename.startswith((_HERE, _IMPORTS))]
    for other in (shown.__cause__, shown.__context__):
        if other is not None:
            _strip(other, seen)
    for other in getattr(shown, "exceptions", None) or ():
        _strip(other, seen)
