"""CSV (RFC 4180): UTF-8, CRLF, and no cell that a spreadsheet executes as a formula."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

# The characters that start a formula in a spreadsheet. Some spreadsheets accept the full-width forms too.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def lines(rows: Iterable[Iterable[object]]) -> bytes:
    """The rows as the octets of the file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def safe(text: str | None) -> str | None:
    """The text of a cell that comes from outside, with an apostrophe in front if it looks like a formula."""
    return "'" + text if text is not None and text.startswith(_FORMULA) else text


def moment(when: datetime | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if when is None else when.isoformat().replace("+00:00", "Z")
