"""Tells requests of machines from those of people, by their headers and client address. The rules are data, each with
its source.

Only the reason is stored: no client address and no user agent.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from ipaddress import IPv6Address, ip_network
from itertools import chain
from socket import AF_INET, inet_pton
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

_CACHED_AGENTS = 1_000
_MAX_CACHED_AGENT = 400
"""Characters."""


@dataclass(frozen=True, slots=True)
class SoonAfterDelivery:
    """A request within `seconds` seconds of the delivery is a machine's, for this reason. The ledger applies the rule,
    because it knows the time of the delivery."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class RequestedTogether:
    """A request for a link is a machine's, for this reason, if the pixel or another link of the same send was requested
    in the `seconds` seconds before. The ledger applies the rule."""

    seconds: float
    reason: str


class Rules:
    """The rules of one data file."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        agents = data["user_agents"]
        self.soon = SoonAfterDelivery(float(data["soon"]["seconds"]), data["soon"]["reason"])
        self.together = RequestedTogether(float(data["together"]["seconds"]), data["together"]["reason"])
        self._no_agent: str = data["no_user_agent"]["reason"]
        self._exact: dict[str, str] = {
            agent.lower(): rule["reason"] for rule in agents for agent in rule.get("exact", ())
        }
        # Searched one by one: for so few texts that is faster than one regular expression.
        self._partial: list[tuple[str, str]] = [
            (part, rule["reason"]) for rule in agents for part in rule.get("contains", ())
        ]
        self._starts: list[tuple[str, str]] = [
            (start, rule["reason"]) for rule in agents for start in rule.get("starts", ())
        ]
        # A person's mail program may load pictures with these, but a person follows a link with a browser.
        self._no_browser: list[tuple[str, str]] = [
            (part, rule["reason"]) for rule in data["link_user_agents"] for part in rule["contains"]
        ]
        # Most requests come from few programs.
        self._cached_agent_reason = lru_cache(_CACHED_AGENTS)(self._agent_reason)
        self._prefetch: str = data["prefetch"]["reason"]
        self._prefetch_headers: Sequence[str] = data["prefetch"]["headers"]
        self._prefetch_words: Sequence[str] = data["prefetch"]["contains"]
        networks = [(ip_network(cidr), rule["reason"]) for rule in data["networks"] for cidr in rule["cidrs"]]
        self._networks = {version: _Networks(n for n in networks if n[0].version == version) for version in (4, 6)}

    def is_prefetch(self, headers: Mapping[str, str]) -> bool:
        """Whether a browser loads the link ahead of a click. Header names are in lower case."""
        sent = [headers[name].lower() for name in self._prefetch_headers if name in headers]
        return any(word in value for value in sent for word in self._prefetch_words)

    def reason(
        self, user_agent: str | None, headers: Mapping[str, str], client: str | None, *, of_link: bool = False
    ) -> str | None:
        """Why the request looks like a machine's. None if it is likely a person's.

        The names of `headers` are in lower case. `client` is the client's IP address, or None if it is unknown.
        `of_link`: the request is for a link, not for a picture.
        """
        if not user_agent:
            return self._no_agent
        look_up = self._cached_agent_reason if len(user_agent) <= _MAX_CACHED_AGENT else self._agent_reason
        by_agent = look_up(user_agent, of_link)
        if by_agent is not None:
            return by_agent
        if self.is_prefetch(headers):
            return self._prefetch
        return self._network(client) if client else None

    def _agent_reason(self, user_agent: str, of_link: bool) -> str | None:
        agent = user_agent.lower()
        exact = self._exact.get(agent)
        if exact is not None:
            return exact
        parts = [*self._partial, *self._no_browser] if of_link else self._partial
        contained = (reason for part, reason in parts if part in agent)
        at_start = (reason for start, reason in self._starts if agent.startswith(start))
        return next(chain(contained, at_start), None)

    def _network(self, client: str) -> str | None:
        try:
            return self._networks[4].reason(int.from_bytes(inet_pton(AF_INET, client)))
        except (OSError, ValueError):  # ValueError: NUL
            pass  # an IPv6 address, or no address
        try:
            address = IPv6Address(client)
        except ValueError:
            return None
        mapped = address.ipv4_mapped
        return self._networks[4].reason(int(mapped)) if mapped else self._networks[6].reason(int(address))


class _Networks:
    """Networks that do not overlap, in ascending order, each with its reason."""

    def __init__(self, networks: Iterable[tuple[IPv4Network | IPv6Network, str]]) -> None:
        ranges = sorted((int(net.network_address), int(net.broadcast_address), reason) for net, reason in networks)
        self._first = [first for first, _, _ in ranges]
        self._last = [(last, reason) for _, last, reason in ranges]

    def reason(self, address: int) -> str | None:
        place = bisect_right(self._first, address) - 1
        if place < 0:
            return None
        last, reason = self._last[place]
        return reason if address <= last else None


@cache
def machine_rules() -> Rules:
    """The rules of `machines.toml`. The file is read once."""
    return Rules(tomllib.loads(files(__package__).joinpath("machines.toml").read_text(encoding="utf-8")))
