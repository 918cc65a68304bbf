"""A process that compiles sources for ``fleet.syntax``, and nothing else: it is run as a file, by itself.

The compiler can be made to take gigabytes, or to end its process: here that does no harm to whoever asked.  Reads a
JSON list of sources, and writes a line of JSON for each: null, or what is wrong with it.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_S = 60


def main() -> None:
    """Answer the list on the standard input."""
    for kind, limit in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    warnings.simplefilter("ignore")
    for source in json.load(sys.stdin):
        # A line each, at once: the last one before the end of the process says where it came to its end.
        sys.stdout.write(json.dumps(complaint(source)) + "\n")
        sys.stdout.flush()


def complaint(source: str) -> dict[str, object] | None:
    """What is wrong with a source; None where it compiles."""
    try:
        compile(source, "source.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        text = (error.text or "").strip()[:200]
        return {"line": error.lineno, "message": error.msg, "text": text}
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        return {"line": None, "message": f"it can't be compiled: {type(error).__name__} {error}".strip(), "text": ""}
    return None


if __name__ == "__main__":
    main()
