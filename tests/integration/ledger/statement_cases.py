"""Calls of every function of `ledger/` and `store/` that runs a statement, on the ledger of `large_ledger.py`.

A case calls one function as the service does. A function with optional parts has a case for each.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from marketing_service.addresses import MailboxKey, read_key_prefix
from marketing_service.ledger import (
    bounces,
    commit_results,
    expired_leases,
    lifecycle,
    opens,
    opt_outs,
    reconcile,
    resend,
)
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
    reasons,
    schema,
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
)
from tests.integration.ledger.large_ledger import CANCELLED, DRAFT, EXPANDING, SENDING, SMALL
from tests.integration.ledger.statement_calls import (
    ADDRESSES,
    API,
    ATTEMPT,
    BATCH,
    BOUNCE,
    SOFT,
    Case,
    run_add_resend,
    run_bounce,
    run_click,
    run_commit_of_last_release,
    run_draft,
    run_fail_preflight,
    run_failed_schedule,
    run_finish_preflight,
    run_idempotency,
    run_import,
    run_machine_click,
    run_merge,
    run_opt_outs,
    run_page_of_log,
    run_page_of_suppressions,
    run_probes,
    run_record,
    run_record_cancelled,
    run_remove_suppression,
    run_resend_step,
    run_results,
    run_schedule,
    run_stage,
    run_suppress,
    run_test_mail,
    run_throttle,
)
from tests.support.ledger import ORG

_AFTER = email_log.LogKey("person2", UUID(int=0))
_NOW = datetime.now(UTC)

CASES = [
    # ── sends move ──
    Case("results DELIVERED", lambda s: run_record(s, SendStatus.DELIVERED)),
    Case("results DEFERRED", lambda s: run_record(s, SendStatus.DEFERRED, delay=60.0)),
    Case("results UNCONFIRMED, sent again", lambda s: run_record(s, SendStatus.UNCONFIRMED, again=True, delay=60.0)),
    Case("results of a cancelled campaign", run_record_cancelled),
    Case(
        "commit results and mark",
        lambda s: commit_results.commit_results(
            s.call,
            SENDING.id,
            results=run_results(s, SendStatus.DELIVERED),
            to_mark=[(s.known.claim, send) for send in s.known.waiting],
        ),
    ),
    Case("commit results and mark, as the last release does", run_commit_of_last_release),
    Case(
        "what a lost answer said",
        lambda s: commit_results.committed_before(
            s.call,
            SENDING.id,
            results=run_results(s, SendStatus.DELIVERED),
            to_mark=[(s.known.claim, send) for send in s.known.waiting],
        ),
        also=600,  # it returns all sends in one row
    ),
    # The merge reads all that is staged, with the plans of its choice.
    Case("merge", run_merge, also=10_000),
    Case(
        "skip cancelled",
        lambda s: lifecycle.skip_cancelled(s.connection, CANCELLED.id, limit=lifecycle.CANCEL_AT_ONCE),
        role=API,
    ),
    Case("skip the last cancelled", lambda s: lifecycle.skip_cancelled(s.connection, CANCELLED.id, limit=100_000)),
    Case("skip few cancelled", lambda s: lifecycle.skip_cancelled(s.connection, CANCELLED.id, limit=2)),
    Case("settle expired leases", lambda s: expired_leases.settle_expired(s.connection, SENDING.id), also=BATCH),
    Case("gather due sends", lambda s: batches.gather_due(s.connection, SENDING.id, limit=10_000)),
    Case("gather few due sends", lambda s: batches.gather_due(s.connection, SENDING.id, limit=10)),
    Case(
        "postpone sends",
        lambda s: batches.postpone_sends(s.connection, s.known.claim, {send.id: 5.0 for send in s.known.waiting}),
    ),
    # They look for each address in the three SENDING campaigns of the organisation, twice.
    Case("suppress", run_suppress, role=API, also=2 * 3 * 4 * len(ADDRESSES)),
    Case("suppress, as a worker", run_suppress, also=2 * 3 * 4 * len(ADDRESSES)),
    Case("hard bounce", lambda s: run_bounce(s, BOUNCE)),
    # It looks at the campaigns of the organisation for one that was launched between the two.
    Case("soft bounce", lambda s: run_bounce(s, SOFT), also=500),
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
    # It sums the reasons of the campaign.
    Case("add a bulk resend", run_add_resend, role=API, also=1_100),
    # It reads a window of the campaign, and looks for each contact's address in two lists.
    Case("step of a bulk resend", run_resend_step, also=2_000),
    Case("click", lambda s: run_click(s, s.known.delivered[-1]), role=API),
    Case("repeated click", lambda s: run_click(s, s.known.clicked), role=API),
    Case("click that proves a delivery", lambda s: run_click(s, s.known.unconfirmed), role=API),
    Case("click by a machine", run_machine_click, role=API),
    Case(
        "opens",
        lambda s: opens.record_opens(
            s.call, [opens.Load(send.id, None) for send in s.known.delivered], soon_seconds=1, soon_reason="SOON"
        ),
        role=API,
    ),
    # ── campaigns ──
    Case("launch", lambda s: lifecycle.launch(s.connection, DRAFT, audience=None), role=API),
    Case("schedule", lambda s: run_schedule(s, DRAFT), role=API),
    Case("end a schedule", lambda s: run_failed_schedule(s, DRAFT)),
    Case("pause", lambda s: lifecycle.pause(s.connection, SENDING.id, lifecycle.PauseReason.USER), role=API),
    Case("resume", lambda s: lifecycle.resume(s.connection, SENDING.id), role=API),
    Case("cancel", lambda s: lifecycle.cancel(s.connection, SENDING.id), role=API),
    Case(
        "fail a launch",
        lambda s: lifecycle.fail_launch(
            s.connection, EXPANDING, epoch=1, code=lifecycle.FailureCode.CRM_REFUSED, message="no"
        ),
    ),
    Case("drafts", run_draft, role=API),
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
    Case("release a batch", lambda s: batches.release_batch(s.connection, s.known.claim), also=BATCH),
    Case(
        "requeue a batch later",
        lambda s: batches.requeue_batch_later(s.connection, s.known.claim, seconds=5, requeue_after=30),
    ),
    Case("next batch", lambda s: batches.next_batch(s.call, s.known.claim, lease=60), also=BATCH),
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
    Case("page of the log", lambda s: run_page_of_log(s, _AFTER), role=API),
    # It reads sends in the order of the log until the page is full.
    Case("page of the log by state", lambda s: run_page_of_log(s, statuses=[SendStatus.DELIVERED]), role=API, also=800),
    Case("page of the log by address", lambda s: run_page_of_log(s, prefix="person1234"), role=API),
    Case("page of the log by a name in Unicode", lambda s: run_page_of_log(s, prefix="person1@ex\u00e4mple"), role=API),
    Case("reasons", lambda s: reasons.reasons_of(s.connection, SENDING.id), role=API),
    Case("links", lambda s: link_clicks.links_of(s.connection, SENDING.id), role=API),
    Case("last delivery of the timeline", lambda s: timeline.last_delivery(s.connection, SENDING.id), role=API),
    Case("last minute of the timeline", lambda s: timeline.last_minute(s.connection, SENDING.id), role=API),
    Case(
        "timeline",
        lambda s: timeline.buckets(s.connection, SENDING.id, start=_NOW - timedelta(hours=2), seconds=60),
        role=API,
    ),
    # It reads all campaigns, and the index entries of all pending opt-outs.
    Case("the revision of the schema", lambda s: schema.require_schema(s.connection), role=API),
    Case("totals for the metrics", lambda s: stats.ledger_stats(s.connection), role=API, also=800),
    # ── expansions and preflights ──
    Case("claim an expansion", lambda s: expansions.claim_expansion(s.connection, EXPANDING, lease=60)),
    Case("stage contacts", run_stage),
    Case("postpone an expansion", lambda s: expansions.postpone_expansion(s.connection, ATTEMPT, delay=5)),
    Case("due expansions", lambda s: expansions.due_expansions(s.connection)),
    Case("clean the staging table", lambda s: expansions.clean_staging(s.connection)),
    Case("preflight", run_finish_preflight),
    Case("failed preflight", run_fail_preflight),
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
    Case("due opt-outs", run_opt_outs),
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
    Case("page of suppressions", run_page_of_suppressions, role=API),
    # No index has the addresses in the order of the ids, so the page reads all suppressions of the organisation.
    Case(
        "page of suppressions by a name in Unicode",
        lambda s: run_page_of_suppressions(s, read_key_prefix("full1@ex\u00e4mple")),
        role=API,
        also=8000,
    ),
    # It looks for each address.
    Case(
        "suppressed addresses",
        lambda s: suppression_rows.suppressed_among(s.connection, org_id=ORG, addresses=ADDRESSES),
        also=4 * len(ADDRESSES),
    ),
    Case("remove a suppression", run_remove_suppression, role=API),
    Case("imports of suppressions", run_import),
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
    # ── what operators run ──
    Case("compare a small campaign", lambda s: reconcile.differences(s.connection, SMALL[1])),
    Case("correct a small campaign", lambda s: reconcile.correct(s.connection, SMALL[1])),
    Case("expanded campaigns", lambda s: reconcile.expanded_campaigns(s.connection)),
    Case("sending campaigns", lambda s: campaigns.sending_campaigns(s.connection)),
    # ── the rest ──
    Case("idempotency keys", run_idempotency, role=API),
    Case("forget old responses", lambda s: idempotency.forget_old_responses(s.connection)),
    Case("throttle", run_throttle),
    Case("probes of the relay", run_probes),
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
    Case("test mails", run_test_mail),
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
