"""Who may be behind a public request: a person, or a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.tracking import machine_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope


def machine_reason(scope: Scope, headers: Mapping[str, str], *, proxy_hops: int) -> str | None:
    """Why the request looks like a machine's; None where a person is likely. Header names are in lower case."""
    return machine_rules().reason(headers.get("user-agent"), headers, _client(scope, headers, proxy_hops))


def _client(scope: Scope, headers: Mapping[str, str], proxy_hops: int) -> str | None:
    """The address the request came from. Each of our own proxies has added the one it saw to X-Forwarded-For; what
    stands before those, anybody may have written."""
    if not proxy_hops:
        peer = scope.get("client")
        return peer[0] if peer else None
    seen = headers.get("x-forwarded-for", "").split(",")
    return seen[-proxy_hops].strip() if len(seen) >= proxy_hops else None
