"""The tables about the relay: pauses that it caused, the probe of it, and what sending is reduced to."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

from marketing_service.db import metadata
from marketing_service.store.columns import NOW, counter, moment
from marketing_service.store.tables import campaigns

relay_pauses = Table(
    "marketing_relay_pauses",
    metadata,
    Column("campaign_id", Uuid, ForeignKey(campaigns.c.id, ondelete="CASCADE"), primary_key=True),
    Column("org_id", Text, nullable=False),
    # The relay's own words.
    Column("message", Text),
    # When the relay is probed next; null if only a person can resume the campaign.
    moment("probe_at"),
    # Pauses in a row, without a message delivered in between: the wait between probes grows with them.
    counter("pauses"),
    # The campaign's counter at the last pause.
    counter("delivered"),
)
"""Why the service paused a campaign because of the relay, and when it probes the relay again."""

relay_probe = Table(
    "marketing_relay_probe",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
"""One row: the worker that leases it probes the relay, so that all workers together make one probe at a time."""

relay_throttles = Table(
    "marketing_relay_throttles",
    metadata,
    Column("campaign_id", Uuid, ForeignKey(campaigns.c.id, ondelete="CASCADE"), primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("connections", Integer, nullable=False),
    Column("messages_per_second", Double),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=NOW),
)
"""What a worker has reduced its sending to for a campaign, as the relay's replies ask."""
