"""A ledger with several large campaigns, built with one statement per table, for tests that count what is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from marketing_service.ledger.counters import COUNTERS
from marketing_service.store.batches import BATCH_SIZE
from tests.support.ledger import ORG

if TYPE_CHECKING:
    import asyncpg

OTHER_ORG = "zenith"


@dataclass(frozen=True)
class Place:
    """A campaign of the ledger: `settled` of its batches are done, out of 100."""

    id: UUID
    org_id: str
    share: int
    """Its sends, in hundredths of the whole ledger."""
    settled: int
    is_cancelled: bool = False


def _id(number: int) -> UUID:
    return UUID(int=(0x0198 << 112) | (7 << 76) | (2 << 62) | number)


OTHERS = (Place(_id(1), ORG, 20, 50), Place(_id(2), ORG, 15, 100), Place(_id(3), OTHER_ORG, 15, 50))
"""The campaigns that the statistics know."""
SENDING = Place(_id(4), ORG, 30, 50)
CANCELLED = Place(_id(5), ORG, 20, 75, is_cancelled=True)
EXPANDING = _id(6)
STAGED = 10_000
"""How many contacts are staged for it. Some are left of the expansion of SENDING, too."""
DRAFT = _id(7)
SMALL = tuple(_id(1000 + number) for number in range(300))
"""Campaigns that are long SENT, half of them of another organisation."""

_CAMPAIGN = """
    INSERT INTO marketing_campaigns (id, org_id, name, from_email, subject, html_body, created_by, status, launched_at,
        audience_read_at, expansion_due_at, expansion_epoch, version)
    SELECT id, org_id, 'Campaign ' || id, 'news@acme.example', 'Hello', '<p>Hello</p>', 'someone', status,
        CASE WHEN status <> 'DRAFT' THEN now() - interval '2 hours' END, now() - interval '2 hours',
        CASE WHEN status = 'SENDING' THEN now() - interval '1 hour' END, 1, 1
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS c (id, org_id, status)
"""

# The first batches are settled, the next four are leased (two of these leases have run out), the others wait. In a
# waiting batch, one send is deferred; in every second batch it is due.
_SENDS = f"""
    INSERT INTO marketing_sends (org_id, campaign_id, contact_id, email, address, first_name, status, reason, batch,
        due_at, attempts, tries, queued_at, marked_at, sent_at, unconfirmed_at)
    SELECT $2, $1, 'c' || lpad(i::text, 7, '0'), 'person' || i || '@example.com', 'person' || i || '@example.com',
        'First' || i, status,
        CASE status WHEN 'FAILED' THEN 'REJECTED' WHEN 'SKIPPED' THEN 'SUPPRESSED' END,
        CASE WHEN status <> 'DEFERRED' THEN i / {BATCH_SIZE} END,
        CASE WHEN status = 'DEFERRED' THEN now() + CASE WHEN i / {BATCH_SIZE} % 2 = 0 THEN -1 ELSE 1 END
            * interval '10 minutes' + i * interval '1 millisecond' END,
        tries, tries, now() - interval '2 hours',
        CASE WHEN tries > 0 THEN now() - interval '1 hour' + i * interval '1 millisecond' END,
        CASE WHEN status = 'DELIVERED' THEN now() - interval '1 hour' + i * interval '1 millisecond' END,
        CASE WHEN status = 'UNCONFIRMED' THEN now() - interval '30 minutes' END
    FROM (
        SELECT i, status, CASE WHEN status IN ('QUEUED', 'SKIPPED') THEN 0 ELSE 1 END AS tries
        FROM generate_series(0, $3::int - 1) AS i CROSS JOIN LATERAL (SELECT CASE
            WHEN i / {BATCH_SIZE} < $4::int THEN CASE i % 50
                WHEN 0 THEN 'FAILED' WHEN 1 THEN 'UNCONFIRMED' WHEN 2 THEN 'SKIPPED' ELSE 'DELIVERED' END
            WHEN i / {BATCH_SIZE} < $4::int + 4 THEN CASE WHEN i % 50 = 0 THEN 'SENDING' ELSE 'QUEUED' END
            WHEN i % {BATCH_SIZE} = 7 THEN 'DEFERRED' ELSE 'QUEUED' END AS status) AS s
    ) AS numbered
"""
_BATCHES = """
    INSERT INTO marketing_batches (org_id, campaign_id, number, epoch, lease_until, enqueued_at, enqueue_count)
    SELECT $2, $1, number, CASE WHEN number < $4::int + 4 THEN 1 ELSE 0 END,
        CASE WHEN number < $4::int + 2 THEN now() - interval '1 minute'
             WHEN number < $4::int + 4 THEN now() + interval '1 hour' END,
        CASE WHEN number < $4::int + 6 THEN now() - interval '2 minutes' END, 1
    FROM generate_series($4::int, $3::int - 1) AS number
"""
_COUNT = f"""
    UPDATE marketing_campaigns c
    SET {", ".join(f"{name} = n.{name}" for name in COUNTERS)}, recipients = n.recipients, expanded_at = launched_at,
        expansion_due_at = NULL, next_batch = n.recipients / {BATCH_SIZE},
        first_retry_batch = n.recipients / {BATCH_SIZE},
        status = CASE WHEN n.queued + n.deferred + n.sending > 0 THEN 'SENDING' ELSE 'SENT' END,
        sent_at = CASE WHEN n.queued + n.deferred + n.sending = 0 THEN now() END,
        cancelled_at = CASE WHEN $2 THEN now() END
    FROM (SELECT count(*) AS recipients,
          {", ".join(f"count(*) FILTER (WHERE {when.format(row='s')}) AS {name}" for name, when in COUNTERS.items())}
          FROM marketing_sends s WHERE campaign_id = $1) AS n
    WHERE c.id = $1
"""
_EVENTS = (
    """
    INSERT INTO marketing_timeline (org_id, campaign_id, minute, delivered)
    SELECT $2, $1, date_trunc('minute', now()) - n * interval '1 minute', 1 FROM generate_series(0, 499) AS n
    """,
    """
    INSERT INTO marketing_reasons (org_id, campaign_id, status, reason, smtp_code, enhanced_code, sends)
    SELECT $2, $1, 'FAILED', 'REJECTED', 550, '5.1.' || n, n FROM generate_series(1, 500) AS n
    """,
    """
    INSERT INTO marketing_links (org_id, campaign_id, number, url)
    SELECT $2, $1, n, 'https://acme.example/' || n FROM generate_series(1, 50) AS n
    """,
    """
    INSERT INTO marketing_clicks (org_id, send_id, number)
    SELECT s.org_id, s.id, n FROM marketing_sends s CROSS JOIN generate_series(1, 2) AS n
    WHERE s.campaign_id = $1 AND $2 = s.org_id AND s.status = 'DELIVERED' ORDER BY s.contact_id LIMIT 2000
    """,
)
# The tables of the organisations: each gets as many rows as a large installation has at least.
_ORGANISATIONS = (
    """
    INSERT INTO marketing_opt_outs (org_id, address, contact_ids, confirmed_at, due_at)
    SELECT org_id, 'gone' || n || '@example.com', ARRAY['c' || n], CASE WHEN n % 50 > 0 THEN now() END,
        CASE WHEN n % 50 = 0 THEN now() - interval '1 minute' END
    """,
    """
    INSERT INTO marketing_suppressions (org_id, address, reason, origin)
    SELECT org_id, 'full' || n || '@example.com', 'HARD_BOUNCE', 'REPORT'
    """,
    """
    INSERT INTO marketing_audit (org_id, actor, action, campaign_id, details)
    SELECT org_id, 'someone', 'created', uuidv7(), '{}'
    """,
    """
    INSERT INTO marketing_idempotency_keys (org_id, key, route, body_hash, status, headers, body, created_at)
    SELECT org_id, 'key' || n, 'POST /', 'hash', 200, '{}', '', now() - n * interval '1 minute'
    """,
    """
    INSERT INTO marketing_suppression_imports (org_id, created_by, rows, done, repeated, rejected_rows, rejected,
        finished_at)
    SELECT org_id, 'someone', 1, CASE WHEN n > 5 THEN 1 ELSE 0 END, 0, 0, '[]',
        CASE WHEN n > 5 THEN now() - n * interval '10 minutes' END
    """,
)
_SMALL = (
    """
    UPDATE marketing_campaigns SET status = 'SENT', sent_at = now() - interval '40 days', expanded_at = now(),
        recipients = 5, delivered = 5, expansion_due_at = NULL
    WHERE id = ANY($1)
    """,
    """
    INSERT INTO marketing_test_mails (org_id, campaign_id, recipients, created_by, started_at)
    SELECT c.org_id, c.id, ARRAY['a@example.com'], 'someone', CASE WHEN c.id <> ($1::uuid[])[n] THEN now() END
    FROM marketing_campaigns c CROSS JOIN generate_series(1, 4) AS n WHERE c.id = ANY($1)
    """,
    """
    INSERT INTO marketing_preflights (campaign_id, org_id, version, requested_by, status, finished_at, report)
    SELECT c.id, c.org_id, 1, 'someone', 'DONE', now(), '{}' FROM marketing_campaigns c WHERE c.id = ANY($1)
    """,
    """
    INSERT INTO marketing_relay_pauses (campaign_id, org_id, probe_at)
    SELECT c.id, c.org_id, now() FROM marketing_campaigns c WHERE c.id = ANY($1)
    """,
    """
    INSERT INTO marketing_relay_throttles (campaign_id, org_id, connections)
    SELECT c.id, c.org_id, 1 FROM marketing_campaigns c WHERE c.id = ANY($1)
    """,
)
_SOFT_BOUNCES = """
    INSERT INTO marketing_soft_bounces (org_id, address, in_a_row, last_send_id)
    SELECT org_id, address, 1, id FROM marketing_sends WHERE campaign_id = $1 ORDER BY contact_id LIMIT 3000
"""
_STAGED = """
    INSERT INTO marketing_staged_contacts (org_id, campaign_id, epoch, page, contact_id, email, address, deliverable)
    SELECT $2, $1, 1, n / 1000, 'c' || n, 'person' || n || '@example.com', 'person' || n || '@example.com', true
    FROM generate_series(0, $3::int - 1) AS n
"""


async def build(connection: asyncpg.Connection, sends: int) -> None:
    """Fill an empty database with a ledger of `sends` sends. The statistics describe OTHERS and nothing else."""
    for table in await connection.fetch(
        "SELECT relname FROM pg_class WHERE relname LIKE 'marketing%' AND relkind = 'r'"
    ):
        await connection.execute(f"ALTER TABLE {table[0]} SET (autovacuum_enabled = false)")
    await _add_campaigns(connection, OTHERS, sends)
    small_orgs = [ORG if number % 2 else OTHER_ORG for number in range(len(SMALL))]
    await connection.execute(_CAMPAIGN, SMALL, small_orgs, ["DRAFT"] * len(SMALL))
    for statement in _SMALL:
        await connection.execute(statement, SMALL)
    for statement in _ORGANISATIONS:
        await connection.execute(
            f"{statement} FROM unnest($1::text[]) AS o (org_id) CROSS JOIN generate_series(1, 3000) AS n",
            [ORG, OTHER_ORG],
        )
    await connection.execute(_SOFT_BOUNCES, OTHERS[0].id)
    await connection.execute("ANALYZE")
    await _add_campaigns(connection, (SENDING, CANCELLED), sends)
    await connection.execute(_CAMPAIGN, [EXPANDING, DRAFT], [ORG, ORG], ["SENDING", "DRAFT"])
    await connection.execute(_STAGED, EXPANDING, ORG, STAGED)
    await connection.execute(_STAGED, SENDING.id, ORG, 500)


async def _add_campaigns(connection: asyncpg.Connection, places: tuple[Place, ...], sends: int) -> None:
    await connection.execute(
        _CAMPAIGN, [place.id for place in places], [place.org_id for place in places], ["SENDING"] * len(places)
    )
    for place in places:
        count, settled = counts(place, sends)
        await connection.execute(_SENDS, place.id, place.org_id, count, settled)
        await connection.execute(_BATCHES, place.id, place.org_id, count // BATCH_SIZE, settled)
        await connection.execute(_COUNT, place.id, place.is_cancelled)
        for statement in _EVENTS:
            await connection.execute(statement, place.id, place.org_id)


def counts(place: Place, sends: int) -> tuple[int, int]:
    """How many sends the campaign has in a ledger of `sends` sends, and how many of its batches are settled."""
    count = sends * place.share // 100
    return count, count // BATCH_SIZE * place.settled // 100
