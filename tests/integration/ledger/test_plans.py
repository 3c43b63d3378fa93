"""The statements that settle a cancelled campaign read its own rows, whatever the statistics say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.ledger import lifecycle
from marketing_service.store.plans import use_index_scans
from tests.support.ledger import launched

if TYPE_CHECKING:
    from sqlalchemy import TextClause

    from marketing_service.db import Database


@pytest.mark.parametrize("statement", [lifecycle._SKIP_CANCELLED, lifecycle._DROP_BATCHES], ids=["sends", "batches"])
async def test_no_table_is_read_as_a_whole(owner: Database, statement: TextClause) -> None:
    """These tables are so small that PostgreSQL would read them as a whole, if it could choose."""
    campaign_id = await launched(owner, 3)
    explain = text(f"EXPLAIN {statement.text}")
    values = {"campaign_id": campaign_id} | ({"limit": 10} if ":limit" in statement.text else {})
    async with owner.transaction() as tx:
        await tx.connection.execute(text("ANALYZE marketing_sends, marketing_batches, marketing_campaigns"))
        chosen = "\n".join((await tx.connection.execute(explain, values)).scalars())
        assert "Seq Scan on marketing_" in chosen
        await use_index_scans(tx.connection)
        plan = "\n".join((await tx.connection.execute(explain, values)).scalars())
    assert "Seq Scan on marketing_" not in plan, plan
    assert "Index Scan" in plan
