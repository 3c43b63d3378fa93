"""Counts the pages and the rows that a piece of work reads, from the statistics of its own transaction."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

_SNAPSHOT = """
    SELECT c.relname AS name, coalesce(t.relname, c.relname) AS table, i.indrelid IS NULL AS is_table,
        (SELECT count(*) FROM pg_index own WHERE own.indrelid = c.oid) AS indexes,
        pg_stat_get_xact_blocks_fetched(c.oid) AS pages,
        pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid)
            * (i.indrelid IS NULL)::int AS rows,
        pg_stat_get_xact_tuples_inserted(c.oid) AS inserted, pg_stat_get_xact_tuples_updated(c.oid) AS updated,
        pg_stat_get_xact_tuples_deleted(c.oid) AS deleted, pg_stat_get_xact_tuples_hot_updated(c.oid) AS hot
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
    WHERE c.relname LIKE '%marketing\\_%' AND c.relkind IN ('r', 'i')
"""
_COUNTED = ("pages", "rows", "inserted", "updated", "deleted", "hot")
_INDEX_LEVELS = 3


@dataclass
class Cost:
    """What a piece of work has done to one table and its indexes.

    `read` are the pages that it read, without those that the changed rows need: their old and new places, and the way
    down each index for a new version. A page counts as often as it is read. `looked_at` are the rows and the index
    entries that it looked at, `changed` the rows that it inserted, updated or deleted.
    """

    read: int = 0
    looked_at: int = 0
    changed: int = 0
    parts: str = ""
    """The pages and rows of the table and each index, for a message."""


class Meter:
    """Reads the counters of one connection. The statistics of a transaction count its own work only."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver
        self._before: dict[str, Any] = {}

    async def start(self) -> None:
        self._before = {row["name"]: row for row in await self._driver.fetch(_SNAPSHOT)}

    async def stop(self) -> dict[str, Cost]:
        """The costs since `start`, by table."""
        costs: dict[str, Cost] = defaultdict(Cost)
        for row in await self._driver.fetch(_SNAPSHOT):
            delta = {name: row[name] - self._before[row["name"]][name] for name in _COUNTED}
            if not delta["pages"]:
                continue
            cost = costs[row["table"]]
            changed = delta["inserted"] + delta["updated"] + delta["deleted"]
            new_versions = delta["inserted"] + delta["updated"] - delta["hot"]
            cost.changed += changed
            cost.read += delta["pages"] - 2 * changed - _INDEX_LEVELS * row["indexes"] * new_versions
            cost.looked_at += delta["rows"]
            cost.parts += f" {row['name']}: {delta['pages']} pages, {delta['rows']} rows;"
        return costs
