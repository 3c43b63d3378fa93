"""If-Match and ETag (RFC 9110 §13.1.1 and §8.8.3). The ETag of a campaign is its version in quotes."""

from __future__ import annotations

import re

from marketing_service.errors import FieldError, InvalidInput

# RFC 9110 §8.8.3, without the octets above ASCII.
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
_VERSION = re.compile(r"[1-9][0-9]{0,9}")


def etag(version: int) -> str:
    return f'"{version}"'


def versions_in(header: str | None) -> frozenset[int] | None:
    """The versions that If-Match accepts; None: every version (no header, or `*`). A weak tag, or a tag that is not
    a version, matches nothing. Raises InvalidInput if the header cannot be parsed."""
    if header is None:
        return None
    value = header.strip(" \t")
    if value == "*":
        return None
    tags = _TAG.findall(value)
    if not tags or _TAG.sub("", value).strip(" \t,"):
        raise InvalidInput(
            FieldError("If-Match", 'must be one or more entity tags, for example "3", or *.', "entity-tag")
        )
    return frozenset(int(tag) for weak, tag in tags if not weak and _VERSION.fullmatch(tag))
