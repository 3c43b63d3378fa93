"""Reads a CSV file as spreadsheets write it: the encoding, the delimiter and the line ends are found in the file.

- Encoding: UTF-8; UTF-16 with a byte order mark, or without one if more than half of every second octet is NUL. A line
  that is not UTF-8 is read as Windows-1252, which Excel writes in western Europe ("CSV" without "UTF-8").
- Delimiter: the first line may name it (`sep=;`, as Excel writes it). Otherwise it is the one of comma, semicolon, tab
  and vertical bar that makes the most of the first row, as the caller judges.
- Line ends: CRLF, LF or CR (RFC 4180 has CRLF only).

Every bound is on the octets that are read, and the time is linear in them.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_LINES = 1_048_576
"""The rows of a worksheet. A spreadsheet may write all of them, most of them blank."""
MAX_ROW = 1_000_000
"""Octets of one line, and characters of one row with all its lines. One cell has at most 131,072 characters (a limit of
Python's csv module)."""

_DELIMITERS = ",;\t|"
_NO_DELIMITER = "\x1f"
"""For a file with one column: a control character, which no text has."""
_AHEAD = 20
"""The number of lines among which the end of the first row is looked for. A cell may contain line ends."""
_SAMPLE = 2_000
"""Octets at the start that tell whether the file is UTF-16."""
_PIECE = 65_536

# A file with one column may have delimiters, too: a spreadsheet has written blank cells.
_BLANK = re.compile(r"[\s,;|]*+")
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n?|\n)?")
_NAMED_DELIMITER = re.compile(r'\A"?sep=([,;\t|])"?[,;\t| ]*+[\r\n]*+\Z', re.IGNORECASE)
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_OTHER_FORMATS = {
    b"PK\x03\x04": "it is a workbook (such as .xlsx or .ods) or an archive. Save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "it is an Excel workbook (.xls). Save the sheet as CSV",
    b"%PDF-": "it is a PDF document. Save the list as CSV",
}


class CsvError(Exception):
    """The file cannot be read as CSV from this line on (it counts from 1; 0: the whole file). The text says why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line


class Row(NamedTuple):
    """One row. `line` is the number of its first line in the file."""

    line: int
    cells: Sequence[str]


def read_rows(file: bytes, judge: Callable[[Sequence[str]], int]) -> Iterator[Row]:
    """The rows with more than white space and delimiters. Raises CsvError.

    `judge` tells how well the cells of the first row fit: the delimiter with the best result is used, and of equal ones
    that with the most cells.
    """
    lines = _Lines(_utf8(file))
    delimiter = _delimiter(lines, judge)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.start_row()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _open_quote(lines) from error
        if cells is None:
            return
        if len(lines.row) > 1 or lines.ended:
            _check_quotes(lines, delimiter)
        if not all(map(_BLANK.fullmatch, filter(None, cells))):
            yield Row(lines.first, cells)


def _delimiter(lines: _Lines, judge: Callable[[Sequence[str]], int]) -> str:
    first = lines.next_with_text()
    if first is None:
        return _NO_DELIMITER
    named = _NAMED_DELIMITER.match(first)
    if named is not None:
        return named[1]
    ahead = lines.look_ahead(first, _AHEAD)
    best, fit = _NO_DELIMITER, (0, 0)
    for delimiter in (_NO_DELIMITER, *_DELIMITERS):
        try:
            cells = next(csv.reader(ahead, delimiter=delimiter), [])
        except csv.Error:  # the reader of all rows finds it again, and names the line
            continue
        found = (judge(cells), len(cells))
        if found > fit:
            best, fit = delimiter, found
    return best


def _check_quotes(lines: _Lines, delimiter: str) -> None:
    """Raises CsvError for a row of several lines whose quotes are not exactly those of RFC 4180.

    Otherwise a quote that is not closed would swallow the lines up to the next quote. In a row of one line, text after
    a closing quote is harmless: `"Ann" <ann@example.com>`.
    """
    try:
        for _ in csv.reader(lines.row, delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        raise _open_quote(lines) from error


def _open_quote(lines: _Lines) -> CsvError:
    return CsvError(lines.first, "it has a quote that is not closed, or a cell that is too long")


class _Lines:
    """The lines of a UTF-8 file with their line ends, and those of the current row."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._matches = _LINE.finditer(octets)
        self._ahead: deque[str] = deque()
        self._number = 0
        self._size = 0
        self.first = 1
        self.row: list[str] = []
        self.ended = False
        """Whether the reader has asked for a line after the last one."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else self._read()
        if line is None:
            self.ended = True
            raise StopIteration
        self._number += 1
        self._size += len(line)
        if self._number > MAX_LINES:
            raise CsvError(self._number, f"the file has more than {MAX_LINES:,} lines")
        if self._size > MAX_ROW:
            raise self._too_long()
        self.row.append(line)
        return line

    def start_row(self) -> None:
        """The next line is the first one of a row."""
        self.first = self._number + 1
        self.row.clear()
        self._size = 0

    def next_with_text(self) -> str | None:
        """Consume blank lines and the first line with text; return that line, None if there is none."""
        for line in self:
            self.start_row()
            if not line.isspace():
                return line
        self.ended = False
        return None

    def look_ahead(self, line: str, number: int) -> list[str]:
        """Put the line back, which was the last one. Returns it with the lines that follow, at most `number`."""
        self._number -= 1
        self._ahead.append(line)
        while len(self._ahead) < number and (following := self._read()) is not None:
            self._ahead.append(following)
        return list(self._ahead)

    def _read(self) -> str | None:
        match = next(self._matches, None)
        start, end = (0, 0) if match is None else match.span()
        if start == end:
            return None
        if end - start > MAX_ROW:
            raise self._too_long()
        line = self._octets[start:end]
        try:
            return line.decode()
        except UnicodeDecodeError:
            # The few octets without a meaning in Windows-1252 become U+FFFD, which no address has.
            return line.decode("windows-1252", "replace")

    def _too_long(self) -> CsvError:
        return CsvError(self.first, f"the row is longer than {MAX_ROW:,} characters")


def _utf8(file: bytes) -> bytes:
    """The file without its byte order mark, in UTF-8 if it was UTF-16. Raises CsvError."""
    for start, reason in _OTHER_FORMATS.items():
        if file.startswith(start):
            raise CsvError(0, reason)
    for mark, encoding in _MARKS.items():
        if file.startswith(mark):
            return file[len(mark) :] if encoding == "utf-8" else _from_utf16(file[len(mark) :], encoding)
    guess = _utf16_without_mark(file[:_SAMPLE])
    return file if guess is None else _from_utf16(file, guess)


def _utf16_without_mark(sample: bytes) -> str | None:
    pairs = max(1, len(sample) // 2)
    if sample[1::2].count(0) * 2 > pairs:
        return "utf-16-le"
    if sample[::2].count(0) * 2 > pairs:
        return "utf-16-be"
    return None


def _from_utf16(octets: bytes, encoding: str) -> bytes:
    # In pieces, so that the memory never has the text as well, which may take four bytes for each character.
    decoder = codecs.getincrementaldecoder(encoding)()
    pieces: list[bytes] = []
    try:
        pieces.extend(
            decoder.decode(octets[start : start + _PIECE], start + _PIECE >= len(octets)).encode()
            for start in range(0, len(octets), _PIECE)
        )
    except UnicodeDecodeError as error:
        pieces.append(error.object[: error.start].decode(encoding, "ignore").encode())
        read = b"".join(pieces)
        line = read.count(b"\n") or read.count(b"\r")
        raise CsvError(line + 1, "the text is not valid UTF-16 from here on. The file may be cut off") from error
    return b"".join(pieces)
