"""Calls of every function of `ledger/` and `store/` that runs a statement, on the ledger of `large_ledger.py`.

A case calls one function as the service does. A function with optional parts has a case for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from marketing_service.addresses import MailboxKey, read_key_prefix
from marketing_service.ledger import (
    bounces,
    clicks,
    commit_results,
    expansion,
    expired_leases,
    lifecycle,
    opens,
    opt_outs,
    resend,
    suppressions,
)
from marketing_service.ports import Audience, AudienceType
from marketing_service.rendering import NO_POSTAL_ADDRESSES
from marketing_service.store import (
    audience_jobs,
    audit,
    batches,
    campaigns,
    email_log,
    expansions,
    idempotency,
    messages,
    preflights,
    relay_pauses,
    sends,
    stats,
    suppression_imports,
    test_mails,
    timeline,
)
from marketing_service.store import clicks as link_clicks
from marketing_service.store import opt_outs as opt_out_rows
from marketing_service.store import suppressions as suppression_rows
from marketing_service.store.states import (
    CampaignStatus,
    SendStatus,
    SuppressionOrigin,
    SuppressionReason,
)
from tests.integration.ledger import large_ledger
from tests.integration.ledger.large_ledger import CANCELLED, DRAFT, EXPANDING, SENDING, SMALL
from tests.support.ledger import ORG, contact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import KeyPrefix
    from marketing_service.db import Call
    from marketing_service.db.session import Role


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


_BATCH = 4 * batches.BATCH_SIZE
"""It reads the sends of a batch."""
_ADDRESSES = [MailboxKey(f"person{number}@example.com") for number in range(10, 40_000, 400)]
_BOUNCE = bounces.Bounce(is_hard=True, about_address=True, smtp_code=550, enhanced_code="5.1.1", message="no mailbox")
_SOFT = bounces.Bounce(is_hard=False, about_address=True, smtp_code=452, enhanced_code="4.2.2", message="full")
_ATTEMPT = expansions.Expansion(EXPANDING, ORG, 1, datetime.now(UTC), "ALL", ())
_STEP = suppression_imports.NewStep([suppression_rows.SuppressionEntry(address) for address in _ADDRESSES], 100)
_NEW_IMPORT = suppression_imports.NewImport(rows=100, repeated=0, rejected_rows=0, rejected=[])
_REQUEST = idempotency.KeyedRequest(ORG, "key2", "POST /", b"hash")
_CONTENT = campaigns.Content("n", None, "news@acme.example", None, "s", "b", None, Audience(AudienceType.ALL, ()))
_ACTOR = audit.Actor(ORG, "someone")
_PREFLIGHT = preflights.PreflightReport(0, 0, 0, 0, 0, None, ())


def _results(s: Session, status: SendStatus, **values: Any) -> list[commit_results.SendResult]:
    return [commit_results.SendResult(s.known.claim, id_, 1, status, **values) for id_ in s.known.marked]


async def _record(s: Session, status: SendStatus, *, again: bool = False, **values: Any) -> Any:
    results = _results(s, status, **values)
    commit = await commit_results.record(s.connection, SENDING.id, results=results, resend_ambiguous=again)
    assert len(commit.recorded) == len(s.known.marked)


async def _record_cancelled(s: Session) -> None:
    results = [
        commit_results.SendResult(s.known.cancelled_claim, id_, 1, SendStatus.QUEUED)
        for id_ in s.known.cancelled_marked
    ]
    commit = await commit_results.record(s.connection, CANCELLED.id, results=results)
    assert commit.is_cancelled
    assert commit.recorded


async def _suppress(s: Session) -> None:
    locked = await suppressions.lock_campaigns_waiting_for(s.connection, org_id=ORG, addresses=_ADDRESSES)
    await suppressions.suppress(
        s.connection,
        org_id=ORG,
        entries=_STEP.entries,
        reason=SuppressionReason.MANUAL,
        origin=SuppressionOrigin.API,
        locked=locked,
    )


async def _remove_suppression(s: Session) -> None:
    found = await suppression_rows.find_suppression(s.connection, org_id=ORG, address=MailboxKey("full1@example.com"))
    assert found is not None
    assert await suppression_rows.remove_suppression(s.connection, org_id=ORG, suppression_id=found.id)


async def _bounce(s: Session, bounce: bounces.Bounce) -> None:
    """The last soft bounce of the address was that of a send of another campaign."""
    assert await bounces.record_bounce(s.connection, s.known.delivered[0], bounce, max_soft=2)


async def _click(s: Session, send: sends.ReportedSend | UUID) -> None:
    send_id = send if isinstance(send, UUID) else send.id
    link = await link_clicks.sent_link(s.connection, send_id=send_id, number=1, soon_seconds=1)
    assert link is not None
    await clicks.record_click(s.connection, link, send_id=send_id, number=1)


async def _machine_click(s: Session) -> None:
    send_id = s.known.unconfirmed.id
    link = await link_clicks.sent_link(s.connection, send_id=send_id, number=1, soon_seconds=1)
    assert link is not None
    await clicks.record_machine_click(s.connection, link, send_id=send_id, number=1)


async def _merge(s: Session) -> int:
    await s.connection.exec_driver_sql(
        f"UPDATE marketing_campaigns SET expansion_fetched = {large_ledger.STAGED} WHERE id = '{EXPANDING}'"
    )
    assert await expansion.merge(s.connection, _ATTEMPT, links=["https://a.example", "https://b.example"])
    return large_ledger.STAGED


async def _stage(s: Session) -> None:
    people = [contact(number) for number in range(1000)]
    assert await expansions.stage_contacts(s.connection, _ATTEMPT, page=20, contacts=people, lease=60)


async def _preflight(s: Session) -> preflights.PreflightAttempt:
    await preflights.request_preflight(
        s.connection, org_id=ORG, campaign_id=SENDING.id, version=1, requested_by="someone"
    )
    attempt = await preflights.claim_preflight(s.connection, SENDING.id, lease=60, postal_addresses=NO_POSTAL_ADDRESSES)
    assert attempt is not None
    return attempt


async def _finish_preflight(s: Session) -> None:
    attempt = await _preflight(s)
    assert await preflights.count_fetched(s.connection, attempt, fetched=1, expected=1, lease=60)
    await preflights.postpone_preflight(s.connection, attempt, delay=0)
    assert await preflights.finish_preflight(s.connection, attempt, _PREFLIGHT)


async def _fail_preflight(s: Session) -> None:
    await preflights.fail_preflight(s.connection, await _preflight(s), "no")


async def _import(s: Session) -> None:
    claimed = await suppression_imports.claim_import(s.connection, after=None, without=())
    assert claimed is not None
    await suppression_imports.add_import(s.connection, _NEW_IMPORT, [_STEP] * 3, org_id=ORG, created_by="someone")
    await suppression_imports.add_finished_import(
        s.connection, _NEW_IMPORT, org_id=ORG, created_by="someone", added=1, known=0
    )
    await suppression_imports.take_step(s.connection, claimed)
    await suppression_imports.record_step(s.connection, claimed, rows=1, added=0, known=0)


async def _opt_outs(s: Session) -> None:
    due = await opt_out_rows.take_due_opt_outs(s.connection, limit=10, lease=60)
    assert len(due) == 10
    await opt_out_rows.confirm_opt_out(s.connection, due[0], found=["c1"])
    await opt_out_rows.postpone_opt_outs(s.connection, [(one, 5.0) for one in due[1:]])


async def _test_mail(s: Session) -> None:
    (due, *_) = await test_mails.due_test_mails(s.connection)
    assert await test_mails.start_test_mail(s.connection, due)
    await test_mails.reset_test_mail(s.connection, due)
    await test_mails.finish_test_mail(s.connection, due)


async def _probes(s: Session) -> None:
    assert await relay_pauses.lease_probe(s.connection, seconds=5)
    await relay_pauses.release_probe(s.connection)
    await relay_pauses.campaigns_with_due_probe(s.connection, limit=10)
    schedule = relay_pauses.ProbeSchedule(1, 10)
    assert await lifecycle.pause(s.connection, SENDING.id, lifecycle.PauseReason.RELAY_DOWN, message="down")
    await relay_pauses.postpone_probe(s.connection, SENDING.id, message="down", schedule=schedule)
    assert await lifecycle.resume_after_relay(s.connection, SENDING.id)


async def _throttle(s: Session) -> None:
    await relay_pauses.report_throttle(s.connection, [SENDING.id], connections=1, rate=1.0)
    assert await relay_pauses.find_throttle(s.connection, org_id=ORG, campaign_id=SENDING.id)
    await relay_pauses.end_throttle(s.connection, [SENDING.id])


async def _draft(s: Session) -> None:
    added = await campaigns.add(s.connection, ORG, _CONTENT, created_by="someone")
    await campaigns.replace_content(s.connection, added, _CONTENT)
    assert await campaigns.find(s.connection, ORG, added.id, for_update=True)
    await campaigns.remove(s.connection, added)
    await audit.add_entry(s.connection, _ACTOR, audit.Action.DELETED, added.id, {})


async def _idempotency(s: Session) -> None:
    await idempotency.stored_response(s.connection, _REQUEST)
    await idempotency.store_response(s.connection, _REQUEST, idempotency.StoredResponse(200, {}, b""))


def _page_of_log(s: Session, after: email_log.LogKey | None = None, **only: Any) -> Any:
    return email_log.page_of_log(s.connection, ORG, SENDING.id, only=email_log.LogFilter(**only), after=after, limit=50)


def _page_of_suppressions(s: Session, search: KeyPrefix | None = None) -> Any:
    return suppression_rows.page_of_suppressions(
        s.connection, org_id=ORG, reasons=[SuppressionReason.HARD_BOUNCE], search=search, before=None, limit=50
    )


_AFTER = email_log.LogKey("person2", UUID(int=0))
_NOW = datetime.now(UTC)

CASES = [
    # ── sends move ──
    Case("results DELIVERED", lambda s: _record(s, SendStatus.DELIVERED)),
    Case("results DEFERRED", lambda s: _record(s, SendStatus.DEFERRED, delay=60.0)),
    Case("results UNCONFIRMED, sent again", lambda s: _record(s, SendStatus.UNCONFIRMED, again=True, delay=60.0)),
    Case("results of a cancelled campaign", _record_cancelled),
    Case(
        "commit results and mark",
        lambda s: commit_results.commit_results(
            s.call,
            SENDING.id,
            results=_results(s, SendStatus.DELIVERED),
            to_mark=[(s.known.claim, send) for send in s.known.waiting],
        ),
    ),
    Case("merge", _merge, also=10_000),
    Case(
        "skip cancelled",
        lambda s: lifecycle.skip_cancelled(s.connection, CANCELLED.id, limit=lifecycle.CANCEL_AT_ONCE),
        role=API,
    ),
    Case("skip the last cancelled", lambda s: lifecycle.skip_cancelled(s.connection, CANCELLED.id, limit=100_000)),
    Case("skip few cancelled", lambda s: lifecycle.skip_cancelled(s.connection, CANCELLED.id, limit=2)),
    Case("settle expired leases", lambda s: expired_leases.settle_expired(s.connection, SENDING.id), also=_BATCH),
    Case("gather due sends", lambda s: batches.gather_due(s.connection, SENDING.id, limit=10_000)),
    Case("gather few due sends", lambda s: batches.gather_due(s.connection, SENDING.id, limit=10)),
    Case(
        "postpone sends",
        lambda s: batches.postpone_sends(s.connection, s.known.claim, {send.id: 5.0 for send in s.known.waiting}),
    ),
    # They look for each address in the three SENDING campaigns of the organisation, twice.
    Case("suppress", _suppress, role=API, also=2 * 3 * 4 * len(_ADDRESSES)),
    Case("suppress, as a worker", _suppress, also=2 * 3 * 4 * len(_ADDRESSES)),
    Case("hard bounce", lambda s: _bounce(s, _BOUNCE)),
    # It looks at the campaigns of the organisation for one that was launched between the two.
    Case("soft bounce", lambda s: _bounce(s, _SOFT), also=500),
    Case("confirm", lambda s: bounces.confirm(s.connection, s.known.unconfirmed)),
    Case(
        "opt out",
        lambda s: opt_outs.record_opt_out(
            s.connection,
            org_id=ORG,
            campaign_id=SENDING.id,
            send_id=s.known.delivered[0].id,
            address=s.known.queued.address,
        ),
        role=API,
    ),
    Case(
        "requeue for a resend",
        lambda s: resend.requeue(s.connection, campaign_id=SENDING.id, send_id=s.known.failed.id, read_at=_NOW),
        role=API,
    ),
    Case("click", lambda s: _click(s, s.known.delivered[-1]), role=API),
    Case("repeated click", lambda s: _click(s, s.known.clicked), role=API),
    Case("click that proves a delivery", lambda s: _click(s, s.known.unconfirmed), role=API),
    Case("click by a machine", _machine_click, role=API),
    Case(
        "opens",
        lambda s: opens.record_opens(
            s.call, [opens.Load(send.id, None) for send in s.known.delivered], soon_seconds=1, soon_reason="SOON"
        ),
        role=API,
    ),
    # ── campaigns ──
    Case("launch", lambda s: lifecycle.launch(s.connection, DRAFT, audience=None), role=API),
    Case("pause", lambda s: lifecycle.pause(s.connection, SENDING.id, lifecycle.PauseReason.USER), role=API),
    Case("resume", lambda s: lifecycle.resume(s.connection, SENDING.id), role=API),
    Case("cancel", lambda s: lifecycle.cancel(s.connection, SENDING.id), role=API),
    Case(
        "fail a launch",
        lambda s: lifecycle.fail_launch(
            s.connection, EXPANDING, epoch=1, code=lifecycle.FailureCode.CRM_REFUSED, message="no"
        ),
    ),
    Case("drafts", _draft, role=API),
    Case("find a campaign", lambda s: campaigns.find(s.connection, ORG, SENDING.id), role=API),
    Case("stats of a campaign", lambda s: campaigns.find_stats(s.connection, ORG, SENDING.id), role=API),
    # The filters select no range of the index, so the page reads the campaigns of the organisation up to its end.
    Case(
        "page of campaigns",
        lambda s: campaigns.newest_first(
            s.connection,
            ORG,
            statuses=[CampaignStatus.SENT],
            name_prefix="Camp",
            after=campaigns.CampaignKey(_NOW + timedelta(days=1), UUID(int=0)),
            limit=20,
        ),
        role=API,
        also=600,
    ),
    # It reads all campaigns of the organisation.
    Case("overview", lambda s: campaigns.overview(s.connection, ORG), role=API, also=600),
    Case("active campaigns", lambda s: campaigns.active_campaigns(s.connection)),
    Case("organisation of a campaign", lambda s: audience_jobs.campaign_organisation(s.connection, SENDING.id)),
    Case("audiences of others", lambda s: audience_jobs.others_wait(s.connection, [ORG])),
    Case(
        "message",
        lambda s: messages.find_message(
            s.connection, SENDING.id, track_clicks=True, postal_addresses=NO_POSTAL_ADDRESSES
        ),
    ),
    # ── batches ──
    Case(
        "batches to enqueue",
        lambda s: batches.take_batches_to_enqueue(s.connection, SENDING.id, window=8, requeue_after=30),
    ),
    Case("claim a batch", lambda s: batches.claim_batch(s.connection, SENDING.id, s.known.first_waiting, lease=60)),
    Case("renew leases", lambda s: batches.renew_leases(s.connection, [s.known.claim], lease=60)),
    Case("release a batch", lambda s: batches.release_batch(s.connection, s.known.claim), also=_BATCH),
    Case(
        "requeue a batch later",
        lambda s: batches.requeue_batch_later(s.connection, s.known.claim, seconds=5, requeue_after=30),
    ),
    Case("next batch", lambda s: batches.next_batch(s.call, s.known.claim, lease=60), also=_BATCH),
    Case("campaigns with expired leases", lambda s: batches.campaigns_with_expired_leases(s.connection)),
    Case("campaigns with due sends", lambda s: batches.campaigns_with_due_sends(s.connection)),
    # ── sends are read ──
    Case("organisation of a send", lambda s: sends.organisation_of_send(s.connection, s.known.failed.id), role=API),
    Case("reported send", lambda s: sends.reported_send(s.connection, s.known.failed.id), role=API),
    Case("link request", lambda s: sends.note_link_request(s.connection, s.known.delivered[0].id), role=API),
    Case(
        "automated request",
        lambda s: sends.looks_automated(s.connection, s.known.delivered[0].id, soon_seconds=5, together_seconds=1),
        role=API,
    ),
    Case(
        "candidate for a resend",
        lambda s: sends.resend_candidate(s.connection, org_id=ORG, campaign_id=SENDING.id, send_id=s.known.failed.id),
        role=API,
    ),
    Case(
        "entry of the log",
        lambda s: email_log.find_entry(s.connection, ORG, SENDING.id, s.known.failed.id),
        role=API,
    ),
    Case("page of the log", lambda s: _page_of_log(s, _AFTER), role=API),
    # It reads sends in the order of the log until the page is full.
    Case("page of the log by state", lambda s: _page_of_log(s, statuses=[SendStatus.DELIVERED]), role=API, also=800),
    Case("page of the log by address", lambda s: _page_of_log(s, prefix="person1234"), role=API),
    Case("page of the log by a name in Unicode", lambda s: _page_of_log(s, prefix="person1@ex\u00e4mple"), role=API),
    Case("links", lambda s: link_clicks.links_of(s.connection, SENDING.id), role=API),
    Case("last minute of the timeline", lambda s: timeline.last_minute(s.connection, SENDING.id), role=API),
    Case(
        "timeline",
        lambda s: timeline.buckets(s.connection, SENDING.id, start=_NOW - timedelta(hours=2), seconds=60),
        role=API,
    ),
    # It reads all campaigns, and the index entries of all pending opt-outs.
    Case("totals for the metrics", lambda s: stats.ledger_stats(s.connection), role=API, also=800),
    # ── expansions and preflights ──
    Case("claim an expansion", lambda s: expansions.claim_expansion(s.connection, EXPANDING, lease=60)),
    Case("stage contacts", _stage),
    Case("postpone an expansion", lambda s: expansions.postpone_expansion(s.connection, _ATTEMPT, delay=5)),
    Case("due expansions", lambda s: expansions.due_expansions(s.connection)),
    Case("clean the staging table", lambda s: expansions.clean_staging(s.connection)),
    Case("preflight", _finish_preflight),
    Case("failed preflight", _fail_preflight),
    Case(
        "find a preflight",
        lambda s: preflights.find_preflight(s.connection, org_id=ORG, campaign_id=SENDING.id),
        role=API,
    ),
    Case(
        "errors of a preflight",
        lambda s: preflights.errors_found(s.connection, org_id=ORG, campaign_id=SMALL[1], version=1),
        role=API,
    ),
    Case(
        "largest message of a preflight",
        lambda s: preflights.largest_octets(s.connection, org_id=ORG, campaign_id=SMALL[1], version=1, eight_bit=True),
        role=API,
    ),
    Case("due preflights", lambda s: preflights.due_preflights(s.connection)),
    # It reads the first 10,000 sends of three campaigns.
    Case("recent pace", lambda s: preflights.recent_pace(s.connection), also=60_000),
    # ── opt-outs and suppressions ──
    Case("due opt-outs", _opt_outs),
    Case(
        "blocked addresses",
        lambda s: opt_out_rows.is_blocked(
            s.connection, org_id=ORG, address=MailboxKey("gone1@example.com"), read_at=_NOW
        ),
        role=API,
    ),
    Case(
        "missed opt-outs",
        lambda s: opt_out_rows.missed_among(
            s.connection, org_id=ORG, unfindable=[("x", MailboxKey("gone1@example.com"))]
        ),
    ),
    # It counts all pending opt-outs of the organisation.
    Case(
        "pending contacts",
        lambda s: opt_out_rows.pending_contacts(s.connection, org_id=ORG, limit=10),
        role=API,
        also=500,
    ),
    Case(
        "find a suppression",
        lambda s: suppression_rows.find_suppression(s.connection, org_id=ORG, address=MailboxKey("full1@example.com")),
        role=API,
    ),
    Case("page of suppressions", _page_of_suppressions, role=API),
    # No index has the addresses in the order of the ids, so the page reads all suppressions of the organisation.
    Case(
        "page of suppressions by a name in Unicode",
        lambda s: _page_of_suppressions(s, read_key_prefix("full1@ex\u00e4mple")),
        role=API,
        also=8000,
    ),
    # It looks for each address.
    Case(
        "suppressed addresses",
        lambda s: suppression_rows.suppressed_among(s.connection, org_id=ORG, addresses=_ADDRESSES),
        also=4 * len(_ADDRESSES),
    ),
    Case("remove a suppression", _remove_suppression, role=API),
    Case("imports of suppressions", _import),
    # It may read the imports of the organisation, which are kept for a week.
    Case(
        "unfinished imports",
        lambda s: suppression_imports.count_unfinished(s.connection, org_id=ORG),
        role=API,
        also=3200,
    ),
    Case(
        "find an import",
        lambda s: suppression_imports.find_import(s.connection, org_id=ORG, import_id=s.known.unfinished_import),
        role=API,
    ),
    Case(
        "page of imports",
        lambda s: suppression_imports.page_of_imports(s.connection, org_id=ORG, before=None, limit=20),
        role=API,
    ),
    # It locks each import before it deletes it.
    Case("forget old imports", lambda s: suppression_imports.forget_old_imports(s.connection), also=200),
    # ── the rest ──
    Case("idempotency keys", _idempotency, role=API),
    Case("forget old responses", lambda s: idempotency.forget_old_responses(s.connection)),
    Case("throttle", _throttle),
    Case("probes of the relay", _probes),
    # A page with a filter reads at most so many entries.
    Case(
        "page of the audit trail",
        lambda s: audit.page_of_entries(
            s.connection,
            ORG,
            only=audit.AuditFilter("nobody", [audit.Action.CREATED], None, _NOW - timedelta(days=1)),
            before=UUID(int=2**128 - 1),
            limit=20,
        ),
        role=API,
        also=audit.MAX_READ,
    ),
    Case(
        "audit trail of a campaign",
        lambda s: audit.page_of_entries(
            s.connection, ORG, only=audit.AuditFilter(campaign_id=uuid4()), before=None, limit=20
        ),
        role=API,
    ),
    Case("test mails", _test_mail),
    Case(
        "add a test mail",
        lambda s: test_mails.add_test_mail(
            s.connection, org_id=ORG, campaign_id=SENDING.id, recipients=["a@example.com"], requested_by="someone"
        ),
        role=API,
    ),
    Case(
        "left out of a test mail",
        lambda s: test_mails.left_out_among(s.connection, org_id=ORG, addresses=[MailboxKey("gone50@example.com")]),
        role=API,
    ),
]
