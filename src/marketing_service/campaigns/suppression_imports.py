"""Imports into the suppression list: a request reads and accepts a file, and workers add its addresses in steps.

The request itself adds a file of one step, so that its addresses are blocked when the response arrives. A larger file
is stored as steps of a thousand addresses. The transaction of a step adds the addresses, skips what waits for them, and
deletes the step. So each step is done once, whatever happens to the worker.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from marketing_service.campaigns.audit import digest, record
from marketing_service.campaigns.suppression_file import read_suppressions
from marketing_service.errors import NotFound, Unavailable, WrongState
from marketing_service.ledger.suppressions import lock_campaigns_waiting_for, suppress
from marketing_service.store import suppression_imports as store
from marketing_service.store.audit import SYSTEM, Action, Actor
from marketing_service.store.states import SuppressionOrigin, SuppressionReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from marketing_service.campaigns.suppression_file import SuppressionFile
    from marketing_service.db import OnResult, Transaction, Transactions
    from marketing_service.ports import JobQueue
    from marketing_service.store.suppression_imports import ClaimedImport, SuppressionImport
    from marketing_service.store.suppressions import SuppressionEntry

MAX_UNFINISHED = 10
"""Imports of an organisation that are not finished. Their addresses take room in the database."""

log = structlog.get_logger(__name__)


async def import_file(
    transactions: Transactions,
    job_queue: JobQueue,
    *,
    actor: Actor,
    file: bytes,
    on_result: OnResult[SuppressionImport] | None = None,
) -> SuppressionImport:
    """Accept a CSV file. The import is finished if the file has at most one step; otherwise workers continue it. Calls
    `on_result` in the same transaction.

    Raises InvalidInput if the file cannot be read, and WrongState if too many imports are not finished; then nothing
    was changed.
    """
    # In a thread: reading a hundred thousand lines would block the event loop.
    content, file_digest = await asyncio.to_thread(_read, file)
    new = store.NewImport(content.rows, content.repeated, content.rejected_rows, _as_json(content))
    details: dict[str, Any] = {"file": file_digest, "rows": new.rows, "rejected": new.rejected_rows}
    async with transactions(actor.org_id) as tx:
        if len(content.steps) <= 1:
            import_id, counts = await _add_at_once(tx, actor, new, [e for step in content.steps for e in step.entries])
            details |= counts
        else:
            import_id = await _add_for_workers(tx, job_queue, actor, new, content)
        await record(tx, actor, Action.IMPORTED, importId=str(import_id), **details)
        accepted = await get(tx, actor.org_id, import_id)
        if on_result is not None:
            await on_result(tx, accepted)
    return accepted


def _read(file: bytes) -> tuple[SuppressionFile, dict[str, Any]]:
    return read_suppressions(file), digest(file)


def _as_json(content: SuppressionFile) -> list[dict[str, Any]]:
    return [{"line": row.line, "value": row.value, "code": row.reason.value} for row in content.rejected]


async def _add_at_once(
    tx: Transaction, actor: Actor, new: store.NewImport, entries: Sequence[SuppressionEntry]
) -> tuple[UUID, dict[str, int]]:
    added = await _suppress(tx, actor, entries)
    counts = {"added": added, "known": len(entries) - added}
    import_id = await store.add_finished_import(
        tx.connection, new, org_id=actor.org_id, created_by=actor.subject, **counts
    )
    return import_id, counts


async def _add_for_workers(
    tx: Transaction, job_queue: JobQueue, actor: Actor, new: store.NewImport, content: SuppressionFile
) -> UUID:
    if await store.count_unfinished(tx.connection, org_id=actor.org_id) >= MAX_UNFINISHED:
        raise WrongState(
            f"{MAX_UNFINISHED} imports of your organisation are not finished. Wait until one of them is, then send the"
            " file again."
        )
    steps = [store.NewStep(step.entries, step.rows) for step in content.steps]
    import_id = await store.add_import(tx.connection, new, steps, org_id=actor.org_id, created_by=actor.subject)
    tx.after_commit(partial(job_queue.enqueue_import, import_id))
    return import_id


async def _suppress(tx: Transaction, created_by: Actor, entries: Sequence[SuppressionEntry]) -> int:
    """Add the addresses, and skip the waiting sends to them. Returns how many addresses are new."""
    if not entries:
        return 0
    org_id = created_by.org_id
    addresses = [entry.address for entry in entries]
    return await suppress(
        tx.connection,
        org_id=org_id,
        entries=entries,
        reason=SuppressionReason.MANUAL,
        origin=SuppressionOrigin.CSV,
        created_by=created_by.subject,
        locked=await lock_campaigns_waiting_for(tx.connection, org_id=org_id, addresses=addresses),
    )


async def get(tx: Transaction, org_id: str, import_id: UUID) -> SuppressionImport:
    """The import with its progress. Raises NotFound."""
    found = await store.find_import(tx.connection, org_id=org_id, import_id=import_id)
    if found is None:
        raise NotFound(
            f"There is no such import. Check the id. An import is deleted {store.KEPT_DAYS} days after its end."
        )
    return found


async def page(
    tx: Transaction, org_id: str, *, before: UUID | None, limit: int
) -> tuple[list[SuppressionImport], UUID | None]:
    """At most `limit` imports, newest first, without their rejected rows, and the `before` of the next page; None: this
    is the last page."""
    found = await store.page_of_imports(tx.connection, org_id=org_id, before=before, limit=limit + 1)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


class SuppressionImporter:
    """Does the steps of the imports of all organisations, in turn, in one worker process."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._draining = False
        self.failed_steps = 0
        """Steps that failed in this process, for the metrics."""
        self.due = asyncio.Event()
        """Set when a job says that an import waits."""

    def drain(self) -> None:
        """Start no further step."""
        self._draining = True

    async def run(self) -> None:
        """Do one step of each import that no other worker works on, again and again, until no step is left. An import
        whose step fails is left out, so that the others continue. Raises Unavailable."""
        self.due.clear()
        after: UUID | None = None
        failed: set[UUID] = set()
        while not self._draining:
            claimed: ClaimedImport | None = None
            try:
                async with self._transactions() as tx:
                    claimed = await store.claim_import(tx.connection, after=after, without=failed)
                    if claimed is not None:
                        await _do_step(tx, claimed)
            except Unavailable:
                raise
            except Exception:
                if claimed is None:
                    raise
                self.failed_steps += 1
                log.exception("import_step_failed", import_id=str(claimed.id))
                failed.add(claimed.id)
            if claimed is None and after is None:
                return
            # After the newest import, the oldest one is next.
            after = None if claimed is None else claimed.id


async def _do_step(tx: Transaction, claimed: ClaimedImport) -> None:
    step = await store.take_step(tx.connection, claimed)
    entries: Sequence[SuppressionEntry] = () if step is None else step.entries
    added = await _suppress(tx, Actor(claimed.org_id, claimed.created_by), entries)
    progress = await store.record_step(
        tx.connection, claimed, rows=0 if step is None else step.rows, added=added, known=len(entries) - added
    )
    if progress.is_finished:
        by_itself = Actor(claimed.org_id, SYSTEM)
        counts: dict[str, Any] = {"added": progress.added, "known": progress.known}
        await record(tx, by_itself, Action.IMPORT_FINISHED, importId=str(claimed.id), **counts)
        log.info("import_finished", import_id=str(claimed.id), **counts)
