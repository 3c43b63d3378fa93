"""The revision of the database's schema, which the migrations set, and the one that this version needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.errors import Unavailable
from marketing_service.store.access import VERSION_TABLE

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

REVISION = "0013"
"""The newest migration. An older schema does not have all that this version uses. A newer one does, because a migration
removes nothing that older processes use (docs/development.md)."""

_IS_READABLE = text(f"SELECT has_table_privilege(to_regclass('{VERSION_TABLE}'), 'SELECT')")
_REVISION = text(f"SELECT min(version_num) FROM {VERSION_TABLE}")


async def require_schema(connection: AsyncConnection) -> None:
    """Raises Unavailable, with a sentence that names both revisions, if the schema is older than this version needs."""
    is_readable = (await connection.execute(_IS_READABLE)).scalar_one()
    revision = (await connection.execute(_REVISION)).scalar_one() if is_readable else None
    if revision is not None and revision >= REVISION:
        return
    # `migrate` gives the right to read it, too.
    found = "at an unknown revision" if is_readable is False else f"at {revision}" if revision else "missing"
    raise Unavailable(
        "PostgreSQL", f"The schema is {found}, and this version needs {REVISION}: run `marketing-service migrate`."
    )
