"""Repeating a request: exponential back-off with jitter, and never earlier than a Retry-After allows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

import structlog

from marketing_service.backoff import ExponentialBackoff
from marketing_service.ports import AudienceUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

MAX_RETRY_AFTER = 3600.0
"""Seconds. A longer Retry-After is reduced to this."""

RETRY_BACKOFF = ExponentialBackoff(first=0.25, maximum=8.0, jitter=0.5)
"""The wait between two requests for the same data."""

Result = TypeVar("Result")


def retry_after_seconds(value: str | None, now: datetime | None = None) -> float | None:
    """The value of a Retry-After header (RFC 9110 §10.2.3) in seconds; None if it is absent or malformed."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


async def ask_with_retries(
    ask: Callable[[], Awaitable[Result]], *, retry_seconds: float, backoff: ExponentialBackoff
) -> Result:
    """The result of `ask`, which is called again when it raises AudienceUnavailable.

    Raises the last AudienceUnavailable if the next try would start later than `retry_seconds` after the first.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + retry_seconds
    tries = 0
    while True:
        tries += 1
        try:
            return await ask()
        except AudienceUnavailable as error:
            delay = max(backoff.delay(tries), error.retry_after or 0.0)
            if loop.time() + delay >= deadline:
                raise
            log.warning("crm_request_repeated", tries=tries, delay=round(delay, 2), error=str(error))
        await asyncio.sleep(delay)


async def ask_within(ask: Callable[[], Awaitable[Result]], *, seconds: float, backoff: ExponentialBackoff) -> Result:
    """The result of `ask` within `seconds`, for a call that a person waits for.

    After a failure without a Retry-After there is one more try, following a short wait. Raises AudienceUnavailable.
    """
    try:
        async with asyncio.timeout(seconds):
            try:
                return await ask()
            except AudienceUnavailable as error:
                if error.retry_after is not None:
                    raise
            await asyncio.sleep(backoff.delay(1) / 2)
            return await ask()
    except TimeoutError:
        raise AudienceUnavailable(f"The CRM did not answer within {seconds:g} seconds.") from None
