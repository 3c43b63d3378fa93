"""Envelopes, and mailers with short timeouts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from marketing_service.delivery import DEFAULT_TIMINGS, PoolTimings, RelayAddress, SmtpMailer
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
    """Envelopes with different recipients and bodies."""
    return [envelope(f"user{n}@example.com", b"Subject: %d\r\n\r\n.%d\r\n" % (n, n)) for n in range(count)]


async def submit(connection: MailConnection, mail: Envelope, following: Envelope | None) -> Submission:
    """Submit an envelope after the next one is announced."""
    if following is not None:
        connection.announce(following)
    return await connection.submit(mail)


def shorten_timeouts(connection: MailConnection, seconds: float = 0.15) -> None:
    """Use this timeout for replies from now on. Opening the connection may need longer on a busy machine."""
    assert isinstance(connection, SmtpConnection)
    connection.timeout = connection.data_timeout = seconds


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
    timings: PoolTimings = DEFAULT_TIMINGS,
) -> AsyncIterator[SmtpMailer]:
    mailer = SmtpMailer(
        RelayAddress.parse(url or relay.url),
        connections=connections,
        messages_per_connection=messages,
        idle_seconds=idle_seconds,
        timeout=seconds,
        data_timeout=data_seconds,
        hello_name="worker.test",
        timings=timings,
    )
    try:
        yield mailer
    finally:
        await mailer.close()
