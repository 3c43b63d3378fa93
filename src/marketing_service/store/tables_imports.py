"""The tables of imports into the suppression list. They are part of `tables.py`, in a file of their own."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from marketing_service.db import metadata
from marketing_service.store.columns import NEW_ID, NOW, counter, moment

suppression_imports = Table(
    "marketing_suppression_imports",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=NEW_ID),
    Column("org_id", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    # The rows of the file; how many of them are done. Rows that are not taken are done with the step that they are in.
    Column("rows", Integer, nullable=False),
    counter("done"),
    # Addresses: new ones, those that were on the list before, those that an earlier row of the file has, too.
    counter("added"),
    counter("known"),
    Column("repeated", Integer, nullable=False),
    # The rows that are not taken: all are counted, the first of them are listed.
    Column("rejected_rows", Integer, nullable=False),
    Column("rejected", JSONB, nullable=False),
    moment("finished_at"),
    CheckConstraint("least(done, added, known, repeated, rejected_rows) >= 0", name="no_negative_counter"),
    CheckConstraint("greatest(done, rejected_rows) <= rows", name="rows"),
    CheckConstraint("finished_at IS NULL OR done = rows", name="finished_when_all_rows_are_done"),
    Index("ix_marketing_suppression_imports_newest", "org_id", text("id DESC")),
    # What workers look for. It is small, because an import is finished after some seconds.
    Index("ix_marketing_suppression_imports_unfinished", "id", postgresql_where=text("finished_at IS NULL")),
    Index(
        "ix_marketing_suppression_imports_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")
    ),
)
"""Files with addresses that were imported in the last days, or are being imported."""

suppression_import_steps = Table(
    "marketing_suppression_import_steps",
    metadata,
    Column("org_id", Text, nullable=False),
    Column("import_id", Uuid, ForeignKey(suppression_imports.c.id, ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    # The rows of the file that are done with this step, and its addresses with their notes, in the order of the file.
    Column("rows", Integer, nullable=False),
    Column("addresses", ARRAY(Text), nullable=False),
    Column("notes", ARRAY(Text), nullable=False),
    PrimaryKeyConstraint("import_id", "number"),
)
"""What is left to be done of an import. The transaction that does a step deletes its row."""
