"""Paths of the CRM's HTTP API, made of ids that other people choose."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from marketing_service.ports import AudienceRefused

_SEPARATORS = re.compile(r"[/\\]")


def is_one_segment(text: str) -> bool:
    """Whether every server and proxy reads the text, percent-encoded, as one segment of a path (RFC 3986 §3.3).

    Some decode `%2F` and remove dot segments (§5.2.4) before they choose the resource, some read a backslash as a
    slash, and some end a line at an encoded control character. A slash, a control character and a segment of one or two
    dots are therefore never sent. Half a surrogate pair has no percent-encoding.
    """
    return (
        text != ""
        and "/" not in text
        and not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)
        and not any(part in {".", ".."} for part in _SEPARATORS.split(text))
    )


def crm_path(org_id: str, *segments: str) -> str:
    """The path of a resource of the organisation. Raises AudienceRefused if a part cannot be one segment."""
    for segment in (org_id, *segments):
        if not is_one_segment(segment):
            raise AudienceRefused(f"An id cannot be part of a path of the CRM: {segment[:64]!a}.")
    return "/api/crm/orgs/" + "/".join(quote(segment, safe="") for segment in (org_id, *segments))
