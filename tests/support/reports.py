"""Messages that came back, made for a send of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.tokens import BounceAddresses, Purpose, TokenKeyring

if TYPE_CHECKING:
    from uuid import UUID

BOUNCE_DOMAIN = "bounce.acme.example"
KEY = "a-token-key-of-at-least-thirty-two-bytes"
"""That of `make_settings`."""
RING = TokenKeyring([KEY.encode()])
ADDRESSES = BounceAddresses(RING, BOUNCE_DOMAIN)

UNKNOWN_USER = "550 5.1.1 <gone@example.com>: User unknown"
MAILBOX_FULL = "552 5.2.2 Mailbox full"
REFUSED = "554 5.7.1 Message refused"
VACATION = b"From: ann@example.com\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nI am away.\r\n"


def delivery_report(said: str, *, action: str = "failed", address: str = "ann@example.com") -> bytes:
    """A report about one recipient, of whom a server `said` this: a code, an enhanced code, a text."""
    status = said.split(" ")[1]
    text = f"""\
From: MAILER-DAEMON@relay.example
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

What follows is for machines.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example

Final-Recipient: rfc822; {address}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {said}

--b--
"""
    return text.replace("\n", "\r\n").encode()


def complaint(send_id: UUID, *, attempt: int | None = None, kind: str = "abuse") -> bytes:
    """A feedback loop's report: proven by the unsubscribe link, or where an attempt is named by the return path."""
    if attempt is None:
        proof = f"List-Unsubscribe: <https://x.example/unsubscribe/{RING.issue(Purpose.UNSUBSCRIBE, send_id)}>"
    else:
        proof = f"Return-Path: <{ADDRESSES.of(send_id, attempt)}>"
    text = f"""\
From: feedback@provider.example
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: Provider/1.0
Version: 1

--b
Content-Type: message/rfc822

{proof}
Subject: Hello

--b--
"""
    return text.replace("\n", "\r\n").encode()
