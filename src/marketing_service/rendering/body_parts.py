"""The bodies of a message: literals are encoded once, and slots are filled for each recipient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.rendering.placement import FooterSlot
from marketing_service.rendering.template import count_text, fill, places_to_count
from marketing_service.rendering.transfer import MAX_LINE, eight_bit_text, longest_line, quoted_printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from marketing_service.rendering.template import Piece, Template


class BodyPart:
    """One body as a MIME entity: header fields, a blank line, and the content, which ends with a line end.

    Pieces are encoded separately and then joined. This is possible because each encoded piece ends with a soft line
    break or with its own line end. So a value is encoded once, even if it occurs several times.
    """

    def __init__(self, subtype: str, template: Template, pieces: Sequence[Piece], boundary: str) -> None:
        self._template = template
        self._pieces = tuple(pieces)
        slots = dict.fromkeys(piece for piece in pieces if not isinstance(piece, str))
        # The footer depends on what the other slots contain.
        self._slots = tuple(sorted(slots, key=lambda slot: isinstance(slot, FooterSlot)))
        slot_numbers = {slot: number for number, slot in enumerate(self._slots)}
        self._places = [(n, slot_numbers[piece]) for n, piece in enumerate(pieces) if not isinstance(piece, str)]
        self._counted = [slot_numbers[pieces[n]] for n in places_to_count(pieces)]  # type: ignore[index] # these are slots
        header = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: '
        self._quoted_header = f"{header}quoted-printable\r\n\r\n".encode("ascii")
        self._plain_header = f"{header}8bit\r\n\r\n".encode("ascii")
        self._quoted = [quoted_printable(piece) if isinstance(piece, str) else b"" for piece in pieces]
        self._plain = [eight_bit_text(piece) if isinstance(piece, str) else b"" for piece in pieces]
        self._longest_line = longest_line(b"".join(self._plain))
        self._lines = _filled_lines(self._plain, dict(self._places))
        self._boundary = boundary.encode("ascii")

    def text(self, values: Mapping[str, str]) -> str:
        """The decoded content, with LF line ends. Raises NotRenderable."""
        filled = self._filled(values)
        pieces = list(self._pieces)
        for place, slot in self._places:
            pieces[place] = filled[slot]
        return "".join(pieces)  # type: ignore[arg-type] # no slot is left

    def entity(self, values: Mapping[str, str], *, eight_bit: bool) -> bytes:
        """The encoded entity. It is 8-bit only if `eight_bit` is true and no line is too long. Raises NotRenderable."""
        filled = self._filled(values)
        if eight_bit and (content := self._in_eight_bits(filled)) is not None:
            return self._plain_header + content
        encoded = [quoted_printable(value) for value in filled]
        chunks = self._quoted.copy()
        for place, slot in self._places:
            chunks[place] = encoded[slot]
        return self._quoted_header + b"".join(chunks)

    def _filled(self, values: Mapping[str, str]) -> list[str]:
        context = self._template.slot_context(values)
        filled = fill(self._slots, context)
        if self._counted:
            count_text(filled, self._counted, context)
        return filled

    def _in_eight_bits(self, filled: list[str]) -> bytes | None:
        encoded = [eight_bit_text(value) for value in filled]
        chunks = self._plain.copy()
        length = self._longest_line
        for place, slot in self._places:
            chunks[place] = encoded[slot]
            length += len(encoded[slot])
        content = b"".join(chunks)
        # Most messages pass the first test, and nearly all others the second, which looks only at lines with slots.
        if length > MAX_LINE and not self._has_short_lines(encoded) and longest_line(content) > MAX_LINE:
            return None
        return None if self._boundary in content else content

    def _has_short_lines(self, encoded: list[bytes]) -> bool:
        """Whether no line is too long, computed from the lengths of the values."""
        lengths = [len(value) for value in encoded]
        filled = (length + sum(lengths[slot] for slot in slots) for slots, length in self._lines)
        return max(self._longest_line, *filled) <= MAX_LINE


def _filled_lines(literals: Sequence[bytes], slots: Mapping[int, int]) -> list[tuple[tuple[int, ...], int]]:
    """The lines that contain slots: the slots, and the largest number of literal octets in a line with these slots.

    `slots` maps the index of a piece to its slot.
    """
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
