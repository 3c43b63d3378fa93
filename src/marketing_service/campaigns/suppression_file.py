"""Reads the addresses of a suppression list from a CSV file. It takes a row as a whole, or reports why it does not.

- The first row names the columns, in any of the four languages of the service, or it already has an address. In the
  second case the columns with an address in the first row are used, and there are no notes.
- A cell has one or more addresses, separated by commas, semicolons or white space. An address may have the form
  `Name <ann@example.com>` or `mailto:ann@example.com`. If one of them is not valid, the row is not taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from marketing_service.addresses import is_deliverable, mailbox_key
from marketing_service.campaigns.csv_columns import ADDRESS, NOTE, columns_named, is_column_name
from marketing_service.campaigns.csv_rows import CsvError, read_rows
from marketing_service.campaigns.csv_text import original
from marketing_service.errors import FieldError, InvalidInput
from marketing_service.store.suppressions import SuppressionEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.addresses import MailboxKey

MAX_FILE = 30_000_000
"""Octets of a file."""
MAX_ROWS = 250_000
"""Rows with content, and different addresses, of a file."""
MAX_IN_ROW = 100
"""Addresses of one row."""
MAX_COLUMNS = 16_384
"""The columns of a worksheet."""
MAX_NOTE = 500
"""Characters of a note. A longer one is cut."""
MAX_REJECTED = 1_000
"""Rows that are not taken and that are listed. All of them are counted."""
MAX_VALUE = 100
"""Characters of a value that is quoted."""
STEP = 1_000
"""Addresses that are added in one transaction."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]++")
# Without width, or only for the direction of the text: they come with what is copied from a web page.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]++")
_SEPARATORS = re.compile(r"[\s\x00-\x1f\x7f-\x9f,;]++")
_BRACKETS = re.compile(r"<([^<>]*+)>")
_TYPOGRAPHIC_QUOTES = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a"
_MAILTO = "mailto:"
_JUDGED = 500
"""The number of cells that the choice of the delimiter looks at."""


class Reason(StrEnum):
    """Why a row is not taken."""

    NO_ADDRESS = "no-address"
    INVALID_ADDRESS = "invalid-address"
    TOO_MANY_ADDRESSES = "too-many-addresses"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not taken. `line` is its first line in the file and counts from 1; `value` is what is wrong."""

    line: int
    value: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction adds, and the number of rows of the file that are done with it."""

    entries: list[SuppressionEntry]
    rows: int


@dataclass(slots=True)
class SuppressionFile:
    """What a file has. An address is in one step only, with the note of its first row.

    `rows` counts the rows with content, without the header. `repeated` counts the addresses that an earlier row has,
    too.
    """

    rows: int = 0
    repeated: int = 0
    rejected_rows: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


class _RowRejected(Exception):
    def __init__(self, reason: Reason, value: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.value = value


def read_suppressions(file: bytes) -> SuppressionFile:
    """The addresses of the file in steps of `STEP`, and the rows that are not taken.

    Raises InvalidInput if the file is not CSV, if its first row has neither a known name of a column nor an address, or
    if it has too many rows.
    """
    try:
        return _read(file)
    except CsvError as error:
        raise _not_a_list(str(error)) from error


def _read(file: bytes) -> SuppressionFile:
    rows = read_rows(file, _fit)
    first = next(rows, None)
    if first is None:
        raise _not_a_list("it is empty. Its first line names the columns, and one of them is `email`")
    builder = _Builder()
    columns = _columns(first.cells)
    if columns.is_without_header:
        builder.add(first.line, first.cells, columns)
    for line, cells in rows:
        builder.add(line, cells, columns)
    return builder.result()


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns with addresses (None: every column) and the column with the note (None: there is none)."""

    addresses: tuple[int, ...] | None
    note: int | None = None
    is_without_header: bool = False


def _fit(cells: Sequence[str]) -> int:
    """How many cells are a name of a column, or have an address."""
    return sum(is_column_name(cell) or _has_address(cell) for cell in cells[:_JUDGED])


def _columns(cells: Sequence[str]) -> _Columns:
    """The columns, by the first row. Raises InvalidInput."""
    if len(cells) > MAX_COLUMNS:
        raise _not_a_list(f"its first row has more than {MAX_COLUMNS:,} cells")
    with_address = tuple(number for number, cell in enumerate(cells) if _has_address(cell))
    if with_address:
        if len(with_address) == sum(not _is_blank(cell) for cell in cells):
            return _Columns(None, is_without_header=True)
        if len(with_address) > 1:
            places = " and ".join(str(number + 1) for number in with_address[:10])
            raise _not_a_list(
                f"it has no header, and the columns {places} of its first row have addresses. Add a first line that"
                " names one of them `email`"
            )
        return _Columns(with_address, is_without_header=True)
    found = columns_named(ADDRESS, cells)
    if not found:
        raise _not_a_list(
            "its first row has no address and names no column with addresses. Name that column `email` (or E-Mail,"
            " email address, courriel, correo), and optionally another one `note`"
        )
    note = columns_named(NOTE, cells)
    return _Columns(found, note[0] if note else None)


class _Builder:
    """Collects the rows of a file."""

    def __init__(self) -> None:
        self._file = SuppressionFile()
        self._seen: set[MailboxKey] = set()
        self._step: list[SuppressionEntry] = []
        self._step_rows = 0

    def add(self, line: int, cells: Sequence[str], columns: _Columns) -> None:
        if self._file.rows == MAX_ROWS:
            raise _too_many(f"rows (line {line} is one too many)")
        self._file.rows += 1
        self._step_rows += 1
        try:
            self._add_entries(_addresses_of(cells, columns), _note(cells, columns))
        except _RowRejected as rejected:
            self._file.rejected_rows += 1
            if len(self._file.rejected) < MAX_REJECTED:
                value = _one_line(rejected.value)[:MAX_VALUE]
                self._file.rejected.append(Rejected(line, value, rejected.reason))
        if len(self._step) >= STEP:
            self._end_step()

    def _add_entries(self, addresses: Sequence[MailboxKey], note: str | None) -> None:
        for address in addresses:
            if address in self._seen:
                self._file.repeated += 1
                continue
            if len(self._seen) == MAX_ROWS:
                raise _too_many("different addresses")
            self._seen.add(address)
            self._step.append(SuppressionEntry(address, note))

    def _end_step(self) -> None:
        self._file.steps.append(Step(self._step, self._step_rows))
        self._step, self._step_rows = [], 0

    def result(self) -> SuppressionFile:
        if self._step_rows:
            self._end_step()
        return self._file


def _addresses_of(cells: Sequence[str], columns: _Columns) -> list[MailboxKey]:
    """The mailbox keys of a row, at least one. Raises _RowRejected."""
    if columns.addresses is None:
        texts = cells
    else:
        texts = [cells[number] for number in columns.addresses if number < len(cells)]
    found = dict.fromkeys(mailbox_key(written) for text in texts for written in _written_in(text))
    if not found:
        raise _RowRejected(Reason.NO_ADDRESS, " ".join(texts))
    if len(found) > MAX_IN_ROW:
        raise _RowRejected(Reason.TOO_MANY_ADDRESSES, " ".join(texts))
    return list(found)


def _written_in(cell: str) -> list[str]:
    """The valid addresses in the cell, as they are written. None if it is blank. Raises _RowRejected."""
    text = original(cell).strip() if "'" in cell else cell.strip()
    if is_deliverable(text):
        return [text]
    text = _INVISIBLE.sub("", text)
    outside = text
    parts = []
    if "<" in text:
        parts = [part for inside in _BRACKETS.findall(text) for part in _SEPARATORS.split(inside)]
        outside = _BRACKETS.sub(" ", text)
    words = [word for word in _SEPARATORS.split(outside) if word]
    # Beside an address in brackets, words without @ are a name.
    parts += [word for word in words if "@" in word or not parts]
    if "@" not in text and any(parts):
        raise _RowRejected(Reason.NO_ADDRESS, text)
    if len(parts) > MAX_IN_ROW:
        raise _RowRejected(Reason.TOO_MANY_ADDRESSES, text)
    addresses = [_plain(part) for part in parts if part]
    if not all(map(is_deliverable, addresses)):
        raise _RowRejected(Reason.INVALID_ADDRESS, text)
    return addresses


def _plain(part: str) -> str:
    """The address without `mailto:` and its parameters, quotes around it, and the full stop of a sentence."""
    text = part.strip(_TYPOGRAPHIC_QUOTES)
    if text[: len(_MAILTO)].lower() == _MAILTO:
        address, _, parameters = text[len(_MAILTO) :].partition("?")
        if "@" not in parameters:
            text = address
    if len(text) > 1 and text[0] == text[-1] == "'":
        text = text[1:-1]
    return text.rstrip(".")


def _has_address(cell: str) -> bool:
    try:
        return bool(_written_in(cell))
    except _RowRejected:
        return False


def _note(cells: Sequence[str], columns: _Columns) -> str | None:
    """The note of a row, in one line; None if it has none."""
    if columns.note is None or columns.note >= len(cells):
        return None
    text = cells[columns.note]
    if "'" in text:
        # Our own export inserts apostrophes.
        text = original(text)
    return _one_line(text)[:MAX_NOTE].rstrip() or None


def _one_line(text: str) -> str:
    return (text if text.isprintable() else _CONTROL.sub(" ", text)).strip()


def _is_blank(cell: str) -> bool:
    return not cell or cell.isspace()


def _too_many(what: str) -> InvalidInput:
    message = f"has more than {MAX_ROWS:,} {what}. Split it into several files."
    return InvalidInput(FieldError("body", message, "too-many-rows"))


def _not_a_list(reason: str) -> InvalidInput:
    return InvalidInput(FieldError("body", f"is not a list of addresses: {reason}.", "csv"))
