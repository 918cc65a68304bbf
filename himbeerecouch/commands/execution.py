"""Command documents as they are written back: claimed, and answered.  Pure."""

from __future__ import annotations

from attrs import evolve

from himbeerecouch import rfc3339
from himbeerecouch.commands.capture import marker
from himbeerecouch.model import Command, CommandState, Json, Result


def claimed(body: Json, claim: str, started: float) -> Json:
    """``body`` with the mark that it is being run; ``claim`` is what its owner knows it by, ``started`` Unix time."""
    execution = {"state": CommandState.RUNNING.value, "started": rfc3339.render(started), "claim": claim}
    return {**body, "execution": execution}


def claim_of(body: Json) -> str | None:
    """By what claim the document is being run; None where by nobody's, or by that of some other program."""
    execution = body.get("execution")
    claim = execution.get("claim") if isinstance(execution, dict) else None
    return claim if isinstance(claim, str) else None


def same_owner(claim: str, other: str | None) -> bool:
    """Whether both were made by the daemon of one Pi, at whatever time: what is before the dash is its name."""
    owner, dash, _ = claim.rpartition("-")
    return bool(dash) and other is not None and other.rpartition("-")[0] == owner


def answered(body: Json, result: Result) -> Json:
    """``body`` with ``ret`` and the ``execution`` that tells how it ended."""
    unable = result.stdout is None
    return {
        **body,
        "ret": [None, result.reason or result.state.value] if unable else [result.stdout, result.stderr or ""],
        "execution": {
            "state": result.state.value,
            "exit_code": result.exit_code,
            "signal": result.signal,
            "started": None if result.started is None else rfc3339.render(result.started),
            "finished": None if result.finished is None else rfc3339.render(result.finished),
            "dropped_bytes": result.dropped_bytes,
        },
    }


def same_task(body: Json, command: Command) -> bool:
    """Whether ``body`` still asks for what ``command`` did, whatever else has been edited in it."""
    return body.get("cmd") == command.body.get("cmd") and body.get("action") == command.body.get("action")


def smaller(result: Result, limit_characters: int) -> Result:
    """``result`` with at most ``limit_characters`` of each stream, for a server that finds it too large."""
    stdout, out_dropped = _shortened(result.stdout, limit_characters)
    stderr, err_dropped = _shortened(result.stderr, limit_characters)
    return evolve(result, stdout=stdout, stderr=stderr, dropped_bytes=result.dropped_bytes + out_dropped + err_dropped)


def _shortened(text: str | None, limit_characters: int) -> tuple[str | None, int]:
    if text is None or len(text) <= limit_characters:
        return text, 0
    half = limit_characters // 2
    dropped_bytes = len(text[half : len(text) - half].encode("utf-8", "replace"))
    return f"{text[:half]}{marker(dropped_bytes)}{text[len(text) - half :]}", dropped_bytes
