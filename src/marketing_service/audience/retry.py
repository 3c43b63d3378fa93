"""When to ask again: exponential backoff with jitter, and never before the other side said to."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

import structlog

from marketing_service.ports import AudienceUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

MAX_RETRY_AFTER = 3600.0
"""Seconds. Whoever asks for longer is asked again after an hour all the same."""

_FIRST_DELAY = 0.25
_MAX_DELAY = 8.0

Answer = TypeVar("Answer")


def retry_after_seconds(value: str | None, now: datetime | None = None) -> float | None:
    """What a Retry-After header (RFC 9110 §10.2.3) asks for, in seconds; None without one that makes sense."""
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


async def ask_patiently(ask: Callable[[], Awaitable[Answer]], *, patience: float) -> Answer:
    """The first answer of `ask`, asked again while it raises AudienceUnavailable and `patience` seconds have not
    passed. Then, or where the next try would come too late, its AudienceUnavailable is raised."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    tries = 0
    while True:
        tries += 1
        try:
            return await ask()
        except AudienceUnavailable as error:
            delay = max(_backoff(tries), error.retry_after or 0.0)
            if loop.time() + delay >= deadline:
                raise
            log.warning("crm_asked_again", tries=tries, delay=round(delay, 2), error=str(error))
        await asyncio.sleep(delay)


async def ask_quickly(ask: Callable[[], Awaitable[Answer]], *, seconds: float) -> Answer:
    """The answer of `ask` within `seconds`, for somebody who waits: one more try, at once, where the first
    failed early and nobody said to wait. Raises AudienceUnavailable."""
    try:
        async with asyncio.timeout(seconds):
            try:
                return await ask()
            except AudienceUnavailable as error:
                if error.retry_after is not None:
                    raise
            await asyncio.sleep(_backoff(1) / 2)
            return await ask()
    except TimeoutError:
        raise AudienceUnavailable(f"The CRM did not answer within {seconds:g} seconds.") from None


def _backoff(tries: int) -> float:
    """Seconds before the next try: half of it fixed, half by chance, so that many do not come back at once."""
    longest = min(_FIRST_DELAY * 2.0 ** (tries - 1), _MAX_DELAY)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret hangs on it
