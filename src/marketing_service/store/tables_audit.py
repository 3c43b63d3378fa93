"""The table of the audit trail. It is part of `tables.py`, in a file of its own."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Index, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from marketing_service.db import metadata
from marketing_service.store.columns import NEW_ID

audit = Table(
    "marketing_audit",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=NEW_ID),
    Column("org_id", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("actor", Text, nullable=False),
    # No constraint lists the actions: an old process must be able to read what a newer one has written.
    Column("action", Text, nullable=False),
    # No foreign key: the entries of a deleted campaign stay.
    Column("campaign_id", Uuid),
    Column("details", JSONB, nullable=False),
    Index("ix_marketing_audit_newest", "org_id", text("id DESC")),
    Index(
        "ix_marketing_audit_campaign",
        "org_id",
        "campaign_id",
        text("id DESC"),
        postgresql_where=text("campaign_id IS NOT NULL"),
    ),
)
"""Who did what. The roles of the service may add entries, and neither change nor delete them."""
