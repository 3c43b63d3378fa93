"""Addresses: their normal form, by which duplicates and opt-outs are told, and whether mail can go to them."""

from __future__ import annotations

import re

from marketing_service.rendering import NotRenderable, ascii_address

MAX_ADDRESS = 254
"""RFC 5321 §4.5.3.1.3: a path of 256 octets, less its angle brackets."""
_MAX_LOCAL_PART = 64

# RFC 5321 §4.1.2: a dot-string, at a domain of at least two labels. Quoted local parts and address literals are
# legal and, in a CRM, always a typing error. A domain may be written in any script (RFC 5890).
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_](?:[\w-]{0,61}[^\W_])"
)


def normal_form(email: str) -> str:
    """The form in which two spellings of one address are equal: trimmed, in lower case."""
    return email.strip().lower()


def is_deliverable(email: str) -> bool:
    """Whether a relay could be handed this address at all. It says nothing about whether anybody reads it."""
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
