"""The table of the reasons. It is part of `tables.py`, in a file of its own."""

from __future__ import annotations

from sqlalchemy import Column, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid

from marketing_service.db import metadata

reasons = Table(
    "marketing_reasons",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    # Empty, or 0: the sends have none.
    Column("reason", Text, nullable=False),
    Column("smtp_code", SmallInteger, nullable=False),
    Column("enhanced_code", Text, nullable=False),
    # No constraint: processes of the release before this table move sends, too, and do not count them here. If a
    # constraint refused a negative number, the next commit of the campaign would fail. `reconcile` corrects it.
    Column("sends", Integer, nullable=False),
    PrimaryKeyConstraint("campaign_id", "status", "reason", "smtp_code", "enhanced_code"),
    # Commits update few rows again and again. Room on the page makes these updates heap-only.
    postgresql_with={"fillfactor": "50"},
)
"""How many sends of a campaign failed, were skipped or are deferred, for each reason (`ledger/reasons.py`)."""
