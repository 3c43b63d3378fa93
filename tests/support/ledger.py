"""Reads the ledger from the rows, as an auditor would, and makes campaigns for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import insert, text

from marketing_service.ledger import expansion, lifecycle
from marketing_service.ledger.counters import COUNTERS, TIMELINE
from marketing_service.store import expansions
from marketing_service.store.states import MOVES
from marketing_service.store.tables import campaigns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Database

ORG = "acme"

_AUDIT = (
    "CREATE TABLE audited_moves (was text, now_is text)",
    "GRANT INSERT ON audited_moves TO PUBLIC",
    """
    CREATE FUNCTION audit_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF old.status <> new.status THEN
            INSERT INTO audited_moves (was, now_is) VALUES (old.status, new.status);
        END IF;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER audit_move AFTER UPDATE ON marketing_sends FOR EACH ROW EXECUTE FUNCTION audit_move()",
)


async def audit_moves(owner: Database) -> None:
    """From now on, record every move of a send, from any session."""
    async with owner.transaction() as tx:
        for statement in _AUDIT:
            await tx.connection.execute(text(statement))


async def illegal_moves(owner: Database) -> set[tuple[str, str]]:
    """The recorded moves that are not in MOVES."""
    async with owner.transaction() as tx:
        rows = (await tx.connection.execute(text("SELECT DISTINCT was, now_is FROM audited_moves"))).all()
    return {(row.was, row.now_is) for row in rows} - {(str(was), str(now)) for was, now in MOVES}


@dataclass(frozen=True)
class Count:
    """A campaign's counters, a count over its rows, and the sums of its timeline; its reasons, and a count of these."""

    counters: dict[str, int]
    rows: dict[str, int]
    timeline: dict[str, int]
    reasons: dict[tuple[Any, ...], int]
    counted_reasons: dict[tuple[Any, ...], int]


_COUNTERS = f"SELECT recipients, {', '.join(COUNTERS)} FROM marketing_campaigns WHERE id = :id"
_ROWS = (
    "SELECT count(*) AS recipients, "
    + ", ".join(f"count(*) FILTER (WHERE {counts.format(row='s')}) AS {name}" for name, counts in COUNTERS.items())
    + " FROM marketing_sends s WHERE campaign_id = :id"
)
_TIMELINE = (
    f"SELECT {', '.join(f'coalesce(sum({name}), 0) AS {name}' for name in TIMELINE)}"
    " FROM marketing_timeline WHERE campaign_id = :id"
)


_REASONS = (
    "SELECT status, reason, smtp_code, enhanced_code, sends FROM marketing_reasons"
    " WHERE campaign_id = :id AND sends <> 0"
)
# Written again, so that a mistake in the fragments of the ledger is found.
_COUNTED_REASONS = """
    SELECT status, coalesce(reason, ''), 0, '', count(*) AS sends FROM marketing_sends
    WHERE campaign_id = :id AND status = 'SKIPPED' GROUP BY 1, 2
    UNION ALL
    SELECT status, coalesce(reason, ''), coalesce(smtp_code, 0), coalesce(enhanced_code, ''), count(*)
    FROM marketing_sends WHERE campaign_id = :id AND status IN ('FAILED', 'DEFERRED') GROUP BY 1, 2, 3, 4
"""


async def count(owner: Database, campaign_id: UUID) -> Count:
    async with owner.transaction() as tx:
        found = [
            dict((await tx.connection.execute(text(sql), {"id": campaign_id})).mappings().one())
            for sql in (_COUNTERS, _ROWS, _TIMELINE)
        ]
        reasons = [
            {tuple(row)[:-1]: row.sends for row in await tx.connection.execute(text(sql), {"id": campaign_id})}
            for sql in (_REASONS, _COUNTED_REASONS)
        ]
    return Count(*found, *reasons)


async def assert_adds_up(owner: Database, campaign_id: UUID) -> dict[str, int]:
    """Assert that the counters and the reasons equal a count over the rows; returns the counters.

    The timeline has at least as much: a bounce or a resend does not take a delivery out of it.
    """
    found = await count(owner, campaign_id)
    assert found.counters == found.rows
    assert found.reasons == found.counted_reasons
    assert all(found.timeline[name] >= found.counters[name] for name in TIMELINE), found
    return found.counters


async def campaign_row(owner: Database, campaign_id: UUID) -> dict[str, Any]:
    async with owner.transaction() as tx:
        row = (
            (await tx.connection.execute(text("SELECT * FROM marketing_campaigns WHERE id = :id"), {"id": campaign_id}))
            .mappings()
            .one()
        )
    return dict(row)


async def send_rows(owner: Database, campaign_id: UUID) -> list[dict[str, Any]]:
    """The campaign's sends, by contact."""
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(
            text("SELECT * FROM marketing_sends WHERE campaign_id = :id ORDER BY contact_id"), {"id": campaign_id}
        )
        return [dict(row) for row in rows.mappings()]


async def draft(owner: Database, **values: Any) -> UUID:
    """Insert a draft."""
    defaults = {
        "org_id": ORG,
        "name": "April newsletter",
        "from_email": "news@acme.example",
        "subject": "Hello {{firstName}}",
        "html_body": "<p>Hello {{firstName}} of {{companyName}}</p>",
        "created_by": "someone",
    }
    async with owner.transaction() as tx:
        result = await tx.connection.execute(insert(campaigns).values(**(defaults | values)).returning(campaigns.c.id))
        return UUID(str(result.scalar_one()))


def contact(number: int, **values: Any) -> expansions.StagedContact:
    defaults: dict[str, Any] = {
        "contact_id": f"c{number:06}",
        "email": f"person{number}@example.com",
        "address": f"person{number}@example.com",
        "deliverable": True,
        "first_name": f"First{number}",
        "last_name": f"Last{number}",
        "company_name": None,
    }
    return expansions.StagedContact(**(defaults | values))


async def launched(owner: Database, contacts: Sequence[expansions.StagedContact] | int = 3, **values: Any) -> UUID:
    """A campaign that is launched and expanded."""
    people = [contact(n) for n in range(contacts)] if isinstance(contacts, int) else contacts
    campaign_id = await draft(owner, **values)
    async with owner.transaction() as tx:
        assert await lifecycle.launch(tx.connection, campaign_id, audience=None)
        attempt = await expansions.claim_expansion(tx.connection, campaign_id, lease=60)
        assert attempt is not None
        assert await expansions.stage_contacts(tx.connection, attempt, page=0, contacts=people, lease=60)
        assert await expansion.merge(tx.connection, attempt)
    return campaign_id


async def cancel(connection: AsyncConnection, campaign_id: UUID) -> bool:
    """Cancel the campaign and skip all its waiting sends. False if it cannot be cancelled."""
    is_cancelled = await lifecycle.cancel(connection, campaign_id)
    if is_cancelled:
        await lifecycle.skip_cancelled(connection, campaign_id, limit=lifecycle.CANCEL_AT_ONCE)
    return is_cancelled
