"""The tables. Constraints make sure that counters which do not add up cannot be committed."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from marketing_service.db import metadata
from marketing_service.languages import Language
from marketing_service.store import tables_audit, tables_imports, tables_reasons, tables_resends  # noqa: F401 - they fill the metadata
from marketing_service.store.columns import NEW_ID, NOW, ZERO, counter, moment, one_of, sum_of
from marketing_service.store.rules import UNSETTLED
from marketing_service.store.states import CampaignStatus, SendStatus, SuppressionOrigin, SuppressionReason

campaigns = Table(
    "marketing_campaigns",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=NEW_ID),
    Column("org_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("from_name", Text),
    Column("from_email", Text, nullable=False),
    Column("reply_to", Text),
    Column("subject", Text, nullable=False),
    Column("preheader", Text),
    Column("html_body", Text),
    Column("text_body", Text),
    Column("audience_type", Text, nullable=False, server_default=text("'ALL'")),
    Column("audience_statuses", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("track_clicks", Boolean, nullable=False, server_default=text("false")),
    Column("language", Text, nullable=False, server_default=text("'en'")),
    # The address in the footer, since the launch.
    Column("postal_address", Text),
    Column("status", Text, nullable=False, server_default=text("'DRAFT'")),
    Column("failure_code", Text),
    Column("failure_message", Text),
    moment("scheduled_at"),
    # The zone in which the author wrote the time; null if the time had an offset.
    Column("scheduled_time_zone", Text),
    # Why the launch that was scheduled last did not happen.
    Column("schedule_problem_code", Text),
    Column("schedule_problem_message", Text),
    moment("launched_at"),
    moment("expanded_at"),
    moment("sent_at"),
    moment("paused_at"),
    Column("pause_reason", Text),
    moment("cancelled_at"),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    Column("version", Integer, nullable=False, server_default=text("1")),
    # The expansion: the epoch and the lease of its attempt, when the next attempt may start, contacts read so far.
    Column("expansion_epoch", Integer, nullable=False, server_default=ZERO),
    moment("expansion_lease_until"),
    moment("expansion_due_at"),
    Column("expansion_fetched", Integer, nullable=False, server_default=ZERO),
    moment("audience_read_at"),
    Column("next_batch", Integer, nullable=False, server_default=ZERO),
    # Batches with this number and higher ones are made of due sends; lower ones are of the expansion.
    Column("first_retry_batch", Integer, nullable=False, server_default=ZERO),
    counter("recipients"),
    counter("queued"),
    counter("sending"),
    counter("deferred"),
    counter("delivered"),
    counter("failed"),
    counter("skipped"),
    counter("unconfirmed"),
    counter("opens"),
    counter("opens_delivered"),
    counter("machine_opens"),
    counter("machine_opens_delivered"),
    counter("clicks"),
    counter("unsubscribes"),
    counter("hard_bounces"),
    counter("soft_bounces"),
    CheckConstraint(one_of("status", CampaignStatus), name="status"),
    CheckConstraint(one_of("language", Language), name="language"),
    CheckConstraint("audience_type IN ('ALL', 'BY_STATUS')", name="audience_type"),
    CheckConstraint("(audience_type = 'BY_STATUS') = (cardinality(audience_statuses) > 0)", name="audience_statuses"),
    CheckConstraint(f"recipients = {sum_of(SendStatus)}", name="ledger_adds_up"),
    CheckConstraint(
        "least(queued, sending, deferred, delivered, failed, skipped, unconfirmed, opens, opens_delivered) >= 0",
        name="no_negative_counter",
    ),
    CheckConstraint("opens <= recipients AND opens_delivered <= delivered", name="opens"),
    CheckConstraint(
        "least(machine_opens, machine_opens_delivered, clicks, unsubscribes, hard_bounces, soft_bounces) >= 0 "
        "AND machine_opens <= opens AND machine_opens_delivered <= opens_delivered "
        "AND greatest(clicks, unsubscribes) <= recipients AND hard_bounces + soft_bounces <= failed",
        name="engagement",
    ),
    CheckConstraint("status NOT IN ('DRAFT', 'FAILED') OR recipients = 0", name="no_recipients_before_launch"),
    CheckConstraint("recipients = 0 OR expanded_at IS NOT NULL", name="no_recipients_before_expansion"),
    CheckConstraint(
        f"expanded_at IS NULL OR (status = 'SENT') = ({sum_of(UNSETTLED)} = 0)", name="sent_when_all_sends_are_settled"
    ),
    CheckConstraint("(status = 'FAILED') = (failure_code IS NOT NULL)", name="failure"),
    CheckConstraint("(paused_at IS NULL) = (pause_reason IS NULL)", name="pause_reason"),
    CheckConstraint("scheduled_time_zone IS NULL OR scheduled_at IS NOT NULL", name="scheduled_time_zone"),
    CheckConstraint("(schedule_problem_code IS NULL) = (schedule_problem_message IS NULL)", name="schedule_problem"),
    Index("ix_marketing_campaigns_newest", "org_id", text("created_at DESC"), text("id DESC")),
    # The drafts that are launched later.
    Index(
        "ix_marketing_campaigns_scheduled",
        "scheduled_at",
        postgresql_where=text("status = 'DRAFT' AND scheduled_at IS NOT NULL"),
    ),
    # What the sweep reads. It is small, because a campaign is SENDING only for some time.
    Index("ix_marketing_campaigns_sending", "org_id", postgresql_where=text("status = 'SENDING'")),
)
"""A message and its audience, and the counters over its sends."""


sends = Table(
    "marketing_sends",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=NEW_ID),
    Column("org_id", Text, nullable=False),
    # No foreign key: its check would cost a merge of a million rows several seconds. Only the merge inserts here, and
    # it has locked the campaign's row.
    Column("campaign_id", Uuid, nullable=False),
    Column("contact_id", Text(collation="C"), nullable=False),
    Column("email", Text, nullable=False),
    Column("address", Text(collation="C"), nullable=False),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("company_name", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    # The batch in which it waits or from which it was last sent; null after it was deferred, postponed or resent.
    Column("batch", Integer),
    moment("due_at"),
    # Submissions so far. `tries` counts the same, but starts again with a resend.
    Column("attempts", SmallInteger, nullable=False, server_default=ZERO),
    Column("tries", SmallInteger, nullable=False, server_default=ZERO),
    Column("smtp_code", SmallInteger),
    Column("enhanced_code", Text),
    Column("error_message", Text),
    Column("queued_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    # When it was first marked: the Date of every attempt.
    moment("marked_at"),
    moment("sent_at"),
    moment("unconfirmed_at"),
    # When the CRM last said that this contact may be mailed, if that was later than the campaign's `audience_read_at`.
    moment("consent_read_at"),
    moment("opened_at"),
    moment("last_opened_at"),
    Column("open_count", Integer, nullable=False, server_default=ZERO),
    # Why all its loads so far look like a machine's; null before the first load, and once a load looks like a person's.
    Column("machine_reason", Text),
    moment("clicked_at"),
    # When a link of the message, or the head of its pixel, was last requested by a person or a machine. It is written
    # for one rule (store/rules.py, requested_together) and shown nowhere.
    moment("link_requested_at"),
    moment("unsubscribed_at"),
    CheckConstraint(one_of("status", SendStatus), name="status"),
    CheckConstraint("due_at IS NULL OR (batch IS NULL AND status IN ('QUEUED', 'DEFERRED'))", name="due_at"),
    CheckConstraint("(open_count = 0) = (opened_at IS NULL)", name="open_count"),
    CheckConstraint("machine_reason IS NULL OR opened_at IS NOT NULL", name="machine_reason"),
    UniqueConstraint("campaign_id", "contact_id"),
    Index("ix_marketing_sends_log", "campaign_id", "address", "id"),
    # No index has `status`, so that the updates of the hot path are heap-only. These three have few or unchanging rows.
    Index("ix_marketing_sends_batch", "campaign_id", "batch", postgresql_where=text("batch IS NOT NULL")),
    Index("ix_marketing_sends_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("ix_marketing_sends_due_in_campaign", "campaign_id", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    # One commit may mark every row of a page. Each row needs room on the page for its next version.
    postgresql_with={"fillfactor": "50"},
)
"""One row per contact of one campaign."""


batches = Table(
    "marketing_batches",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    # The fence: every claim and every release raises the epoch. A write that names an older epoch changes nothing.
    Column("epoch", Integer, nullable=False, server_default=ZERO),
    moment("lease_until"),
    # When it was last enqueued; null while it waits for a place in the campaign's window.
    moment("enqueued_at"),
    Column("enqueue_count", Integer, nullable=False, server_default=ZERO),
    PrimaryKeyConstraint("campaign_id", "number"),
    Index(
        "ix_marketing_batches_waiting",
        "campaign_id",
        postgresql_where=text("enqueued_at IS NOT NULL AND lease_until IS NULL"),
    ),
    Index("ix_marketing_batches_leased", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
)
"""Up to 100 sends of one campaign; the queue holds its number. The row is deleted when all its sends are settled."""


staged_contacts = Table(
    "marketing_staged_contacts",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Uuid, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("page", Integer, nullable=False),
    Column("contact_id", Text(collation="C"), nullable=False),
    Column("email", Text, nullable=False),
    Column("address", Text(collation="C"), nullable=False),
    Column("deliverable", Boolean, nullable=False),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("company_name", Text),
    # Whether a search of the CRM for the address finds this contact in this spelling.
    Column("findable", Boolean, nullable=False, server_default=text("true")),
    Index("ix_marketing_staged_contacts_attempt", "campaign_id", "epoch"),
    prefixes=["UNLOGGED"],
)
"""What an expansion has read so far. Unlogged: if a crash empties it, the merge finds too few rows and fails."""


opt_outs = Table(
    "marketing_opt_outs",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("address", Text(collation="C"), nullable=False),
    Column("contact_ids", ARRAY(Text), nullable=False),
    Column("opted_out_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    # When the CRM had it for every contact with the address; null: the opt-out blocks, whatever the CRM says.
    moment("confirmed_at"),
    moment("due_at"),
    Column("tries", Integer, nullable=False, server_default=ZERO),
    PrimaryKeyConstraint("org_id", "address"),
    CheckConstraint("(confirmed_at IS NULL) = (due_at IS NOT NULL)", name="due_until_confirmed"),
    Index("ix_marketing_opt_outs_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("ix_marketing_opt_outs_pending", "org_id", postgresql_where=text("due_at IS NOT NULL")),
)
"""Addresses that want no more mail; written to the CRM afterwards."""


suppressions = Table(
    "marketing_suppressions",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=NEW_ID),
    Column("org_id", Text, nullable=False),
    Column("address", Text(collation="C"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("origin", Text, nullable=False),
    # The campaign whose send bounced.
    Column("campaign_id", Uuid),
    Column("note", Text),
    Column("created_by", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    CheckConstraint(one_of("reason", SuppressionReason), name="reason"),
    CheckConstraint(one_of("origin", SuppressionOrigin), name="origin"),
    UniqueConstraint("org_id", "address"),
    Index("ix_marketing_suppressions_newest", "org_id", text("id DESC")),
)
"""Addresses that must not be mailed, whatever the CRM says."""

soft_bounces = Table(
    "marketing_soft_bounces",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("address", Text(collation="C"), nullable=False),
    Column("in_a_row", Integer, nullable=False),
    Column("last_send_id", Uuid, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    PrimaryKeyConstraint("org_id", "address"),
)
"""On how many UTC days messages to an address bounced softly in a row, and when the last counted report arrived."""

links = Table(
    "marketing_links",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    # A Liquid template, as its author wrote it.
    Column("url", Text, nullable=False),
    counter("clicks"),
    counter("total_clicks"),
    counter("machine_clicks"),
    PrimaryKeyConstraint("campaign_id", "number"),
)
"""The URLs of a campaign's tracked links: a click is redirected to these URLs only."""

clicks = Table(
    "marketing_clicks",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("send_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("first_clicked_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    Column("clicks", Integer, nullable=False, server_default=text("1")),
    PrimaryKeyConstraint("send_id", "number"),
)
"""The links that the recipient of a send has followed."""

timeline = Table(
    "marketing_timeline",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Uuid, nullable=False),
    Column("minute", DateTime(timezone=True), nullable=False),
    counter("delivered"),
    counter("opens"),
    counter("clicks"),
    counter("unsubscribes"),
    PrimaryKeyConstraint("campaign_id", "minute"),
    # Each commit of a SENDING campaign updates one row. Room on the page makes these updates heap-only.
    postgresql_with={"fillfactor": "50"},
)
"""What happened to a campaign's sends in each minute."""

test_mails = Table(
    "marketing_test_mails",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=NEW_ID),
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Uuid, ForeignKey(campaigns.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("recipients", ARRAY(Text), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    # Set before the first message is submitted, so that a crash sends no message twice.
    moment("started_at"),
    moment("finished_at"),
    Index("ix_marketing_test_mails_due", "created_at", postgresql_where=text("started_at IS NULL")),
)
"""Requested test mails; no counter counts them."""

idempotency_keys = Table(
    "marketing_idempotency_keys",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("key", Text(collation="C"), nullable=False),
    # A request is the same if it has the same method and path, and the same SHA-256 of its body.
    Column("route", Text, nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    PrimaryKeyConstraint("org_id", "key"),
    Index("ix_marketing_idempotency_keys_created_at", "created_at"),
)
"""The responses to requests with an idempotency key, written in the transactions of those requests."""

preflights = Table(
    "marketing_preflights",
    metadata,
    Column("campaign_id", Uuid, ForeignKey(campaigns.c.id, ondelete="CASCADE"), primary_key=True),
    Column("org_id", Text, nullable=False),
    # The version of the campaign that was requested: the report says nothing about another one.
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'RUNNING'")),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    moment("finished_at"),
    # The epoch and the lease of its attempt, when the next attempt may start, contacts read so far, contacts expected.
    Column("epoch", Integer, nullable=False, server_default=ZERO),
    moment("lease_until"),
    moment("due_at"),
    Column("fetched", Integer, nullable=False, server_default=ZERO),
    Column("expected", Integer),
    Column("failure", Text),
    Column("report", JSONB(none_as_null=True)),
    Column("errors", Integer, nullable=False, server_default=ZERO),
    CheckConstraint("status IN ('RUNNING', 'DONE', 'FAILED')", name="status"),
    CheckConstraint("(status = 'RUNNING') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("(status = 'RUNNING') = (due_at IS NOT NULL)", name="due_while_running"),
    CheckConstraint("(status = 'DONE') = (report IS NOT NULL)", name="report"),
    CheckConstraint("(status = 'FAILED') = (failure IS NOT NULL)", name="failure"),
    Index("ix_marketing_preflights_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
)
"""The last preflight of each campaign."""
