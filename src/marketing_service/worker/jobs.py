"""The jobs, as arq calls them. Each may run twice, concurrently, late or never: the ledger decides what is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from arq.worker import Function, func

from marketing_service.errors import Unavailable
from marketing_service.queue import Job, Queue
from marketing_service.tracking import write_opt_outs_to_crm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from marketing_service.worker.dependencies import WorkerDependencies

log = structlog.get_logger(__name__)

DEPENDENCIES = "dependencies"

_TIMEOUT = 24 * 3600
"""Seconds. It is long, because a relay may take ten minutes for each message, and because a batch that is interrupted
has sends whose outcome is unknown."""


async def expand(ctx: dict[str, Any], campaign_id: str) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    campaign = UUID(campaign_id)
    await dependencies.audience_slots.run(
        campaign, lambda must_yield: dependencies.expander.expand(campaign, must_yield=must_yield)
    )


async def send_batch(ctx: dict[str, Any], campaign_id: str, number: int) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    if dependencies.sender is None:
        log.warning("batch_skipped_without_relay", campaign_id=campaign_id)
        return
    await dependencies.sender.send_batch(UUID(campaign_id), number)


async def send_test(ctx: dict[str, Any], test_mail_id: str) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    await dependencies.test_mailer.send(UUID(test_mail_id))


async def preflight(ctx: dict[str, Any], campaign_id: str) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    campaign = UUID(campaign_id)
    await dependencies.audience_slots.run(
        campaign, lambda must_yield: dependencies.dry_run.check(campaign, must_yield=must_yield)
    )


async def opt_outs(ctx: dict[str, Any]) -> None:
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    await write_opt_outs_to_crm(dependencies.resources.transactions, dependencies.resources.audience)


async def start_import(ctx: dict[str, Any], import_id: str) -> None:
    """Only wake the loop that does the steps, so that an import takes no slot from sending."""
    dependencies: WorkerDependencies = ctx[DEPENDENCIES]
    log.debug("import_due", import_id=import_id)
    dependencies.importer.due.set()


def _job(name: Job, run: Callable[..., Awaitable[None]]) -> Function:
    async def job(ctx: dict[str, Any], *ids: Any) -> None:
        try:
            await run(ctx, *ids)
        except Unavailable as error:
            log.warning("job_postponed", job=name, reason=error.detail)  # the sweep enqueues it again

    return func(job, name=name, timeout=_TIMEOUT, keep_result=0)


_RUN: Mapping[Job, Callable[..., Awaitable[None]]] = {
    Job.EXPAND: expand,
    Job.SEND_BATCH: send_batch,
    Job.SEND_TEST: send_test,
    Job.PREFLIGHT: preflight,
    Job.OPT_OUTS: opt_outs,
    Job.IMPORT: start_import,
}


def functions(queue: Queue) -> list[Function]:
    """The functions of all jobs of the queue, each under the name of its job."""
    return [_job(name, run) for name, run in _RUN.items() if name.queue is queue]
