"""Which client made a public request: its address, and whether it looks like a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.tracking import machine_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope


def machine_reason(scope: Scope, headers: Mapping[str, str], *, proxy_hops: int) -> str | None:
    """Why the client looks like a machine; None: it is probably a person. Header names are in lower case."""
    return machine_rules().reason(headers.get("user-agent"), headers, client_address(scope, headers, proxy_hops))


def client_address(scope: Scope, headers: Mapping[str, str], proxy_hops: int) -> str | None:
    """The address of the client; None if it is not known. Each of our `proxy_hops` proxies appends the address that it
    sees to X-Forwarded-For. Entries before those are not trusted: the client can write them itself."""
    if not proxy_hops:
        peer = scope.get("client")
        return peer[0] if peer else None
    forwarded = headers.get("x-forwarded-for", "").split(",")
    return forwarded[-proxy_hops].strip() if len(forwarded) >= proxy_hops else None
