"""Which client made a public request: its address, and whether it looks like a machine."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from marketing_service.tracking import machine_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

UNKNOWN_CLIENT = "unknown"
"""All clients without an address (a Unix socket, an entry that is no address) share one limit."""

_PREFIX_BITS = 64
"""A provider gives a customer at least this prefix, so one client can use every address in it (RFC 6177 §2)."""


def machine_reason(scope: Scope, headers: Mapping[str, str], *, proxy_hops: int, of_link: bool = False) -> str | None:
    """Why the client looks like a machine; None: it is probably a person. Header names are in lower case.

    `of_link`: the request is for a link, not for a picture.
    """
    client = client_address(scope, proxy_hops)
    return machine_rules().reason(headers.get("user-agent"), headers, client, of_link=of_link)


def client_address(scope: Scope, proxy_hops: int) -> str | None:
    """The address of the client; None if it is not known. It is not checked.

    Each of our `proxy_hops` proxies appends the address that it sees to X-Forwarded-For. The client can write the
    entries before those, so they are not read.
    """
    if not proxy_hops:
        return _peer(scope)
    entries = _forwarded_for(scope)
    return entries[-proxy_hops] if len(entries) >= proxy_hops else None


def client_group(scope: Scope, proxy_hops: int) -> str:
    """The client as a limit counts it: an IPv4 address, or the /64 of an IPv6 address. An IPv4 address that is mapped
    into IPv6 (RFC 4291 §2.5.5.2) is the IPv4 address.

    A request that came through fewer of our proxies counts for the first entry of X-Forwarded-For, or for its peer.
    """
    found = client_address(scope, proxy_hops) or next(iter(_forwarded_for(scope) if proxy_hops else ()), _peer(scope))
    address = _parsed(found or "")
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            network = int(address) >> _PREFIX_BITS << _PREFIX_BITS
            return f"{IPv6Address(network)}/{_PREFIX_BITS}"
        address = address.ipv4_mapped
    return UNKNOWN_CLIENT if address is None else str(address)


def _peer(scope: Scope) -> str | None:
    peer = scope.get("client")
    return peer[0] if peer else None


def _forwarded_for(scope: Scope) -> list[str]:
    """The entries of all X-Forwarded-For lines, in their order (RFC 9110 §5.3). Empty entries do not count (§5.6.1)."""
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    entries = (entry.strip() for entry in b",".join(lines).decode("latin-1").split(","))
    return [entry for entry in entries if entry]


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:443`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ip_address(text)
    except ValueError:
        return None
