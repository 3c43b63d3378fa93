"""The limits that all processes share: messages to the relay, and requests to the API."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Rate(NamedTuple):
    """At most `messages` messages within any period of `seconds` seconds."""

    messages: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many messages may be submitted now. If `granted` is less than requested, `wait` is the number of seconds
    after which to request the others."""

    granted: int
    wait: float = 0.0


class RateLimiter(Protocol):
    """Counts the messages that all workers together submit to the relay, in total and for each organisation."""

    async def take(self, org_id: str, wanted: int) -> Allowance:
        """Count up to `wanted` messages of an organisation as submitted now: as many as every limit allows.

        Raises Unavailable if the limiter does not answer. Then no message may be submitted.
        """
        ...


class Limit(StrEnum):
    """What limits a caller of the API: the limit for a user, for a client address, for an organisation's test mails."""

    TOKEN = "token"  # noqa: S105 - a name
    PUBLIC = "public"
    TEST = "test"


class Quota(NamedTuple):
    """What is left of one rate of a limit. `reset` is the number of seconds until more of it is left."""

    rate: Rate
    left: int
    reset: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a limit allows a request. If not, nothing was counted, and `wait` is the number of seconds after which
    the same request is allowed, if nobody else uses the limit. Without `quotas` the limit is off."""

    allowed: bool
    wait: float = 0.0
    quotas: tuple[Quota, ...] = ()


class RequestLimiter(Protocol):
    """Counts the requests to the API, for all its processes together."""

    @property
    def local(self) -> bool:
        """Whether this process counts alone, because Redis does not answer."""
        ...

    def rates(self, limit: Limit) -> Sequence[Rate]:
        """The rates of the limit. Empty: the limit is off."""
        ...

    async def take(self, limit: Limit, whose: str, wanted: int = 1) -> Verdict:
        """Count `wanted` requests (or test mails) against the limit of `whose`: all, or none if that is too many."""
        ...
