"""The queue of jobs for the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """A batch for a worker to send.

    `enqueue_count` is how often the batch has been enqueued. It makes each job's id unique, because a queue may
    remember an old job and drop a new one with the same id. `ahead` is the number of batches of the same campaign
    that are in the queue before this one: the fewer, the sooner the batch is worked on.
    """

    campaign_id: UUID
    number: int
    enqueue_count: int
    ahead: int = 0


class JobQueue(Protocol):
    """Tells workers that something is due. A job carries only ids. A lost job does no harm: the sweep enqueues it
    again.

    `epoch` is the number of the last claim of the expansion or preflight; it makes the job's id unique (see
    QueuedBatch). Every method raises Unavailable if the queue does not answer.
    """

    async def enqueue_expansion(self, campaign_id: UUID, epoch: int) -> None: ...

    async def enqueue_batches(self, queued: Sequence[QueuedBatch]) -> None: ...

    async def enqueue_preflight(self, campaign_id: UUID, epoch: int) -> None: ...

    async def enqueue_test_mail(self, test_mail_id: UUID) -> None: ...

    async def enqueue_opt_outs(self) -> None: ...

    async def enqueue_import(self, import_id: UUID) -> None: ...
