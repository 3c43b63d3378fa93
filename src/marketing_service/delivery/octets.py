"""What goes over the wire: commands for an envelope, and a message with its dots doubled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 5321 §4.1.2, printable ASCII alone: nothing that fits can end the command or its angle brackets.
_MAILBOX = re.compile(
    r'(?:[^\x00-\x20"<>\x7f-\U0010ffff]+|"(?:[ !#-\[\]-~]|\\[ -~])*")@[^\x00-\x20"<>\x7f-\U0010ffff]+'
)


def sendable(address: str) -> bool:
    """Whether the address can stand in a command as it is (RFC 5321 §4.1.2, without RFC 6531)."""
    return _MAILBOX.fullmatch(address) is not None


def mail_from(sender: str, extensions: Mapping[str, str], size: int) -> bytes:
    """MAIL, with SIZE (RFC 1870) and BODY=8BITMIME (RFC 6152) where the relay knows them."""
    command = f"MAIL FROM:<{sender}>"
    if "size" in extensions:
        command += f" SIZE={size}"
    if "8bitmime" in extensions:
        command += " BODY=8BITMIME"
    return f"{command}\r\n".encode("ascii")


def rcpt_to(recipient: str) -> bytes:
    return f"RCPT TO:<{recipient}>\r\n".encode("ascii")


def stuffed(content: bytes) -> bytes:
    """The message, whose lines end in CRLF, as it follows a 354 without its final dot (RFC 5321 §4.5.2)."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    content = content.replace(b"\r\n.", b"\r\n..")
    return b"." + content if content.startswith(b".") else content
