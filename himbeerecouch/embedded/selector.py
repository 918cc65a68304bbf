"""Mango selectors: JSON that says which documents are meant, compiled into a function.

The rules are those of CouchDB's ``_find`` and of ``_changes?filter=_selector``; regular expressions are Python's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from himbeerecouch.embedded import collate
from himbeerecouch.embedded.refused import Refused

Predicate = Callable[[Any], bool]
Path = tuple[str, ...]

_MISSING = object()
_NAMES = {
    collate.NULL: "null",
    collate.FALSE: "boolean",
    collate.TRUE: "boolean",
    collate.NUMBER: "number",
    collate.STRING: "string",
    collate.LIST: "array",
    collate.OBJECT: "object",
}
_COMBINATIONS = ("$and", "$or", "$nor", "$not")


class SelectorError(Refused):
    """The selector makes no sense; ``error`` names the kind of mistake as ``_find`` does."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(400, error, reason)


@frozen
class Selector:
    """A compiled selector."""

    matches: Predicate
    """Takes a document with its ``_id`` (and ``_deleted`` where it is)."""
    source: Any


def compile_selector(source: Any) -> Selector:
    """Compile a selector; ``SelectorError`` says what is wrong with it."""
    if not isinstance(source, dict):
        raise SelectorError("bad_request", "Selector error: expected a JSON object")
    return Selector(_compile(source, (), False), source)


def split_field(name: str) -> Path:
    """Split ``a.b`` at its dots; a dot with a backslash before it belongs to the name."""
    return tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", name))


def look_up(document: Any, path: Path) -> Any:
    """Return what stands at ``path``, or a mark that is no JSON value where there is nothing."""
    for part in path:
        if isinstance(document, dict):
            document = document.get(part, _MISSING)
        elif isinstance(document, list) and _is_place(part) and int(part) < len(document):
            document = document[int(part)]
        else:
            return _MISSING
    return document


def _is_place(part: str) -> bool:
    """Whether it can be a place in a list: "²" is a digit as well, and Python reads no number of 5,000 of them."""
    return part.isascii() and part.isdigit() and len(part) < 10


def is_there(found: object) -> bool:
    """Tell what ``look_up`` found from the mark of nothing."""
    return found is not _MISSING


# --- structure --------------------------------------------------------------------------------------------------------


def _any_of(parts: list[Predicate]) -> Predicate:
    if len(parts) == 1:
        return parts[0]

    def test(value: Any) -> bool:  # a loop, as each row of a feed comes by here: any() takes twice as long
        for part in parts:  # noqa: SIM110
            if part(value):
                return True
        return False

    return test


def _all_of(parts: list[Predicate]) -> Predicate:
    if len(parts) == 1:
        return parts[0]

    def test(value: Any) -> bool:
        for part in parts:  # noqa: SIM110
            if not part(value):
                return False
        return True

    return test


def _list_argument(operator: str, argument: Any) -> list[Any]:
    if not isinstance(argument, list):
        raise _bad_argument(operator, argument)
    return argument


def _bad_argument(operator: str, argument: Any) -> SelectorError:
    return SelectorError("bad_arg", f"Bad argument for operator {operator}: {argument!r}")


def _compile(source: Any, path: Path, negated: bool) -> Predicate:
    """Compile what stands at ``path``; a negation is carried down to the fields, as CouchDB does.

    Hence a field that is not there fails every test but ``$exists: false``, negated or not.
    """
    if not isinstance(source, dict) or (not source and path):
        return _leaf(path, _equal_to(source), negated)
    parts = [_part(name, argument, path, negated) for name, argument in source.items()]
    return _any_of(parts) if negated and parts else _all_of(parts)


def _part(name: str, argument: Any, path: Path, negated: bool) -> Predicate:
    if not name.startswith("$"):
        return _compile(argument, path + split_field(name), negated)
    if name == "$not":
        return _compile(argument, path, not negated)
    if name in _COMBINATIONS:
        inner_negated = negated ^ (name == "$nor")
        parts = [_compile(part, path, inner_negated) for part in _list_argument(name, argument)]
        return _all_of(parts) if negated == (name == "$or") else _any_of(parts)
    if name == "$exists":
        return _exists(path, argument, negated)
    make = _OPERATORS.get(name)
    if make is None:
        raise SelectorError("invalid_operator", f"Invalid operator: {name}")
    return _leaf(path, make(argument), negated)


def _exists(path: Path, argument: Any, negated: bool) -> Predicate:
    if not isinstance(argument, bool):
        raise _bad_argument("$exists", argument)
    wanted = argument != negated
    if len(path) == 1:
        name = path[0]
        return lambda document: (name in document if isinstance(document, dict) else _has(document, path)) == wanted
    return lambda document: _has(document, path) == wanted


def _has(document: Any, path: Path) -> bool:
    return is_there(look_up(document, path))


def _leaf(path: Path, test: Predicate, negated: bool) -> Predicate:
    wanted = not negated
    if not path:
        return lambda value: test(value) == wanted
    if len(path) == 1:
        name = path[0]

        def test_field(document: Any) -> bool:
            found = document.get(name, _MISSING) if isinstance(document, dict) else look_up(document, path)
            return found is not _MISSING and test(found) == wanted

        return test_field

    def test_path(document: Any) -> bool:
        found = look_up(document, path)
        return found is not _MISSING and test(found) == wanted

    return test_path


# --- operators --------------------------------------------------------------------------------------------------------


def _equal_to(argument: Any) -> Predicate:
    wanted = collate.key(argument)
    return lambda value: collate.key(value) == wanted


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any], Predicate]:
    def make(argument: Any) -> Predicate:
        bound = collate.key(argument)
        return lambda value: holds(collate.key(value), bound)

    return make


def _not(make: Callable[[Any], Predicate]) -> Callable[[Any], Predicate]:
    def made(argument: Any) -> Predicate:
        test = make(argument)
        return lambda value: not test(value)

    return made


def _in(argument: Any) -> Predicate:
    wanted = {collate.key(item) for item in _list_argument("$in", argument)}

    def test(value: Any) -> bool:
        if collate.key(value) in wanted:
            return True
        return isinstance(value, list) and any(collate.key(item) in wanted for item in value)

    return test


def _all(argument: Any) -> Predicate:
    wanted = [collate.key(item) for item in _list_argument("$all", argument)]

    def test(value: Any) -> bool:
        if not isinstance(value, list):
            return False
        there = {collate.key(item) for item in value}
        return bool(wanted) and (all(item in there for item in wanted) or wanted == [collate.key(value)])

    return test


def _each(argument: Any) -> Predicate:
    return _compile(argument, (), False)


def _element_match(argument: Any) -> Predicate:
    test = _each(argument)
    return lambda value: isinstance(value, list) and any(map(test, value))


def _all_match(argument: Any) -> Predicate:
    test = _each(argument)
    return lambda value: isinstance(value, list) and bool(value) and all(map(test, value))


def _key_match(argument: Any) -> Predicate:
    test = _each(argument)
    return lambda value: isinstance(value, dict) and any(map(test, value))


def _whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _size(argument: Any) -> Predicate:
    if not _whole_number(argument):
        raise _bad_argument("$size", argument)
    return lambda value: isinstance(value, list) and len(value) == argument


def _mod(argument: Any) -> Predicate:
    if not (isinstance(argument, list) and len(argument) == 2 and all(map(_whole_number, argument)) and argument[0]):
        raise _bad_argument("$mod", argument)
    divisor, remainder = argument
    # Erlang's remainder bears the sign of the dividend, Python's that of the divisor.
    return lambda value: _whole_number(value) and (abs(value) % abs(divisor)) * (-1 if value < 0 else 1) == remainder


def _regex(argument: Any) -> Predicate:
    try:
        search = re.compile(argument).search
    except (re.error, TypeError, RecursionError, OverflowError):
        raise _bad_argument("$regex", argument) from None
    return lambda value: isinstance(value, str) and search(value) is not None


def _begins_with(argument: Any) -> Predicate:
    if not isinstance(argument, str):
        raise _bad_argument("$beginsWith", argument)
    return lambda value: isinstance(value, str) and value.startswith(argument)


def _type(argument: Any) -> Predicate:
    if argument not in _NAMES.values():
        raise _bad_argument("$type", argument)
    return lambda value: _NAMES[collate.key(value)[0]] == argument


_OPERATORS: dict[str, Callable[[Any], Predicate]] = {
    "$eq": _equal_to,
    "$ne": _not(_equal_to),
    "$gt": _ordered(lambda value, bound: value > bound),
    "$gte": _ordered(lambda value, bound: value >= bound),
    "$lt": _ordered(lambda value, bound: value < bound),
    "$lte": _ordered(lambda value, bound: value <= bound),
    "$in": _in,
    "$nin": _not(_in),
    "$all": _all,
    "$elemMatch": _element_match,
    "$allMatch": _all_match,
    "$keyMapMatch": _key_match,
    "$size": _size,
    "$mod": _mod,
    "$regex": _regex,
    "$beginsWith": _begins_with,
    "$type": _type,
}


def conditions_on(source: Any, field: str) -> Iterable[dict[str, Any]]:
    """Give all conditions that the selector puts on a field and that every match must fulfil, as operator objects."""
    if not isinstance(source, dict):
        return
    for name, argument in source.items():
        if name == "$and" and isinstance(argument, list):
            for part in argument:
                yield from conditions_on(part, field)
        elif name == field:
            if isinstance(argument, dict) and argument and all(part.startswith("$") for part in argument):
                yield argument
            else:
                yield {"$eq": argument}
