"""The CSV file is complete, in order, and safe to open."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from marketing_service.api.csv_export import HEADER, chunks
from marketing_service.store.email_log import LogEntry, SendError
from marketing_service.store.states import SendStatus

MOMENT = datetime(2026, 4, 1, 8, 30, tzinfo=UTC)


def entry(**values: Any) -> LogEntry:
    defaults: dict[str, Any] = {
        "id": UUID(int=1),
        "contact_id": "c1",
        "email": "Ada@example.com",
        "address": "ada@example.com",
        "first_name": "Ada",
        "last_name": None,
        "company_name": "Engines, Ltd.",
        "status": SendStatus.DELIVERED,
        "reason": None,
        "attempts": 1,
        "error": None,
        "queued_at": MOMENT,
        "sent_at": MOMENT.replace(microsecond=250_000),
        "opened_at": None,
        "last_opened_at": None,
        "open_count": 0,
        "clicked_at": MOMENT.replace(hour=9),
        "unsubscribed_at": None,
    }
    return LogEntry(**(defaults | values))


async def pages(*pages: Sequence[LogEntry]) -> AsyncIterator[Sequence[LogEntry]]:
    for page in pages:
        yield page


async def file_of(*entries: LogEntry) -> bytes:
    return b"".join([chunk async for chunk in chunks(entries, pages())])


async def rows_of(*entries: LogEntry) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((await file_of(*entries)).decode(), newline="")))


async def test_every_line_ends_with_crlf_and_the_header_comes_first() -> None:
    content = await file_of(entry())
    dates = '"2026-04-01T08:30:00Z","2026-04-01T08:30:00.250000Z",'
    lines = content.decode().split("\r\n")
    assert lines == [
        ",".join(f'"{name}"' for name in HEADER),
        f'"{UUID(int=1)}","c1","Ada@example.com","Ada","","Engines, Ltd.","DELIVERED","",1,"","","",'
        + dates
        + '"","",0,"2026-04-01T09:30:00Z",""',
        "",
    ]


async def test_an_error_is_flattened() -> None:
    (row,) = await rows_of(entry(status=SendStatus.FAILED, error=SendError(550, "5.1.1", 'No "such" user, sorry')))
    assert row["errorSmtpCode"] == "550"
    assert row["errorEnhancedCode"] == "5.1.1"
    assert row["errorMessage"] == 'No "such" user, sorry'


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
async def test_no_cell_starts_a_formula(start: str) -> None:
    text = start + 'HYPERLINK("http://evil.example")'
    (row,) = await rows_of(entry(email=text, contact_id=text, error=SendError(None, None, text)))
    assert row["email"] == row["contactId"] == row["errorMessage"] == "'" + text


async def test_text_is_utf_8_without_a_byte_order_mark() -> None:
    content = await file_of(entry(error=SendError(None, None, "Zoë 東京")))
    assert not content.startswith(b"\xef\xbb\xbf")
    assert "Zoë 東京" in content.decode()


async def test_an_error_between_pages_is_not_swallowed() -> None:
    async def broken() -> AsyncIterator[Sequence[LogEntry]]:
        yield [entry()]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        [chunk async for chunk in chunks([entry()], broken())]
