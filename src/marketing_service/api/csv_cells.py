"""CSV (RFC 4180): UTF-8, CRLF, every text quoted, and no cell that a spreadsheet executes as a formula."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING
from uuid import UUID

from marketing_service.campaigns.csv_text import neutralised

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


def lines(rows: Iterable[Iterable[str | UUID | int | None]]) -> bytes:
    """The rows as the octets of the file. Every text is neutralised and quoted; only numbers have no quotes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: str | UUID | int | None) -> str | int | None:
    return neutralised(value) if isinstance(value, str) else str(value) if isinstance(value, UUID) else value


def moment(when: datetime | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if when is None else when.isoformat().replace("+00:00", "Z")
