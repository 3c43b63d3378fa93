"""Counts the steps of a regular expression, so that a test of its growth gives the same result on every machine.

It interprets the parsed pattern with the same backtracking as `re`, without its shortcuts.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise
from re import _constants as sre  # type: ignore[attr-defined]  # typeshed has no private modules
from re import _parser as parser  # type: ignore[attr-defined]  # the same
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SINGLE = {sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN}
_GREEDY, _LAZY, _POSSESSIVE = sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT


@cache
def _in_category(category: Any, char: str) -> bool:
    name = str(category)
    kind = {"SPACE": r"\s", "DIGIT": r"\d", "WORD": r"\w"}[name.rpartition("_")[2]]
    return bool(re.match(kind, char)) is not ("NOT_" in name)


class Steps:
    """Runs one pattern, and counts each test of a character and each attempt to continue."""

    def __init__(self, pattern: re.Pattern[Any], limit: int = 300_000) -> None:
        source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
        flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
        self.tree = parser.parse(source, flags & ~re.DEBUG)
        self._ignores_case = bool(flags & re.IGNORECASE)
        self._limit = limit
        self.count = 0

    def match(self, text: str) -> int:
        """The steps of one match at the start of the text, and of the attempt to make it reach the end."""
        self.count = 0
        any(end == len(text) for end in self._run(list(self.tree), 0, text, 0))
        return self.count

    def search(self, text: str) -> int:
        """The steps of a search for all matches, as `finditer` and `sub` do it."""
        self.count, start = 0, 0
        while start <= len(text):
            self._step()
            end = next(self._run(list(self.tree), 0, text, start), None)
            start = start + 1 if end is None or end == start else end
        return self.count

    def _step(self) -> None:
        self.count += 1
        if self.count > self._limit:
            raise OverflowError(f"more than {self._limit:,} steps")

    def _is(self, op: Any, value: Any, char: str) -> bool:
        self._step()
        if op is sre.ANY:
            return char != "\n"
        variants = {char, char.lower(), char.upper()} if self._ignores_case else {char}
        codes = {ord(one) for one in variants if len(one) == 1}
        if op is sre.LITERAL:
            return value in codes
        if op is sre.NOT_LITERAL:
            return value not in codes
        negate = value[0][0] is sre.NEGATE
        return negate is not any(
            (kind is sre.LITERAL and which in codes)
            or (kind is sre.RANGE and any(which[0] <= code <= which[1] for code in codes))
            or (kind is sre.CATEGORY and _in_category(which, char))
            for kind, which in value[negate:]
        )

    def _run(self, nodes: list[Any], at: int, text: str, position: int) -> Iterator[int]:
        """The ends of all matches of the nodes from `at` on, in the order in which `re` tries them."""
        self._step()
        if at == len(nodes):
            yield position
            return
        op, value = nodes[at]
        for end in self._node(op, value, text, position):
            yield from self._run(nodes, at + 1, text, end)

    def _node(  # noqa: C901 - one case for each kind of node
        self, op: Any, value: Any, text: str, position: int
    ) -> Iterator[int]:
        if op in _SINGLE:
            if position < len(text) and self._is(op, value, text[position]):
                yield position + 1
        elif op is sre.BRANCH:
            for branch in value[1]:
                yield from self._run(list(branch), 0, text, position)
        elif op is sre.SUBPATTERN:
            yield from self._run(list(value[3]), 0, text, position)
        elif op is sre.ATOMIC_GROUP:
            yield from _first(self._run(list(value), 0, text, position))
        elif op is sre.AT:
            if self._is_at(str(value), text, position):
                yield position
        elif op in {sre.ASSERT, sre.ASSERT_NOT}:
            direction, body = value
            yield from self._assertion(op is sre.ASSERT, direction, body, text, position)
        elif op in {_GREEDY, _LAZY, _POSSESSIVE}:
            least, most, body = value
            repeats = self._repeat(op, least, most, body, text, position)
            yield from _first(repeats) if op is _POSSESSIVE else repeats
        else:
            raise NotImplementedError(str(op))

    def _assertion(self, wanted: bool, direction: int, body: Any, text: str, position: int) -> Iterator[int]:
        start = position if direction > 0 else position - body.getwidth()[0]
        found = start >= 0 and next(self._run(list(body), 0, text, start), None) is not None
        if found is wanted:
            yield position

    def _is_at(self, where: str, text: str, position: int) -> bool:
        if "BOUNDARY" in where:
            sides = [0 <= at < len(text) and bool(re.match(r"\w", text[at])) for at in (position - 1, position)]
            return (sides[0] is not sides[1]) is not ("NON_" in where)
        if "BEGINNING" in where:
            return position == 0 or (where == "AT_BEGINNING_LINE" and text[position - 1] == "\n")
        return position == len(text) or (where != "AT_END_STRING" and text[position] == "\n")

    def _repeat(self, op: Any, least: int, most: Any, body: Any, text: str, position: int) -> Iterator[int]:
        nodes = list(body)
        if len(nodes) == 1 and nodes[0][0] in _SINGLE:
            ends, end = [position], position
            while len(ends) <= most and end < len(text):
                if op is _LAZY and len(ends) > least:
                    yield end
                if not self._is(nodes[0][0], nodes[0][1], text[end]):
                    break
                end += 1
                ends.append(end)
            else:
                if op is _LAZY and len(ends) > least:
                    yield end
            if op is not _LAZY:
                for one in reversed(ends[least:]):
                    self._step()
                    yield one
            return
        yield from self._groups(op, least, most, nodes, text, position, 0)

    def _groups(
        self, op: Any, least: int, most: Any, nodes: list[Any], text: str, position: int, count: int
    ) -> Iterator[int]:
        if op is _LAZY and count >= least:
            yield position
        if count < most:
            ends = self._run(nodes, 0, text, position)
            for end in _first(ends) if op is _POSSESSIVE else ends:
                if end > position or count < least:
                    yield from self._groups(op, least, most, nodes, text, end, count + 1)
        if op is not _LAZY and count >= least:
            yield position


def _first(ends: Iterator[int]) -> Iterator[int]:
    found = next(ends, None)
    if found is not None:
        yield found


# ── hostile texts ────────────────────────────────────────────────────────────────────────────────────


def hostile_texts(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """Texts that nearly match: the start of a match, one repeat pumped to `size` characters, and then a wrong end."""
    tree = Steps(pattern).tree
    pumps = dict.fromkeys(_pumps(tree, ""))
    for before, repeated in pumps:
        pumped = before + repeated * (size // len(repeated))
        yield from (pumped + end for end in ("", "\x01"))
        yield (before or repeated) * (size // len(before or repeated))
    alphabet = list(dict.fromkeys("".join(repeated for _, repeated in pumps)))[:6]
    for first, second in [*pairwise(alphabet), *((one, one) for one in alphabet)]:
        yield (first + second) * (size // 2) + "\x01"


def _pumps(tree: Any, before: str) -> Iterator[tuple[str, str]]:
    """For each repeat in the pattern: a text that leads to it, and a text that it can match once."""
    for op, value in tree:
        if op in {_GREEDY, _LAZY, _POSSESSIVE}:
            least, most, body = value
            if most > 20 and (sample := _sample(body)):
                yield before, sample
            yield from _pumps(body, before)
            before += _sample(body) * max(1, least)
        elif op is sre.BRANCH:
            for branch in value[1]:
                yield from _pumps(branch, before)
            before += _sample(value[1][0])
        elif op in {sre.SUBPATTERN, sre.ATOMIC_GROUP, sre.ASSERT, sre.ASSERT_NOT}:
            body = value[3] if op is sre.SUBPATTERN else value if op is sre.ATOMIC_GROUP else value[1]
            yield from _pumps(body, before)
            before += _sample(body) if op in {sre.SUBPATTERN, sre.ATOMIC_GROUP} else ""
        elif op is not sre.AT:
            before += _char(op, value)


def _sample(tree: Any) -> str:
    text = ""
    for op, value in tree:
        if op in {_GREEDY, _LAZY, _POSSESSIVE}:
            text += _sample(value[2]) * max(1, value[0])
        elif op is sre.BRANCH:
            text += _sample(value[1][0])
        elif op is sre.SUBPATTERN:
            text += _sample(value[3])
        elif op is sre.ATOMIC_GROUP:
            text += _sample(value)
        elif op in _SINGLE:
            text += _char(op, value)
    return text


def _char(op: Any, value: Any) -> str:
    """A character that the node matches, if possible a letter."""
    if op is sre.LITERAL:
        return chr(value)
    steps = object.__new__(Steps)
    steps._ignores_case, steps._limit, steps.count = False, 10**9, 0
    candidates = (
        "aA1 \t-_./;=<>&'\"\n" + "".join(chr(v[0]) for k, v in value if k is sre.RANGE) if op is sre.IN else "ab"
    )
    return next((one for one in candidates if steps._is(op, value, one)), unicodedata.lookup("SNOWMAN"))
