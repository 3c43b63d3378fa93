"""Reads JSON bodies in linear time, with limits on depth and on the number of values."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 32
"""Levels of arrays and objects. The deepest request of this API has four."""
MAX_VALUES = 2_000
"""Commas, arrays and objects in a body. The largest request of this API has about a hundred."""
MAX_DIGITS = 1_000
_INLINE = 65_536
"""Octets that are read without a thread: it takes less than a millisecond."""

# A string up to its end, or up to the end of the text. It never fails after it has started, so the time is linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_OPEN = frozenset(b"[{")
_BRACKETS = re.compile(rb"[\[\]{}]")


async def read_json(body: bytes) -> Any:
    """The value of a JSON text (RFC 8259) in UTF-8. Raises json.JSONDecodeError, also for a text that exceeds a limit,
    repeats a name in an object, or contains NaN or Infinity."""
    return parse_json(body) if len(body) <= _INLINE else await asyncio.to_thread(parse_json, body)


def parse_json(body: bytes) -> Any:
    """As `read_json`, in the current thread."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse("it is not UTF-8")
    _check_structure(body)
    return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float)


def _check_structure(body: bytes) -> None:
    # Not exact, but never fewer than one for each string: it bounds the work of the next step.
    if body.count(b'"') - body.count(b'\\"') > 4 * MAX_VALUES:
        _refuse(f"it has more than {MAX_VALUES:,} values")
    structure = _STRING.sub(b"", body)
    if structure.count(b",") + structure.count(b"[") + structure.count(b"{") > MAX_VALUES:
        _refuse(f"it has more than {MAX_VALUES:,} values")
    depth = 0
    for bracket in _BRACKETS.findall(structure):
        depth += 1 if bracket[0] in _OPEN else -1
        if depth > MAX_DEPTH:
            _refuse(f"it is nested more than {MAX_DEPTH} levels deep")


def _refuse(reason: str) -> NoReturn:
    raise json.JSONDecodeError(reason, "", 0)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse("an object has the same name twice")
    return found


def _constant(name: str) -> NoReturn:
    _refuse(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        _refuse(f"a number has more than {MAX_DIGITS:,} digits")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > MAX_DIGITS or math.isinf(float(digits)):
        _refuse("a number is too large or too long")
    return float(digits)
