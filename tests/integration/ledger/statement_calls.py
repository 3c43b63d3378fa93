"""What the cases of `statement_cases.py` are, the rows that they name, and the calls that need more than a line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from marketing_service.addresses import MailboxKey
from marketing_service.ledger import (
    bounces,
    clicks,
    commit_results,
    expansion,
    lifecycle,
    resend,
    suppressions,
)
from marketing_service.ports import Audience, AudienceType
from marketing_service.rendering import NO_POSTAL_ADDRESSES
from marketing_service.store import (
    audit,
    batches,
    campaigns,
    email_log,
    expansions,
    idempotency,
    preflights,
    relay_pauses,
    resends,
    schedules,
    sends,
    suppression_imports,
    test_mails,
)
from marketing_service.store import clicks as link_clicks
from marketing_service.store import opt_outs as opt_out_rows
from marketing_service.store import suppressions as suppression_rows
from marketing_service.store.states import (
    ScheduleProblem,
    SendStatus,
    SuppressionOrigin,
    SuppressionReason,
)
from tests.integration.ledger import large_ledger
from tests.integration.ledger.large_ledger import CANCELLED, EXPANDING, SENDING
from tests.support.ledger import ORG, contact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import KeyPrefix
    from marketing_service.db import Call
    from marketing_service.db.session import Role


_NOW = datetime.now(UTC)
API: Role = "marketing_api"
WORKER: Role = "marketing_worker"


@dataclass(frozen=True)
class Known:
    """Rows that the cases name; of the campaign SENDING, if nothing else is said."""

    claim: batches.Claim
    """A leased batch, with its waiting and its marked sends."""
    waiting: list[batches.WaitingSend]
    marked: list[UUID]
    cancelled_claim: batches.Claim
    """A leased batch of the campaign CANCELLED."""
    cancelled_marked: list[UUID]
    first_waiting: int
    """The number of the first batch that is not leased."""
    delivered: list[sends.ReportedSend]
    unconfirmed: sends.ReportedSend
    failed: sends.ReportedSend
    queued: sends.ReportedSend
    clicked: UUID
    unfinished_import: UUID


async def known(owner: asyncpg.Connection, size: int) -> Known:
    """The rows that the cases name, in a ledger of `size` sends."""
    _, settled = large_ledger.counts(SENDING, size)
    _, cancelled = large_ledger.counts(CANCELLED, size)

    async def of(campaign: large_ledger.Place, status: SendStatus, batch: int) -> list[asyncpg.Record]:
        return await owner.fetch(
            "SELECT * FROM marketing_sends WHERE campaign_id = $1 AND batch = $2 AND status = $3 ORDER BY id",
            campaign.id,
            batch,
            status,
        )

    async def reported(status: SendStatus, batch: int) -> list[sends.ReportedSend]:
        columns = ("id", "org_id", "campaign_id", "address", "status", "attempts", "unsubscribed_at")
        rows = await of(SENDING, status, batch)
        return [sends.ReportedSend(*(row[column] for column in columns)) for row in rows]

    return Known(
        claim=batches.Claim(ORG, SENDING.id, settled + 2, 1),
        waiting=[
            batches.WaitingSend(row["id"], row["email"], row["first_name"], row["last_name"], row["company_name"])
            for row in await of(SENDING, SendStatus.QUEUED, settled + 2)
        ],
        marked=[row["id"] for row in await of(SENDING, SendStatus.SENDING, settled + 2)],
        cancelled_claim=batches.Claim(ORG, CANCELLED.id, cancelled + 2, 1),
        cancelled_marked=[row["id"] for row in await of(CANCELLED, SendStatus.SENDING, cancelled + 2)],
        first_waiting=settled + 4,
        delivered=await reported(SendStatus.DELIVERED, 20),
        unconfirmed=(await reported(SendStatus.UNCONFIRMED, 20))[0],
        failed=(await reported(SendStatus.FAILED, 20))[0],
        queued=(await reported(SendStatus.QUEUED, settled + 10))[0],
        clicked=await owner.fetchval(
            "SELECT send_id FROM marketing_clicks k JOIN marketing_sends s ON s.id = send_id WHERE campaign_id = $1",
            SENDING.id,
        ),
        unfinished_import=await owner.fetchval(
            "SELECT id FROM marketing_suppression_imports WHERE org_id = $1 AND finished_at IS NULL", ORG
        ),
    )


@dataclass(frozen=True)
class Session:
    connection: AsyncConnection
    call: Call
    known: Known


@dataclass(frozen=True)
class Case:
    """One call. `role` is the database role of the process that makes it."""

    name: str
    run: Callable[[Session], Awaitable[Any]]
    role: Role = WORKER
    also: int = 0
    """Pages and rows of a table that it reads beside those that it changes or returns."""


BATCH = 4 * batches.BATCH_SIZE
"""It reads the sends of a batch."""
ADDRESSES = [MailboxKey(f"person{number}@example.com") for number in range(10, 40_000, 400)]
BOUNCE = bounces.Bounce(is_hard=True, about_address=True, smtp_code=550, enhanced_code="5.1.1", message="no mailbox")
SOFT = bounces.Bounce(is_hard=False, about_address=True, smtp_code=452, enhanced_code="4.2.2", message="full")
ATTEMPT = expansions.Expansion(EXPANDING, ORG, 1, datetime.now(UTC), "ALL", ())
_STEP = suppression_imports.NewStep([suppression_rows.SuppressionEntry(address) for address in ADDRESSES], 100)
_NEW_IMPORT = suppression_imports.NewImport(rows=100, repeated=0, rejected_rows=0, rejected=[])
_REQUEST = idempotency.KeyedRequest(ORG, "key2", "POST /", b"hash")
_CONTENT = campaigns.Content("n", None, "news@acme.example", None, "s", "b", None, Audience(AudienceType.ALL, ()))
_ACTOR = audit.Actor(ORG, "someone")
_PREFLIGHT = preflights.PreflightReport(0, 0, 0, 0, 0, None, ())


def run_results(s: Session, status: SendStatus, **values: Any) -> list[commit_results.SendResult]:
    return [commit_results.SendResult(s.known.claim, id_, 1, status, **values) for id_ in s.known.marked]


async def run_record(s: Session, status: SendStatus, *, again: bool = False, **values: Any) -> Any:
    results = run_results(s, status, **values)
    commit = await commit_results.record(s.connection, SENDING.id, results=results, resend_ambiguous=again)
    assert len(commit.recorded) == len(s.known.marked)


async def run_record_cancelled(s: Session) -> None:
    results = [
        commit_results.SendResult(s.known.cancelled_claim, id_, 1, SendStatus.QUEUED)
        for id_ in s.known.cancelled_marked
    ]
    commit = await commit_results.record(s.connection, CANCELLED.id, results=results)
    assert commit.is_cancelled
    assert commit.recorded


async def run_suppress(s: Session) -> None:
    locked = await suppressions.lock_campaigns_waiting_for(s.connection, org_id=ORG, addresses=ADDRESSES)
    await suppressions.suppress(
        s.connection,
        org_id=ORG,
        entries=_STEP.entries,
        reason=SuppressionReason.MANUAL,
        origin=SuppressionOrigin.API,
        locked=locked,
    )


async def run_remove_suppression(s: Session) -> None:
    found = await suppression_rows.find_suppression(s.connection, org_id=ORG, address=MailboxKey("full1@example.com"))
    assert found is not None
    assert await suppression_rows.remove_suppression(s.connection, org_id=ORG, suppression_id=found.id)


async def run_bounce(s: Session, bounce: bounces.Bounce) -> None:
    """The last soft bounce of the address was that of a send of another campaign."""
    assert await bounces.record_bounce(s.connection, s.known.delivered[0], bounce, max_soft=2)


async def run_click(s: Session, send: sends.ReportedSend | UUID) -> None:
    send_id = send if isinstance(send, UUID) else send.id
    link = await link_clicks.sent_link(s.connection, send_id=send_id, number=1, soon_seconds=1)
    assert link is not None
    await clicks.record_click(s.connection, link, send_id=send_id, number=1)


async def run_machine_click(s: Session) -> None:
    send_id = s.known.unconfirmed.id
    link = await link_clicks.sent_link(s.connection, send_id=send_id, number=1, soon_seconds=1)
    assert link is not None
    await clicks.record_machine_click(s.connection, link, send_id=send_id, number=1)


async def run_commit_of_last_release(s: Session) -> None:
    arguments = commit_results._arguments(
        SENDING.id, run_results(s, SendStatus.DELIVERED), [(s.known.claim, send) for send in s.known.waiting]
    )
    await s.call(commit_results._COMMIT_RESULTS.replace("commit_results_v2", "commit_results_v1"), *arguments)


async def run_add_resend(s: Session) -> UUID:
    assert not await resends.has_unfinished(s.connection, SENDING.id)
    added = await resends.add_resend(
        s.connection, campaign_id=SENDING.id, created_by="someone", statuses=resend.RESENDABLE, reasons=()
    )
    assert await resends.find_resend(s.connection, org_id=ORG, campaign_id=SENDING.id, resend_id=added.id)
    return added.id


async def run_resend_step(s: Session) -> None:
    resend_id = await run_add_resend(s)
    # It is due from the moment of the request on, which is later than the beginning of this transaction.
    await s.connection.exec_driver_sql(f"UPDATE marketing_resends SET due_at = now() WHERE id = '{resend_id}'")
    claimed = await resends.claim_resend(s.connection, after=None, without=(), lease=60)
    assert claimed is not None
    found, after = await resends.candidates(s.connection, claimed, limit=1000, window=1000)
    assert len(found) == 1000 // 25
    progress = await resends.lock_step(s.connection, claimed)
    assert progress is not None
    ids = [send.id for send in found]
    moved = await resend.requeue_all(s.connection, campaign_id=SENDING.id, send_ids=ids, read_at=_NOW)
    assert moved == len(ids)
    await resends.record_step(s.connection, claimed, progress, after=after)


async def run_merge(s: Session) -> int:
    await s.connection.exec_driver_sql(
        f"UPDATE marketing_campaigns SET expansion_fetched = {large_ledger.STAGED} WHERE id = '{EXPANDING}'"
    )
    assert await expansion.merge(s.connection, ATTEMPT, links=["https://a.example", "https://b.example"])
    return large_ledger.STAGED


async def run_stage(s: Session) -> None:
    people = [contact(number) for number in range(1000)]
    assert await expansions.stage_contacts(s.connection, ATTEMPT, page=20, contacts=people, lease=60)


async def run_preflight(s: Session) -> preflights.PreflightAttempt:
    await preflights.request_preflight(
        s.connection, org_id=ORG, campaign_id=SENDING.id, version=1, requested_by="someone"
    )
    attempt = await preflights.claim_preflight(s.connection, SENDING.id, lease=60, postal_addresses=NO_POSTAL_ADDRESSES)
    assert attempt is not None
    return attempt


async def run_finish_preflight(s: Session) -> None:
    attempt = await run_preflight(s)
    assert await preflights.count_fetched(s.connection, attempt, fetched=1, expected=1, lease=60)
    await preflights.postpone_preflight(s.connection, attempt, delay=0)
    assert await preflights.finish_preflight(s.connection, attempt, _PREFLIGHT)


async def run_fail_preflight(s: Session) -> None:
    await preflights.fail_preflight(s.connection, await run_preflight(s), "no")


async def run_import(s: Session) -> None:
    claimed = await suppression_imports.claim_import(s.connection, after=None, without=())
    assert claimed is not None
    await suppression_imports.add_import(s.connection, _NEW_IMPORT, [_STEP] * 3, org_id=ORG, created_by="someone")
    await suppression_imports.add_finished_import(
        s.connection, _NEW_IMPORT, org_id=ORG, created_by="someone", added=1, known=0
    )
    await suppression_imports.take_step(s.connection, claimed)
    await suppression_imports.record_step(s.connection, claimed, rows=1, added=0, known=0)


async def run_opt_outs(s: Session) -> None:
    due = await opt_out_rows.take_due_opt_outs(s.connection, limit=10, lease=60)
    assert len(due) == 10
    await opt_out_rows.confirm_opt_out(s.connection, due[0], found=["c1"])
    await opt_out_rows.postpone_opt_outs(s.connection, [(one, 5.0) for one in due[1:]])


async def run_test_mail(s: Session) -> None:
    (due, *_) = await test_mails.due_test_mails(s.connection)
    assert await test_mails.start_test_mail(s.connection, due)
    await test_mails.reset_test_mail(s.connection, due)
    await test_mails.finish_test_mail(s.connection, due)


async def run_probes(s: Session) -> None:
    assert await relay_pauses.lease_probe(s.connection, seconds=5)
    await relay_pauses.release_probe(s.connection)
    await relay_pauses.campaigns_with_due_probe(s.connection, limit=10)
    schedule = relay_pauses.ProbeSchedule(1, 10)
    assert await lifecycle.pause(s.connection, SENDING.id, lifecycle.PauseReason.RELAY_DOWN, message="down")
    await relay_pauses.postpone_probe(s.connection, SENDING.id, message="down", schedule=schedule)
    assert await lifecycle.resume_after_relay(s.connection, SENDING.id)


async def run_throttle(s: Session) -> None:
    await relay_pauses.report_throttle(s.connection, [SENDING.id], connections=1, rate=1.0)
    assert await relay_pauses.find_throttle(s.connection, org_id=ORG, campaign_id=SENDING.id)
    await relay_pauses.end_throttle(s.connection, [SENDING.id])


async def run_draft(s: Session) -> None:
    added = await campaigns.add(s.connection, ORG, _CONTENT, created_by="someone")
    await campaigns.replace_content(s.connection, added, _CONTENT)
    assert await campaigns.find(s.connection, ORG, added.id, for_update=True)
    await campaigns.remove(s.connection, added)
    await audit.add_entry(s.connection, _ACTOR, audit.Action.DELETED, added.id, {})


async def run_schedule(s: Session, campaign_id: UUID) -> None:
    now, in_a_year = await schedules.clock(s.connection)
    assert now < in_a_year
    await schedules.set_schedule(s.connection, campaign_id, campaigns.Schedule(now, "UTC"))


async def run_failed_schedule(s: Session, campaign_id: UUID) -> None:
    await run_schedule(s, campaign_id)
    await s.connection.exec_driver_sql(
        f"UPDATE marketing_campaigns SET scheduled_at = now() WHERE id = '{campaign_id}'"
    )
    (due,) = await schedules.due_launches(s.connection)
    assert await schedules.fail_schedule(s.connection, due, problem=ScheduleProblem.MISSED, message="late")


async def run_idempotency(s: Session) -> None:
    await idempotency.stored_response(s.connection, _REQUEST)
    await idempotency.store_response(s.connection, _REQUEST, idempotency.StoredResponse(200, {}, b""))


def run_page_of_log(s: Session, after: email_log.LogKey | None = None, **only: Any) -> Any:
    return email_log.page_of_log(s.connection, ORG, SENDING.id, only=email_log.LogFilter(**only), after=after, limit=50)


def run_page_of_suppressions(s: Session, search: KeyPrefix | None = None) -> Any:
    return suppression_rows.page_of_suppressions(
        s.connection, org_id=ORG, reasons=[SuppressionReason.HARD_BOUNCE], search=search, before=None, limit=50
    )
