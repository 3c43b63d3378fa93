"""Email addresses: the normal form that identifies duplicates and opt-outs, and which addresses can receive mail."""

from __future__ import annotations

import re

from marketing_service.rendering import NotRenderable, ascii_address

MAX_ADDRESS = 254
"""RFC 5321 §4.5.3.1.3: a path of 256 octets, without its angle brackets."""
_MAX_LOCAL_PART = 64

# RFC 5321 §4.1.2: a dot-string, and a domain of at least two labels. Quoted local parts and address literals are legal,
# but in a CRM they are always typing errors. A domain may be written in any script (RFC 5890).
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_](?:[\w-]{0,61}[^\W_])"
)


def normal_form(email: str) -> str:
    """The address trimmed and in lower case. Two spellings of one address have the same normal form."""
    return email.strip().lower()


def is_deliverable(email: str) -> bool:
    """Whether a relay can accept this address. It does not tell whether the mailbox exists."""
    if len(email) > MAX_ADDRESS or _ADDRESS.fullmatch(email) is None:
        return False
    local_part, _, domain = email.rpartition("@")
    if len(local_part) > _MAX_LOCAL_PART:
        return False
    if domain.isascii():
        return "_" not in domain
    try:
        ascii_address(email)
    except NotRenderable:
        return False
    return True
