"""Tells machines from people by what a request says of itself; the rules are data, each with its source.

Nothing of the request is kept but the reason this gives: no address, no user agent.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Soon:
    """Whatever comes within so many seconds of the delivery is a machine's, for this reason. The ledger applies it,
    which knows when that was."""

    seconds: float
    reason: str


class Rules:
    """The rules of one data file."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        agents = data["user_agents"]
        self.soon = Soon(float(data["soon"]["seconds"]), data["soon"]["reason"])
        self._no_agent: str = data["no_user_agent"]["reason"]
        self._exact: dict[str, str] = {
            agent.lower(): rule["reason"] for rule in agents for agent in rule.get("exact", ())
        }
        partial = [(rule["reason"], rule["contains"]) for rule in agents if "contains" in rule]
        self._partial_reasons: list[str] = [reason for reason, _ in partial]
        self._partial = re.compile("|".join(f"({'|'.join(map(re.escape, parts))})" for _, parts in partial))
        self._prefetch: str = data["prefetch"]["reason"]
        self._prefetch_headers: Sequence[str] = data["prefetch"]["headers"]
        self._prefetch_words: Sequence[str] = data["prefetch"]["contains"]
        networks = [(ip_network(cidr), rule["reason"]) for rule in data["networks"] for cidr in rule["cidrs"]]
        # By version, in order of the first address; they do not overlap.
        self._ranges = {
            version: sorted(
                (int(network.network_address), int(network.broadcast_address), reason)
                for network, reason in networks
                if network.version == version
            )
            for version in (4, 6)
        }

    def is_prefetch(self, headers: Mapping[str, str]) -> bool:
        """Whether a browser loads this for a click that may never come. Header names are in lower case."""
        sent = [headers.get(name, "").lower() for name in self._prefetch_headers]
        return any(word in value for value in sent if value for word in self._prefetch_words)

    def reason(self, user_agent: str | None, headers: Mapping[str, str], client: str | None) -> str | None:
        """Why the request looks like a machine's; None where a person is likely to be behind it.

        `headers` have names in lower case; `client` is the address it came from, where that can be told.
        """
        if not user_agent:
            return self._no_agent
        agent = user_agent.lower()
        exact = self._exact.get(agent)
        if exact is not None:
            return exact
        partial = self._partial.search(agent)
        if partial is not None and partial.lastindex is not None:
            return self._partial_reasons[partial.lastindex - 1]
        if self.is_prefetch(headers):
            return self._prefetch
        return self._network(client) if client else None

    def _network(self, client: str) -> str | None:
        try:
            address = ip_address(client)
        except ValueError:
            return None
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        number, ranges = int(address), self._ranges[address.version]
        place = bisect_right(ranges, number, key=lambda entry: entry[0]) - 1
        return ranges[place][2] if place >= 0 and number <= ranges[place][1] else None


@cache
def machine_rules() -> Rules:
    """The rules of `machines.toml`, read once."""
    return Rules(tomllib.loads(files(__package__).joinpath("machines.toml").read_text(encoding="utf-8")))
