"""Envelopes, and mailers with short limits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from marketing_service.delivery import RelayAddress, SmtpMailer
from marketing_service.delivery.connection import SmtpConnection
from marketing_service.ports import Envelope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from marketing_service.ports import MailConnection, Submission
    from tests.support.relay import Relay

SENDER = "news@example.com"
BODY = b"Subject: Hello\r\n\r\n.A line that begins with a dot\r\n.\r\n..\r\nEnd\r\n"


def envelope(recipient: str = "ann@example.com", body: bytes = BODY) -> Envelope:
    return Envelope(SENDER, recipient, body)


def envelopes(count: int) -> list[Envelope]:
    """Each with a body of its own."""
    return [envelope(f"user{n}@example.com", b"Subject: %d\r\n\r\n.%d\r\n" % (n, n)) for n in range(count)]


async def submit(connection: MailConnection, mail: Envelope, following: Envelope | None) -> Submission:
    """Hand over with the next one announced."""
    if following is not None:
        connection.announce(following)
    return await connection.submit(mail)


def impatient(connection: MailConnection, seconds: float = 0.15) -> None:
    """Wait no longer than this for replies, from now on: a busy machine may have needed longer to connect."""
    assert isinstance(connection, SmtpConnection)
    connection._seconds = connection._data_seconds = seconds


@asynccontextmanager
async def mailer_for(
    relay: Relay,
    *,
    connections: int = 5,
    messages: int = 100,
    idle_seconds: float = 30.0,
    seconds: float = 5.0,
    data_seconds: float = 5.0,
    url: str | None = None,
) -> AsyncIterator[SmtpMailer]:
    mailer = SmtpMailer(
        RelayAddress.parse(url or relay.url),
        connections=connections,
        messages_per_connection=messages,
        idle_seconds=idle_seconds,
        timeout=seconds,
        data_timeout=data_seconds,
        hello_name="worker.test",
    )
    try:
        yield mailer
    finally:
        await mailer.close()
