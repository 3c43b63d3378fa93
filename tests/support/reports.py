"""Bounce messages and complaints about the sends of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.tokens import BounceAddresses, Purpose, TokenKeyring

if TYPE_CHECKING:
    from uuid import UUID

BOUNCE_DOMAIN = "bounce.acme.example"
KEY = "a-token-key-of-at-least-thirty-two-bytes"
"""The token key in `make_settings`."""
KEYRING = TokenKeyring([KEY.encode()])
ADDRESSES = BounceAddresses(KEYRING, BOUNCE_DOMAIN)

UNKNOWN_USER = "550 5.1.1 <gone@example.com>: User unknown"
MAILBOX_FULL = "552 5.2.2 Mailbox full"
REFUSED = "554 5.7.1 Message refused"
VACATION = b"From: ann@example.com\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nI am away.\r\n"


def delivery_report(said: str, *, action: str = "failed", address: str = "ann@example.com") -> bytes:
    """A delivery report about one recipient. `said` is the server's reply: a code, an enhanced code, a text."""
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
    """A report of a feedback loop. Its proof is the return path if `attempt` is given, else the unsubscribe link."""
    if attempt is None:
        proof = f"List-Unsubscribe: <https://x.example/unsubscribe/{KEYRING.issue(Purpose.UNSUBSCRIBE, send_id)}>"
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
