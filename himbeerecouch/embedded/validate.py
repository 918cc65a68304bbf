"""The guard of a database: ``validate_doc_update`` of its design documents, run in QuickJS as CouchDB 3.5 can.

The engine comes from PyPI (extra ``embedded``).  Without it no design document with such a function is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.refused import Refused

TIME_LIMIT_S = 5
MEMORY_LIMIT_BYTES = 64 * 1024 * 1024

Verdict = Callable[[Mapping[str, Any], Mapping[str, Any] | None, Mapping[str, Any], Mapping[str, Any]], None]

_WRAPPER = """
var isArray = Array.isArray, toJSON = JSON.stringify, log = function () {};
var guard = (%s
);
if (typeof guard !== "function") { throw new Error("it is no function"); }
function judge(args) {
  args = JSON.parse(args);
  try { guard.apply(null, args); } catch (error) {
    if (error && typeof error === "object" && ("forbidden" in error || "unauthorized" in error)) {
      var kind = "forbidden" in error ? "forbidden" : "unauthorized";
      return JSON.stringify([kind, String(error[kind])]);
    }
    return JSON.stringify(["error", String(error)]);
  }
  return "[]";
}
"""


def engine_is_there() -> bool:
    """Tell whether QuickJS is installed."""
    try:
        import quickjs  # noqa: F401 only whether it can be imported is asked
    except ImportError:
        return False
    return True


def compile_guard(source: Any) -> Verdict:
    """Compile one ``validate_doc_update``; ``Refused``: 501 without the engine, 400 for what does not compile.

    The verdict takes the new document, the old one or None, the user context and the security object; it raises
    ``Refused`` (403, 401, or 500 where the function itself fails) or returns.
    """
    if not engine_is_there():
        raise Refused(
            501, "not_implemented", "validate_doc_update needs a JavaScript engine: install himbeerecouch[embedded]"
        )
    import quickjs

    if not isinstance(source, str):
        raise Refused(400, "bad_request", "validate_doc_update must be a string")
    context = quickjs.Context()
    context.set_memory_limit(MEMORY_LIMIT_BYTES)
    context.set_time_limit(TIME_LIMIT_S)
    try:
        context.eval(_WRAPPER % source.strip().rstrip(";"))
        judge = context.get("judge")
    except (quickjs.JSException, ValueError) as error:  # the latter for a NUL in it
        raise Refused(400, "compilation_error", f"validate_doc_update does not compile: {error}") from None

    def verdict(
        new: Mapping[str, Any], old: Mapping[str, Any] | None, user: Mapping[str, Any], security: Mapping[str, Any]
    ) -> None:
        try:
            answer = jsontext.read(judge(jsontext.write([new, old, user, security])))
        except quickjs.JSException as error:
            raise Refused(500, "internal_server_error", f"validate_doc_update failed: {error}") from None
        if answer:
            kind, reason = answer
            status = {"forbidden": 403, "unauthorized": 401}.get(kind, 500)
            raise Refused(status, kind if status != 500 else "internal_server_error", reason)

    return verdict


class Guards:
    """The guards of one database, compiled once for each revision of their design documents."""

    def __init__(self) -> None:
        self._compiled: dict[str, tuple[str, Verdict]] = {}

    def check(
        self,
        sources: Mapping[str, tuple[str, str]],
        new: Mapping[str, Any],
        old: Mapping[str, Any] | None,
        user: Mapping[str, Any],
        security: Mapping[str, Any],
    ) -> None:
        """Ask every guard; ``sources`` gives revision and function by design document."""
        for gone in self._compiled.keys() - sources.keys():
            del self._compiled[gone]
        for name, (rev, source) in sources.items():
            known = self._compiled.get(name)
            if known is None or known[0] != rev:
                known = self._compiled[name] = (rev, compile_guard(source))
            known[1](new, old, user, security)
