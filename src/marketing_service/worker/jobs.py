"""The jobs, as arq calls them. Each is safe to run twice, at once, late, or never: the ledger decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from arq.worker import Function, func

from marketing_service.errors import Unavailable
from marketing_service.queue import Job, Queue
from marketing_service.tracking import bring_opt_outs_to_crm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from marketing_service.worker.dependencies import Parts

log = structlog.get_logger(__name__)

PARTS = "parts"

_LONGEST_JOB = 24 * 3600
"""Seconds. A relay may take ten minutes to answer each message; a batch that is cut off has unknown outcomes."""


async def expand(ctx: dict[str, Any], campaign_id: str) -> None:
    parts: Parts = ctx[PARTS]
    await parts.expander.expand(UUID(campaign_id))


async def send_batch(ctx: dict[str, Any], campaign_id: str, number: int) -> None:
    parts: Parts = ctx[PARTS]
    if parts.sender is None:
        log.warning("batch_without_relay", campaign_id=campaign_id)
        return
    await parts.sender.send_batch(UUID(campaign_id), number)


async def send_test(ctx: dict[str, Any], test_send_id: str) -> None:
    parts: Parts = ctx[PARTS]
    await parts.test_sender.send(UUID(test_send_id))


async def check(ctx: dict[str, Any], campaign_id: str) -> None:
    parts: Parts = ctx[PARTS]
    await parts.dry_run.check(UUID(campaign_id))


async def opt_outs(ctx: dict[str, Any]) -> None:
    parts: Parts = ctx[PARTS]
    await bring_opt_outs_to_crm(parts.resources.transactions, parts.resources.audience)


def _job(name: Job, run: Callable[..., Awaitable[None]]) -> Function:
    async def job(ctx: dict[str, Any], *ids: Any) -> None:
        try:
            await run(ctx, *ids)
        except Unavailable as error:
            log.warning("job_put_off", job=name, reason=error.detail)  # the sweep rings again

    return func(job, name=name, timeout=_LONGEST_JOB, keep_result=0)


_RUN: Mapping[Job, Callable[..., Awaitable[None]]] = {
    Job.EXPAND: expand,
    Job.SEND_BATCH: send_batch,
    Job.SEND_TEST: send_test,
    Job.CHECK: check,
    Job.OPT_OUTS: opt_outs,
}


def functions(queue: Queue) -> list[Function]:
    """Every job that waits in the queue, under the name it is enqueued by."""
    return [_job(name, run) for name, run in _RUN.items() if name.queue is queue]
