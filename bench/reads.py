"""Cost of the lists and stats with ten thousand sends and with ten million: `python -m bench.reads`.

The cost is the number of buffers that PostgreSQL touches (EXPLAIN ANALYZE, BUFFERS), not a time. This number is the
same on every machine, also on a busy one. The statements are those of the service. They run with the role of the API,
so row-level security applies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from sqlalchemy import event, text

from marketing_service.campaigns import email_log
from marketing_service.db import Database
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.store import campaigns
from marketing_service.store.email_log import LogFilter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from uuid import UUID

    from marketing_service.db import Transaction

_ORG = "bench"
_CAMPAIGNS = 1000
_SMALL, _LARGE = 10_000, 10_000_000
_GOAL = 1.2

FILL_CAMPAIGNS = """
    INSERT INTO marketing_campaigns (org_id, name, from_email, subject, html_body, created_by, status, launched_at,
                                     expanded_at, sent_at, created_at, recipients, delivered)
    SELECT 'bench', 'Campaign ' || n, 'news@example.com', 'News', repeat('<p>News</p>', 700), 'bench', 'SENT', now(),
           now(), now(), now() - n * interval '1 minute', {each}, {each}
    FROM generate_series(1, {campaigns}) AS n
"""
FILL_SENDS = """
    INSERT INTO marketing_sends (id, org_id, campaign_id, contact_id, email, address, first_name, status, batch,
                                 attempts, tries, marked_at, sent_at)
    SELECT CAST(left(CAST(c.id AS text), -8) || lpad(to_hex(n), 8, '0') AS uuid), 'bench', c.id,
           'c' || lpad(n::text, 8, '0'), 'person' || n || '@example.org',
           'person' || n || '@example.org', 'Alex', 'DELIVERED', n / 100, 1, 1, now(), now()
    FROM marketing_campaigns c CROSS JOIN generate_series(0, {each} - 1) AS n
"""

_INDEXES = text(
    """
    SELECT 'ALTER TABLE marketing_sends DROP CONSTRAINT ' || conname AS drop,
           'ALTER TABLE marketing_sends ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid) AS make
    FROM pg_constraint WHERE conrelid = 'marketing_sends'::regclass AND contype IN ('p', 'u')
    UNION ALL
    SELECT 'DROP INDEX ' || indexname, indexdef FROM pg_indexes
    WHERE tablename = 'marketing_sends' AND indexname LIKE 'ix_%'
    """
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How statements ran: the buffers that they touched, and the nodes of their plans, innermost last."""

    buffers: int
    nodes: list[str]


class Explainer:
    """Runs a query function, and then runs each of its statements again with EXPLAIN ANALYZE."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._statements: list[tuple[str, Any]] = []

    async def plan(self, query: Callable[[Transaction], Awaitable[object]]) -> Plan:
        """Return the sum of the plans of all statements of `query`."""
        connection = self._tx.connection.sync_connection
        self._statements.clear()
        event.listen(connection, "before_cursor_execute", self._note)
        try:
            await query(self._tx)
        finally:
            event.remove(connection, "before_cursor_execute", self._note)
        plans = []
        for statement, parameters in list(self._statements):
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            rows = await self._tx.connection.exec_driver_sql(explain, parameters)
            result = rows.scalar_one()
            plans.append((result if isinstance(result, list) else json.loads(result))[0]["Plan"])
        return Plan(
            sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans),
            [node for plan in plans for node in _nodes(plan)],
        )

    def _note(self, _: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        self._statements.append((statement, parameters))


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    name = plan.get("Index Name") or plan.get("Relation Name")
    yield plan["Node Type"] + (f" ({name})" if name else "")
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _queries(campaign_id: UUID) -> dict[str, Callable[[Transaction], Awaitable[object]]]:
    return {
        "GET campaigns": lambda tx: campaigns.newest_first(
            tx.connection, _ORG, statuses=(), name_prefix=None, after=None, limit=50
        ),
        "GET stats": lambda tx: campaigns.overview(tx.connection, _ORG),
        "GET campaigns/{id}/stats": lambda tx: campaigns.find_stats(tx.connection, _ORG, campaign_id),
        "GET campaigns/{id}/sends?limit=10": lambda tx: email_log.page(
            tx, _ORG, campaign_id, only=LogFilter(), after=None, limit=10
        ),
    }


async def _fill(url: str, sends: int) -> None:
    owner = Database(url, role=None)
    each = sends // _CAMPAIGNS
    async with owner.transaction() as tx:
        await tx.connection.exec_driver_sql(FILL_CAMPAIGNS.format(campaigns=_CAMPAIGNS, each=each))
    async with owner.transaction() as tx:
        # Keys and indexes are built much faster after the rows are inserted.
        indexes = (await tx.connection.execute(_INDEXES)).all()
        for index in indexes:
            await tx.connection.exec_driver_sql(index.drop)
        await tx.connection.exec_driver_sql(FILL_SENDS.format(each=each))
        await tx.connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '512MB'")
        for index in indexes:
            await tx.connection.exec_driver_sql(index.make)
    async with owner.transaction() as tx:
        await tx.connection.exec_driver_sql("ANALYZE")
    await owner.close()


async def _bytes_per_send(url: str, sends: int) -> tuple[int, int]:
    """Bytes per send of the table, and of its indexes."""
    owner = Database(url, role=None)
    query = "SELECT pg_table_size('marketing_sends') AS rows, pg_indexes_size('marketing_sends') AS indexes"
    async with owner.transaction() as tx:
        size = (await tx.connection.execute(text(query))).one()
    await owner.close()
    return size.rows // sends, size.indexes // sends


async def _measure(url: str) -> dict[str, Plan]:
    api = Database(url, role="marketing_api")
    try:
        async with api.transaction(_ORG) as tx:
            page = await campaigns.newest_first(tx.connection, _ORG, statuses=(), name_prefix=None, after=None, limit=1)
            explainer = Explainer(tx)
            return {name: await explainer.plan(query) for name, query in _queries(page.items[0].id).items()}
    finally:
        await api.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sends", type=int, default=_LARGE, help="number of sends in the large ledger, default: %(default)s"
    )
    parser.add_argument("--json", type=Path, help="also write the buffers and the plans to this file")
    options = parser.parse_args()
    plans_by_size: dict[int, dict[str, Plan]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        PostgresServer(Path(folder) / "postgres", durable=False) as postgres,
    ):
        for sends in (_SMALL, options.sends):
            name = f"bench_{sends}"
            postgres.create_database(name)
            config = Config("alembic.ini")
            config.attributes["database_url"] = postgres.url(name)
            command.upgrade(config, "head")
            asyncio.run(_fill(postgres.url(name), sends))
            plans_by_size[sends] = asyncio.run(_measure(postgres.url(name)))
            rows, indexes = asyncio.run(_bytes_per_send(postgres.url(name), sends))
            print(f"{sends:,} sends: {rows} bytes per send, and {indexes} in its indexes", flush=True)
    small, large = plans_by_size[_SMALL], plans_by_size[options.sends]
    for name, plan in large.items():
        ratio = plan.buffers / small[name].buffers
        print(
            f"{name}: {small[name].buffers} buffers with {_SMALL:,} sends, {plan.buffers} with {options.sends:,}:"
            f" {ratio:.2f} times (goal: {_GOAL})"
        )
        print("  " + " > ".join(plan.nodes), flush=True)
    if options.json:
        report = {
            str(sends): {name: {"buffers": plan.buffers, "nodes": plan.nodes} for name, plan in plans.items()}
            for sends, plans in plans_by_size.items()
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
