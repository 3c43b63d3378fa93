"""How PostgreSQL executes the statements that move many sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_INDEX_SCANS = text(
    """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
    """
)


async def use_index_scans(connection: AsyncConnection) -> None:
    """Let the statements of this transaction read rows through indexes, whatever the statistics say.

    The statistics of the tables describe all campaigns together. A plan made from them may read every send of the
    installation for one campaign.
    """
    await connection.execute(_INDEX_SCANS)
