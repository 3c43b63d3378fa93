"""Imports into the suppression list: a file is accepted as a whole, and added in steps, each in its own transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, bindparam, text

from marketing_service.store.suppressions import SuppressionEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_STEPS_PER_STATEMENT = 25
_DELETED_AT_ONCE = 100
KEPT_DAYS = 7
"""Days for which a finished import can be read."""


@dataclass(frozen=True, slots=True)
class NewImport:
    """A file that is accepted. `rejected` are the first of its `rejected_rows` rows that are not taken, as JSON.

    `rows` are the rows with content, `repeated` the addresses that an earlier row has, too.
    """

    rows: int
    repeated: int
    rejected_rows: int
    rejected: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class NewStep:
    """Addresses to add in one transaction, and the number of rows of the file that are done with it."""

    entries: Sequence[SuppressionEntry]
    rows: int


@dataclass(frozen=True, slots=True)
class SuppressionImport:
    """An import and its progress: of its `rows`, `done` are done. So far `added` addresses are new, and `known` ones
    were on the list before."""

    id: UUID
    created_by: str
    created_at: datetime
    rows: int
    done: int
    added: int
    known: int
    repeated: int
    rejected_rows: int
    rejected: Sequence[Mapping[str, Any]]
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimedImport:
    """An unfinished import whose row is locked until the transaction ends."""

    id: UUID
    org_id: str
    created_by: str


_ADD = text(
    """
    INSERT INTO marketing_suppression_imports
        (org_id, created_by, rows, repeated, rejected_rows, rejected, done, added, known, finished_at)
    VALUES (:org_id, :created_by, :rows, :repeated, :rejected_rows, :rejected, :done, :added, :known,
            CASE WHEN :finished THEN now() END)
    RETURNING id
    """
).bindparams(bindparam("rejected", type_=JSON))
_ADD_STEP = text(
    """
    INSERT INTO marketing_suppression_import_steps (org_id, import_id, number, rows, addresses, notes)
    VALUES (:org_id, :import_id, :number, :rows, CAST(:addresses AS text[]), CAST(:notes AS text[]))
    """
)


async def add_finished_import(
    connection: AsyncConnection, new: NewImport, *, org_id: str, created_by: str, added: int, known: int
) -> UUID:
    """Store an import whose addresses were added in the same transaction; returns its id."""
    return await _add(connection, new, org_id, created_by, done=new.rows, added=added, known=known, finished=True)


async def add_import(
    connection: AsyncConnection, new: NewImport, steps: Sequence[NewStep], *, org_id: str, created_by: str
) -> UUID:
    """Store an import with the steps that workers do; returns its id."""
    import_id = await _add(connection, new, org_id, created_by, done=0, added=0, known=0, finished=False)
    rows = [
        {
            "org_id": org_id,
            "import_id": import_id,
            "number": number,
            "rows": step.rows,
            "addresses": [entry.address for entry in step.entries],
            "notes": [entry.note for entry in step.entries],
        }
        for number, step in enumerate(steps)
    ]
    for start in range(0, len(rows), _STEPS_PER_STATEMENT):
        await connection.execute(_ADD_STEP, rows[start : start + _STEPS_PER_STATEMENT])
    return import_id


async def _add(
    connection: AsyncConnection, new: NewImport, org_id: str, created_by: str, **progress: int | bool
) -> UUID:
    values = {
        "org_id": org_id,
        "created_by": created_by,
        "rows": new.rows,
        "repeated": new.repeated,
        "rejected_rows": new.rejected_rows,
        "rejected": list(new.rejected),
    }
    import_id: UUID = (await connection.execute(_ADD, values | progress)).scalar_one()
    return import_id


_UNFINISHED = text("SELECT count(*) FROM marketing_suppression_imports WHERE org_id = :org_id AND finished_at IS NULL")


async def count_unfinished(connection: AsyncConnection, *, org_id: str) -> int:
    """How many imports of the organisation are not finished."""
    return int((await connection.execute(_UNFINISHED, {"org_id": org_id})).scalar_one())


_COLUMNS = "id, created_by, created_at, rows, done, added, known, repeated, rejected_rows, finished_at"
_FIND = text(f"SELECT {_COLUMNS}, rejected FROM marketing_suppression_imports WHERE org_id = :org_id AND id = :id")
_PAGE = text(
    f"""
    SELECT {_COLUMNS}, CAST('[]' AS jsonb) AS rejected FROM marketing_suppression_imports
    WHERE org_id = :org_id AND (CAST(:before AS uuid) IS NULL OR id < :before)
    ORDER BY id DESC LIMIT :limit
    """
)


async def find_import(connection: AsyncConnection, *, org_id: str, import_id: UUID) -> SuppressionImport | None:
    """The import with its progress; None if there is none with this id."""
    key = {"org_id": org_id, "id": import_id}
    row = (await connection.execute(_FIND, key)).mappings().one_or_none()
    return None if row is None else SuppressionImport(**row)


async def page_of_imports(
    connection: AsyncConnection, *, org_id: str, before: UUID | None, limit: int
) -> list[SuppressionImport]:
    """Up to `limit` imports older than `before`, newest first, without their rejected rows."""
    values = {"org_id": org_id, "before": before, "limit": limit}
    return [SuppressionImport(**row) for row in (await connection.execute(_PAGE, values)).mappings()]


_CLAIM = text(
    """
    SELECT id, org_id, created_by FROM marketing_suppression_imports
    WHERE finished_at IS NULL AND (CAST(:after AS uuid) IS NULL OR id > :after)
      AND id <> ALL(CAST(:without AS uuid[]))
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    """
)
_TAKE_STEP = text(
    """
    DELETE FROM marketing_suppression_import_steps
    WHERE import_id = :id AND number = (
        SELECT min(number) FROM marketing_suppression_import_steps WHERE import_id = :id)
    RETURNING rows, addresses, notes
    """
)
_RECORD = text(
    """
    UPDATE marketing_suppression_imports i
    SET done = done + :rows, added = added + :added, known = known + :known,
        finished_at = CASE WHEN NOT EXISTS (
            SELECT FROM marketing_suppression_import_steps s WHERE s.import_id = i.id) THEN now() END
    WHERE id = :id
    RETURNING finished_at IS NOT NULL AS is_finished, added, known
    """
)


async def claim_import(
    connection: AsyncConnection, *, after: UUID | None, without: Collection[UUID]
) -> ClaimedImport | None:
    """Lock the next unfinished import that nobody has locked, in the order of the ids after `after`. None: there is
    none."""
    row = (await connection.execute(_CLAIM, {"after": after, "without": list(without)})).one_or_none()
    return None if row is None else ClaimedImport(row.id, row.org_id, row.created_by)


async def take_step(connection: AsyncConnection, claimed: ClaimedImport) -> NewStep | None:
    """Delete the next step of the claimed import, and return it. None: none is left."""
    row = (await connection.execute(_TAKE_STEP, {"id": claimed.id})).one_or_none()
    if row is None:
        return None
    pairs = zip(row.addresses, row.notes, strict=True)
    return NewStep([SuppressionEntry(address, note) for address, note in pairs], row.rows)


@dataclass(frozen=True, slots=True)
class Progress:
    """An import after a step: whether that was the last one, and its totals."""

    is_finished: bool
    added: int
    known: int


async def record_step(
    connection: AsyncConnection, claimed: ClaimedImport, *, rows: int, added: int, known: int
) -> Progress:
    """Add what a step has done, and finish the import if no step is left."""
    values = {"id": claimed.id, "rows": rows, "added": added, "known": known}
    row = (await connection.execute(_RECORD, values)).one()
    return Progress(row.is_finished, row.added, row.known)


_FORGET = text(
    """
    DELETE FROM marketing_suppression_imports WHERE id IN (
        SELECT id FROM marketing_suppression_imports
        WHERE finished_at < now() - :days * interval '1 day' LIMIT :limit FOR UPDATE SKIP LOCKED)
    """
)


async def forget_old_imports(connection: AsyncConnection) -> None:
    """Delete up to a hundred imports that were finished more than `KEPT_DAYS` days ago."""
    await connection.execute(_FORGET, {"days": KEPT_DAYS, "limit": _DELETED_AT_ONCE})
