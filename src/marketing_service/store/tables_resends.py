"""The table of the bulk resends. It is part of `tables.py`, in a file of its own."""

from __future__ import annotations

from sqlalchemy import ARRAY, CheckConstraint, Column, DateTime, ForeignKey, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from marketing_service.db import metadata
from marketing_service.store.columns import NEW_ID, ZERO

_CLOCK = text("clock_timestamp()")

resends = Table(
    "marketing_resends",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=NEW_ID),
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Uuid, ForeignKey("marketing_campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_CLOCK),
    # Which sends: in one of these states, and for one of these reasons; without a reason, for any.
    Column("statuses", ARRAY(Text), nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("matching", Integer, nullable=False),
    Column("accepted", Integer, nullable=False, server_default=ZERO),
    # Why sends were not queued again → how many.
    Column("refused", JSONB, nullable=False, server_default=text("'{}'")),
    # The contact of the last send that was read: a step goes on after it, in the order of the contacts.
    Column("after_contact", Text(collation="C"), nullable=False, server_default=text("''")),
    Column("epoch", Integer, nullable=False, server_default=ZERO),
    Column("lease_until", DateTime(timezone=True)),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=_CLOCK),
    # How often the CRM could not be asked in a row.
    Column("failures", Integer, nullable=False, server_default=ZERO),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint("least(matching, accepted, failures) >= 0", name="no_negative_counter"),
    # One at a time for each campaign. Workers look for the next one here, too.
    Index("ix_marketing_resends_unfinished", "campaign_id", unique=True, postgresql_where=text("finished_at IS NULL")),
)
"""Requests to send all failed or unconfirmed sends of a campaign again, and how far each has come."""
