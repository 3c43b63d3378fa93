"""SMTP clients to compare with: `python -m bench.clients plain|ceiling --port N --messages N --connections N`.

`plain` uses aiosmtplib and `EmailMessage` as their manuals show. `ceiling` uses the service's own SMTP connection with
one message that is built beforehand: it renders nothing and writes nothing to a database. Each client runs in a
separate process and prints the seconds that it took.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import deque
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import make_msgid
from time import perf_counter
from typing import TYPE_CHECKING

import aiosmtplib
import uvloop
from bench.campaign import FROM_EMAIL, HTML, SUBJECT, TEXT, person

from marketing_service.delivery import RelayAddress, SmtpMailer
from marketing_service.ports import Envelope, SubmissionOutcome

if TYPE_CHECKING:
    from marketing_service.ports import MailConnection


def _message(number: int) -> EmailMessage:
    contact = person(number)
    message = EmailMessage()
    message["From"] = f"Example Ltd <{FROM_EMAIL}>"
    message["To"] = contact["email"]
    message["Subject"] = _merge(SUBJECT, contact)
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = make_msgid(domain="example.com")
    message.set_content(_merge(TEXT, contact))
    message.add_alternative(_merge(HTML, contact), subtype="html")
    return message


def _merge(template: str, contact: dict[str, str]) -> str:
    for name, value in contact.items():
        template = template.replace("{{ " + name + " }}", value)
    return template


async def _plain(port: int, connections: int, numbers: deque[int]) -> None:
    async def send() -> None:
        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=port, local_hostname="bench", use_tls=False, start_tls=False
        ) as client:
            while numbers:
                await client.send_message(_message(numbers.popleft()))

    await asyncio.gather(*(send() for _ in range(connections)))


async def _ceiling(port: int, connections: int, numbers: deque[int]) -> None:
    content = _message(0).as_bytes().replace(b"\n", b"\r\n")
    mailer = SmtpMailer(
        RelayAddress.parse(f"smtp://127.0.0.1:{port}"),
        connections=connections,
        messages_per_connection=len(numbers),
        idle_seconds=30,
        timeout=30,
        data_timeout=600,
        hello_name="bench",
    )

    def envelope() -> Envelope | None:
        return Envelope(FROM_EMAIL, person(numbers.popleft())["email"], content) if numbers else None

    async def submit_all(connection: MailConnection, lock: asyncio.Lock) -> None:
        """Two of these share a connection: one submits, and the other has announced its envelope behind it."""
        while (current := envelope()) is not None:
            if lock.locked():
                connection.announce(current)
            async with lock:
                submission = await connection.submit(current)
            if submission.outcome is not SubmissionOutcome.ACCEPTED:
                raise RuntimeError(
                    f"{submission.outcome} at {submission.phase}: {submission.reply or submission.detail}"
                )

    async def send() -> None:
        async with mailer.connection() as connection:
            lock = asyncio.Lock()
            await asyncio.gather(submit_all(connection, lock), submit_all(connection, lock))

    await asyncio.gather(*(send() for _ in range(connections)))
    await mailer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", choices=("plain", "ceiling"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    options = parser.parse_args()
    send = {"plain": _plain, "ceiling": _ceiling}[options.client]
    start = perf_counter()
    uvloop.run(send(options.port, options.connections, deque(range(options.messages))))
    print(perf_counter() - start)


if __name__ == "__main__":
    main()
