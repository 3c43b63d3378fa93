"""`migrate`: updates the schema, says each step, and says in one line what stops it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from marketing_service.db import DATABASE_ERRORS, WrongSession, cause_of, reason_of, sqlstate_of
from marketing_service.errors import MarketingError
from marketing_service.store import access, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from alembic.runtime.migration import MigrationInfo
    from sqlalchemy import Connection

MIN_SERVER = 18
"""The oldest major version of PostgreSQL: `uuidv7()`."""
_UNLESS_CREATED = "DO $$ BEGIN {statement}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
_INSUFFICIENT_PRIVILEGE = "42501"
_LOCK_NOT_AVAILABLE = "55P03"
_OF_THE_STATEMENT = "42"
"""The class of errors of a statement. For a process of the service they mean an old schema; a migration makes the new
one, so they are its own."""


class MigrationFailed(MarketingError):
    """The schema is not at the wanted revision. `exit_code` is one of sysexits.h."""

    def __init__(self, detail: str, exit_code: int = os.EX_SOFTWARE) -> None:
        super().__init__(detail)
        self.exit_code = exit_code


class Progress:
    """Says each applied migration, with the seconds that it took. The environment of Alembic calls it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.applied: list[str] = []
        self._since = time.monotonic()

    def on_version_apply(self, *, step: MigrationInfo, **_: Any) -> None:
        now = time.monotonic()
        revision = str(step.up_revision_id)
        self.applied.append(revision)
        self.say(f"{revision}  {getattr(step.up_revision, 'doc', '')}  ({now - self._since:.1f} s)")
        self._since = now


def migrate(ini: Path, revision: str, *, database_url: str, say: Callable[[str], None]) -> None:
    """Update the schema to `revision`. `ini` is the configuration of Alembic. Raises MigrationFailed."""
    config = Config(ini)
    progress = Progress(say)
    config.attributes["database_url"] = database_url
    config.attributes["progress"] = progress
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        known = ", ".join(["head", *known_revisions(config)])
        raise MigrationFailed(f"{error} `migrate` knows: {known}.", os.EX_USAGE) from None
    except WrongSession as error:
        raise MigrationFailed(f"PostgreSQL cannot be used as it is. {error}") from error
    except DATABASE_ERRORS as error:
        raise _failed(error, progress.applied) from error
    if not progress.applied:
        say("The schema is at the wanted revision already; nothing was to do.")


def _failed(error: BaseException, applied: Iterable[str]) -> MigrationFailed:
    done = f" Applied before: {', '.join(applied)}." if applied else ""
    state = sqlstate_of(error) or ""
    if state == _LOCK_NOT_AVAILABLE:
        return MigrationFailed(
            f"A table was in use for too long, so the migration gave up; run it again.{done}", os.EX_TEMPFAIL
        )
    if state == _INSUFFICIENT_PRIVILEGE:
        return MigrationFailed(
            f"The user of MARKETING_DATABASE_URL may not change the schema ({cause_of(error)}). Run `migrate` as the"
            f" owner of the database.{done}",
            os.EX_NOPERM,
        )
    outage = None if state.startswith(_OF_THE_STATEMENT) else reason_of(error)
    if outage is not None:
        return MigrationFailed(f"{outage}{done}", os.EX_UNAVAILABLE)
    return MigrationFailed(f"A migration failed, and nothing of it is kept: {cause_of(error)}.{done}")


# ── what the environment of Alembic calls ──


def known_revisions(config: Config) -> list[str]:
    """The revisions of this version, the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


def refuse_old_server(connection: Connection) -> None:
    """Raises MigrationFailed."""
    version = server.server_version(connection)
    if version < MIN_SERVER:
        raise MigrationFailed(
            f"PostgreSQL {MIN_SERVER} or newer is needed, and this server is {version}.", os.EX_CONFIG
        )


def create_roles(connection: Connection) -> None:
    """Create the roles that do not exist. Raises MigrationFailed if this user may not."""
    roles = access.missing_roles(connection)
    statements = [f"CREATE ROLE {role} NOLOGIN" for role in roles]
    # A migration of another database of the same server may create them at this moment.
    if not access.run_if_allowed(connection, [_UNLESS_CREATED.format(statement=statement) for statement in statements]):
        raise MigrationFailed(
            f"The roles {' and '.join(roles)} do not exist, and this user may not create them. As a user with"
            f" CREATEROLE, run: {'; '.join(statements)};",
            os.EX_NOPERM,
        )


def restrict_roles(connection: Connection, say: Callable[[str], None]) -> None:
    """Take from the roles the rights to create objects. Says what an administrator must run if this user may not."""
    for _, statement in access.can_create(connection):
        access.run_if_allowed(connection, [statement])
    for right, statement in access.can_create(connection):
        say(
            f"The roles {' and '.join(access.ROLES)} keep the right {right}, which they do not need, because another"
            f" role granted it. As the owner, run: {statement};"
        )


def restore_access(connection: Connection, say: Callable[[str], None]) -> None:
    """Set the rights and policies that are missing: a restored dump can have lost them. Raises MigrationFailed."""
    statements = access.missing(connection)
    if not statements:
        return
    if not access.run_if_allowed(connection, statements):
        raise MigrationFailed(
            f"{len(statements)} rights or policies of the roles are missing, and this user may not set them. Run"
            " `migrate` as the owner of the tables.",
            os.EX_NOPERM,
        )
    say(f"Restored {len(statements)} rights and policies of {' and '.join(access.ROLES)}.")
