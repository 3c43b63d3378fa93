"""The two bodies of a message: encoded as far as they are the same for everybody, filled in for each recipient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.rendering.template import fill
from marketing_service.rendering.transfer import MAX_LINE, longest_line, plain, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from marketing_service.rendering.template import Piece, Template


class Part:
    """One body, as an entity of a multipart message: header fields, a blank line, the content, its last line ended.

    Two stretches that are each encoded by themselves can be joined, because every one but those that end a line ends
    with a soft line break; so a value is encoded once and copied to wherever it stands.
    """

    def __init__(self, subtype: str, template: Template, pieces: Sequence[Piece], boundary: str) -> None:
        self._template = template
        self._pieces = tuple(pieces)
        self._slots = tuple(dict.fromkeys(piece for piece in pieces if not isinstance(piece, str)))
        self._places = [(n, self._slots.index(piece)) for n, piece in enumerate(pieces) if not isinstance(piece, str)]
        header = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: '
        self._quoted_header = f"{header}quoted-printable\r\n\r\n".encode("ascii")
        self._plain_header = f"{header}8bit\r\n\r\n".encode("ascii")
        self._quoted = [quoted(piece) if isinstance(piece, str) else b"" for piece in pieces]
        self._plain = [plain(piece) if isinstance(piece, str) else b"" for piece in pieces]
        self._longest_line = longest_line(b"".join(self._plain))
        self._lines = _filled_lines(self._plain, dict(self._places))
        self._boundary = boundary.encode("ascii")

    def text(self, values: Mapping[str, str]) -> str:
        """The content as a reader gets it, with LF line ends. Raises NotRenderable."""
        return "".join(fill(self._pieces, self._template.filling(values)))

    def entity(self, values: Mapping[str, str], *, eight_bit: bool) -> bytes:
        """The whole entity; in eight bits only where every line is short enough. Raises NotRenderable."""
        filled = fill(self._slots, self._template.filling(values))
        if eight_bit and (content := self._in_eight_bits(filled)) is not None:
            return self._plain_header + content
        encoded = [quoted(value) for value in filled]
        chunks = self._quoted.copy()
        for place, slot in self._places:
            chunks[place] = encoded[slot]
        return self._quoted_header + b"".join(chunks)

    def _in_eight_bits(self, filled: list[str]) -> bytes | None:
        encoded = [plain(value) for value in filled]
        chunks = self._plain.copy()
        length = self._longest_line
        for place, slot in self._places:
            chunks[place] = encoded[slot]
            length += len(encoded[slot])
        content = b"".join(chunks)
        # Most messages need no look at all, nearly all others only one at their lines with slots.
        if length > MAX_LINE and not self._has_short_lines(encoded) and longest_line(content) > MAX_LINE:
            return None
        return None if self._boundary in content else content

    def _has_short_lines(self, encoded: list[bytes]) -> bool:
        """Whether no line can be too long, for the lengths of its values alone."""
        lengths = [len(value) for value in encoded]
        filled = (length + sum(lengths[slot] for slot in slots) for slots, length in self._lines)
        return max(self._longest_line, *filled) <= MAX_LINE


def _filled_lines(literals: Sequence[bytes], slots: Mapping[int, int]) -> list[tuple[tuple[int, ...], int]]:
    """The lines with slots in them: which, and the most octets of literals beside these; `slots` by their places."""
    longest: dict[tuple[int, ...], int] = {}
    length, inside = 0, []
    for place, literal in enumerate(literals):
        if place in slots:
            inside.append(slots[place])
            continue
        first, *lines = literal.split(b"\r\n")
        length += len(first)
        for line in lines:
            key = tuple(inside)
            longest[key] = max(length, longest.get(key, 0))
            length, inside = len(line), []
    key = tuple(inside)
    longest[key] = max(length, longest.get(key, 0))
    return list(longest.items())
