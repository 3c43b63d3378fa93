"""Two ledgers side by side: PostgreSQL and its model. The same steps, the same rows, the same answers."""

from __future__ import annotations

import time
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from simulation.model.database import DirectLink, ModelDatabase
from simulation.model.rows import (
    Batch,
    Campaign,
    OptOut,
    Reason,
    RelayPause,
    RelayProbe,
    RelayThrottle,
    Send,
    Suppression,
    Table,
    key_of,
)
from simulation.model.work import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from marketing_service.db import Database
    from simulation.model.rows import Row

TABLES: Mapping[Table, tuple[str, type[Row]]] = {
    Table.CAMPAIGNS: ("marketing_campaigns", Campaign),
    Table.SENDS: ("marketing_sends", Send),
    Table.BATCHES: ("marketing_batches", Batch),
    Table.OPT_OUTS: ("marketing_opt_outs", OptOut),
    Table.SUPPRESSIONS: ("marketing_suppressions", Suppression),
    Table.PAUSES: ("marketing_relay_pauses", RelayPause),
    Table.PROBE: ("marketing_relay_probe", RelayProbe),
    Table.THROTTLES: ("marketing_relay_throttles", RelayThrottle),
    Table.REASONS: ("marketing_reasons", Reason),
}
ORG = "acme"
_TOLERANCE = 300.0
"""Seconds. The steps use delays of thousands of seconds, so a slow machine cannot make two moments equal."""


class TwoLedgers:
    """The steps of a sequence run on `postgres` and on `model`."""

    def __init__(self, postgres: Database) -> None:
        self.postgres = postgres
        self.ledger = Ledger(time.time)
        self.model = ModelDatabase(self.ledger, DirectLink())

    async def begin(self, rows: Iterable[Row]) -> None:
        """Empty both, and insert these rows in both."""
        self.ledger.tables.rows = {table: {} for table in Table}
        async with self.postgres.transaction() as tx:
            for name, _ in TABLES.values():
                await tx.connection.execute(text(f"DELETE FROM {name}"))
            for row in rows:
                self.ledger.tables.insert(row)
                name, _ = TABLES[key_of(row)[0]]
                values = _values_for_postgres(row)
                columns, places = ", ".join(values), ", ".join(f":{column}" for column in values)
                await tx.connection.execute(text(f"INSERT INTO {name} ({columns}) VALUES ({places})"), values)

    async def differences(self) -> list[str]:
        """What is not the same in the rows of both."""
        found = []
        async with self.postgres.transaction() as tx:
            for table, (name, kind) in TABLES.items():
                columns = [field.name for field in fields(kind)]
                answer = await tx.connection.execute(text(f"SELECT {', '.join(columns)} FROM {name}"))
                real = {key_of(row): asdict(row) for row in (kind(**values) for values in answer.mappings())}
                modelled = {key_of(row): asdict(row) for row in self.ledger.tables.rows[table].values()}
                if not same(real, modelled):
                    found.append(f"{name}\n  PostgreSQL: {real}\n  model:      {modelled}")
        return found


def _values_for_postgres(row: Row) -> dict[str, Any]:
    values = {
        name: datetime.fromtimestamp(value, UTC) if name.endswith(("_at", "_until")) and value is not None else value
        for name, value in asdict(row).items()
    }
    match row:
        case Campaign():
            values |= {"name": "x", "subject": "x", "created_by": "x"}
        case Send():
            values |= {"contact_id": str(row.id)}
    return values


def same(real: Any, modelled: Any) -> bool:
    """Whether two answers mean the same: moments may differ by some seconds, the order of ids may differ."""
    real, modelled = _plain(real), _plain(modelled)
    if isinstance(real, float) and isinstance(modelled, float):
        return abs(real - modelled) < _TOLERANCE
    if isinstance(real, dict) and isinstance(modelled, dict):
        return real.keys() == modelled.keys() and all(same(value, modelled[key]) for key, value in real.items())
    if isinstance(real, list) and isinstance(modelled, list):
        return len(real) == len(modelled) and all(map(same, real, modelled))
    return bool(real == modelled)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, list) and value and all(isinstance(item, UUID) for item in value):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value
