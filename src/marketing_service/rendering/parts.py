"""The two bodies of a message: encoded as far as they are the same for everybody, filled in for each recipient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.rendering.template import fill
from marketing_service.rendering.transfer import LONGEST_LINE, longest_line, plain, quoted

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
        if length > LONGEST_LINE and longest_line(content) > LONGEST_LINE:
            return None
        return None if self._boundary in content else content
