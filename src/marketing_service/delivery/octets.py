"""The octets that are sent to the relay: the commands for an envelope, and a message with its dots doubled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 5321 §4.1.2, printable ASCII only. An address that matches cannot end the command or close the angle brackets.
_MAILBOX = re.compile(
    r'(?:[^\x00-\x20"<>\x7f-\U0010ffff]+|"(?:[ !#-\[\]-~]|\\[ -~])*")@[^\x00-\x20"<>\x7f-\U0010ffff]+'
)


def is_smtp_mailbox(address: str) -> bool:
    """Whether the address can be written into a command unchanged (RFC 5321 §4.1.2, without SMTPUTF8 of RFC 6531)."""
    return _MAILBOX.fullmatch(address) is not None


def mail_from(sender: str, extensions: Mapping[str, str], size: int) -> bytes:
    """The MAIL command, with SIZE (RFC 1870) and BODY=8BITMIME (RFC 6152) if the relay supports them."""
    command = f"MAIL FROM:<{sender}>"
    if "size" in extensions:
        command += f" SIZE={size}"
    if "8bitmime" in extensions:
        command += " BODY=8BITMIME"
    return f"{command}\r\n".encode("ascii")


def rcpt_to(recipient: str) -> bytes:
    """The RCPT command."""
    return f"RCPT TO:<{recipient}>\r\n".encode("ascii")


def dot_stuffed(content: bytes) -> bytes:
    """The message as it is sent after the 354 reply, without the final dot (RFC 5321 §4.5.2).

    The lines of `content` end with CRLF. A dot at the start of a line is doubled.
    """
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    content = content.replace(b"\r\n.", b"\r\n..")
    return b"." + content if content.startswith(b".") else content
