"""Runs the migrations over the database that MARKETING_DATABASE_URL names, one transaction each."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from alembic import context
from sqlalchemy import pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from marketing_service.db import async_url, metadata
from marketing_service.store import tables  # noqa: F401 - fills the metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

# A migration that waits for a lock makes every request behind it wait too: give up early, and run it again.
LOCK_TIMEOUT = "5s"


def _database_url() -> str:
    url = context.config.attributes.get("database_url") or os.environ.get("MARKETING_DATABASE_URL")
    if not url:
        raise SystemExit("MARKETING_DATABASE_URL is not set: it says which database to migrate.")
    return str(url)


def _configure(**options: Any) -> None:
    context.configure(
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
        version_table="marketing_schema_version",
        **options,
    )


def _run(connection: Connection) -> None:
    _configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def _online() -> None:
    engine = create_async_engine(async_url(_database_url()), poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        await connection.commit()
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


def _offline() -> None:
    _configure(url=async_url(_database_url()), literal_binds=True)
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()


if context.is_offline_mode():
    _offline()
else:
    asyncio.run(_online())
