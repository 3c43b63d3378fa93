"""Runs the migrations on the database that MARKETING_DATABASE_URL names, each in its own transaction."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from alembic import context
from sqlalchemy import pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from marketing_service.db import DatabaseAddress, SessionOpener, metadata
from marketing_service.operations.migrate import (
    MigrationFailed,
    Progress,
    create_roles,
    known_revisions,
    refuse_old_server,
    restore_access,
    restrict_roles,
)
from marketing_service.store import access, tables, tables_audit, tables_imports, tables_relay  # noqa: F401 - they fill the metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

# A migration that waits for a lock makes every request behind it wait, too. It gives up early, and can be run again.
LOCK_TIMEOUT = "5s"
CONNECT_TIMEOUT = 10.0
"""Seconds."""


def _database_url() -> str:
    url = context.config.attributes.get("database_url") or os.environ.get("MARKETING_DATABASE_URL")
    if not url:
        raise SystemExit("MARKETING_DATABASE_URL is not set: it says which database to migrate.")
    return str(url)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _progress() -> Progress:
    """What `migrate` wants to hear; to standard error if Alembic's own command runs."""
    progress = context.config.attributes.get("progress")
    return progress if isinstance(progress, Progress) else Progress(_say)


def _configure(**options: Any) -> None:
    context.configure(
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
        version_table=access.VERSION_TABLE,
        on_version_apply=_progress().on_version_apply,  # type: ignore[arg-type]  # by keyword, as documented
        **options,
    )


def _run(connection: Connection) -> None:
    refuse_old_server(connection)
    create_roles(connection)
    connection.commit()
    _configure(connection=connection)
    _refuse_unknown_revision()
    with context.begin_transaction():
        context.run_migrations()
    revision = context.get_context().get_current_revision()
    if revision is not None:
        restrict_roles(connection, _progress().say)
    if revision == known_revisions(context.config)[0]:
        restore_access(connection, _progress().say)


def _refuse_unknown_revision() -> None:
    known = known_revisions(context.config)
    for revision in context.get_context().get_current_heads():
        if revision not in known:
            raise MigrationFailed(
                f"The database is at revision {revision}, which this version does not have: another version made it.",
                os.EX_DATAERR,
            )


async def _online() -> None:
    sessions = SessionOpener(
        DatabaseAddress.of_setting("MARKETING_DATABASE_URL", _database_url()),
        role=None,
        connect_timeout=CONNECT_TIMEOUT,
        statement_timeout=None,
    )
    engine = create_async_engine("postgresql+asyncpg://", async_creator=sessions.open, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        await connection.commit()
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


def _offline() -> None:
    _configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()


if context.is_offline_mode():
    _offline()
else:
    asyncio.run(_online())
