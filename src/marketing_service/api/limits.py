"""The limits of the API: for each user, for each client without a valid token, and for the test mails of an
organisation.

A request counts once. A valid access token counts for its user. Everything else counts for the address of the client,
except a valid link of a message and the health check, which are never refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from marketing_service.api.client_detection import client_group
from marketing_service.api.problems import problem_of
from marketing_service.errors import FieldError, InvalidInput, RateLimited
from marketing_service.ports import Limit
from marketing_service.tokens import Purpose

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from marketing_service.api.metrics import Metrics
    from marketing_service.auth import Principal
    from marketing_service.ports import Quota, RequestLimiter
    from marketing_service.tokens import TokenKeyring

_STATE = "limits"
_LINKS = {
    "/api/marketing/pixel/": Purpose.OPEN,
    "/api/marketing/click/": Purpose.CLICK,
    "/api/marketing/unsubscribe/": Purpose.UNSUBSCRIBE,
}
CONSOLE_PREFIX = "/marketing"
HEALTH = "/healthz"
"""Without a limit: it costs nothing, and a refused health check would take the process out of service."""
_PERIODS = {1: "second", 60: "minute", 3600: "hour"}
_WHAT = {Limit.TOKEN: "requests of this user", Limit.PUBLIC: "requests from this address", Limit.TEST: "test mails"}


class RequestLimits:
    """The limits of one application, with their counters."""

    def __init__(self, limiter: RequestLimiter, metrics: Metrics) -> None:
        self._limiter = limiter
        self._metrics = metrics
        metrics.show_local_limits(lambda: limiter.local)

    async def count_user(self, request: Request, caller: Principal) -> None:
        """Count one request of this user. Raises RateLimited."""
        counted_in(request.scope).identified = True
        await self._count(request.scope, Limit.TOKEN, f"{caller.org_id}\n{caller.subject}")

    async def count_test_mails(self, request: Request, org_id: str, mails: int) -> None:
        """Count test mails of this organisation. Raises RateLimited, InvalidInput."""
        rates = self._limiter.rates(Limit.TEST)
        allowed = min((rate.messages for rate in rates), default=mails)
        if mails > allowed:
            raise InvalidInput(
                FieldError("to", f"has {mails} addresses, and only {allowed} are allowed here.", "too-long")
            )
        await self._count(request.scope, Limit.TEST, org_id, mails)

    async def count_client(self, scope: Scope, proxy_hops: int) -> None:
        """Count one request of the client at this address. Raises RateLimited."""
        counted_in(scope).identified = True
        await self._count(scope, Limit.PUBLIC, client_group(scope, proxy_hops))

    async def _count(self, scope: Scope, limit: Limit, whose: str, wanted: int = 1) -> None:
        verdict = await self._limiter.take(limit, whose, wanted)
        counted_in(scope).quotas += [(limit, quota) for quota in verdict.quotas]
        if verdict.allowed:
            return
        self._metrics.refused.labels(limit).inc()
        rates = ", ".join(f"{rate.messages:,} per {_PERIODS[rate.seconds]}" for rate in self._limiter.rates(limit))
        seconds = max(1, math.ceil(verdict.wait))
        raise RateLimited(f"Too many {_WHAT[limit]}: {rates} are allowed. Try again in {seconds} s.", seconds)


class Counted:
    """What was counted for one request. `identified`: it was counted, or it is a valid link."""

    def __init__(self) -> None:
        self.identified = False
        self.quotas: list[tuple[Limit, Quota]] = []

    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10 §3 and §4)."""
        if not self.quotas:
            return {}
        named = [(f'"{limit}-{_PERIODS[quota.rate.seconds]}"', quota) for limit, quota in self.quotas]
        policies = [f"{name};q={quota.rate.messages};w={quota.rate.seconds}" for name, quota in named]
        left = [f"{name};r={quota.left};t={math.ceil(quota.reset)}" for name, quota in named]
        return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(left)}


def counted_in(scope: Scope) -> Counted:
    """What was counted for this request so far."""
    found: Counted = scope.setdefault("state", {}).setdefault(_STATE, Counted())
    return found


class LimitsMiddleware:
    """Counts each request that is not counted for a user, and adds the headers of the limits.

    A request without `Authorization` is counted before any work is done. With it, the token is read first. If it is not
    valid, the request is counted when its response starts: then a 429 may replace the 401.
    """

    def __init__(
        self, app: ASGIApp, *, limits: RequestLimits, tokens: TokenKeyring, proxy_hops: int, has_console: bool
    ) -> None:
        self._app = app
        self._limits = limits
        self._tokens = tokens
        self._proxy_hops = proxy_hops
        self._has_console = has_console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counted = counted_in(scope)
        counted.identified = self._is_free(scope["path"])
        refused = False

        async def respond(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                if not counted.identified:
                    refused = await self._refuses(scope, receive, with_headers)
                if not refused:
                    await with_headers(message)
            elif not refused:
                await send(message)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(counted.headers())
            await send(message)

        anonymous = all(name != b"authorization" for name, _ in scope["headers"])
        if anonymous and not counted.identified and await self._refuses(scope, receive, with_headers):
            return
        await self._app(scope, receive, respond)

    def _is_free(self, path: str) -> bool:
        return path == HEALTH or (self._has_console and is_file(path)) or is_link(self._tokens, path)

    async def _refuses(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Count the client's address. True if that was too much: then the response is sent."""
        try:
            await self._limits.count_client(scope, self._proxy_hops)
        except RateLimited as error:
            await problem_of(error, scope)(scope, receive, send)
            return True
        return False


def is_link(tokens: TokenKeyring, path: str) -> bool:
    """Whether the path has a valid token of a message: of its pixel, of its links, of its unsubscribe link."""
    for start, purpose in _LINKS.items():
        if path.startswith(start):
            token = path[len(start) :].partition("/")[0].removesuffix(".gif")
            return tokens.read(purpose, token) is not None
    return False


def is_file(path: str) -> bool:
    """Whether this is a file of the console. One page loads dozens of them, before the person has a token; they come
    from memory, so that they cost less than a limit."""
    return path == CONSOLE_PREFIX or path.startswith(f"{CONSOLE_PREFIX}/")
