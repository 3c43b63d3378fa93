"""How large a body may be, by the path of the request."""

from __future__ import annotations

from marketing_service.campaigns.suppression_file import MAX_FILE

MAX_BODY = 3_000_000
"""Octets of a body, for all paths but the next one."""
SUPPRESSIONS_CSV = "/api/marketing/suppressions.csv"
_LARGER = {SUPPRESSIONS_CSV: MAX_FILE}


def max_body(path: str) -> int:
    """The largest body in octets."""
    return _LARGER.get(path, MAX_BODY)
