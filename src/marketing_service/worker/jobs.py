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

    from marketing_service.worker.dependencies import WorkerDependencies

log = structlog.get_logger(__name__)

DEPENDENCIES = "dependencies"

_MAX_JOB = 24 * 3600
"""Seconds. A relay may take ten minutes to answer each message; a batch that is cut off has unknown outcomes."""


async def expand(ctx: dict[str, Any], campaign_id: str) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    await dependencies.expander.expand(UUID(campaign_id))


async def send_batch(ctx: dict[str, Any], campaign_id: str, number: int) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    if dependencies.sender is None:
        log.warning("batch_without_relay", campaign_id=campaign_id)
        return
    await dependencies.sender.send_batch(UUID(campaign_id), number)


async def send_test(ctx: dict[str, Any], test_mail_id: str) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    await dependencies.test_mailer.send(UUID(test_mail_id))


async def check(ctx: dict[str, Any], campaign_id: str) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    await dependencies.dry_run.check(UUID(campaign_id))


async def opt_outs(ctx: dict[str, Any]) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    await bring_opt_outs_to_crm(dependencies.resources.transactions, dependencies.resources.audience)


def _job(name: Job, run: Callable[..., Awaitable[None]]) -> Function:
    async def job(ctx: dict[str, Any], *ids: Any) -> None:
        try:
            await run(ctx, *ids)
        except Unavailable as error:
            log.warning("job_postponed", job=name, reason=error.detail)  # the sweep rings again

    return func(job, name=name, timeout=_MAX_JOB, keep_result=0)


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
