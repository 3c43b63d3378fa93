"""Which role may do what with each table and function, and the policies that separate the organisations.

A migration that creates a table or a function sets its rights. A database that was restored from a dump into a server
without the roles has lost them; `missing` finds that, and `migrate` runs what it returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from marketing_service.db import sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Connection, RowMapping

API, WORKER = ROLES = ("marketing_api", "marketing_worker")
VERSION_TABLE = "marketing_schema_version"
"""Alembic's table, with the revision of the schema."""
_ALL = "SELECT, INSERT, UPDATE, DELETE"


class TableAccess(NamedTuple):
    """The privileges of each role on a table, as GRANT names them."""

    api: str
    worker: str = _ALL
    by_organisation: bool = True
    """Whether row-level security shows the API only the rows of its caller's organisation."""


TABLES: Mapping[str, TableAccess] = {
    "marketing_campaigns": TableAccess(_ALL),
    "marketing_sends": TableAccess("SELECT, UPDATE"),
    "marketing_batches": TableAccess("SELECT, DELETE"),
    "marketing_opt_outs": TableAccess("SELECT, INSERT, UPDATE"),
    "marketing_suppressions": TableAccess(_ALL),
    "marketing_soft_bounces": TableAccess(_ALL),
    "marketing_links": TableAccess("SELECT, UPDATE"),
    "marketing_clicks": TableAccess("SELECT, INSERT, UPDATE"),
    "marketing_reasons": TableAccess("SELECT, INSERT, UPDATE"),
    "marketing_resends": TableAccess("SELECT, INSERT"),
    "marketing_timeline": TableAccess("SELECT, INSERT, UPDATE"),
    "marketing_test_mails": TableAccess("SELECT, INSERT"),
    "marketing_idempotency_keys": TableAccess("SELECT, INSERT, UPDATE"),
    "marketing_preflights": TableAccess("SELECT, INSERT, UPDATE"),
    "marketing_relay_pauses": TableAccess("SELECT"),
    "marketing_relay_throttles": TableAccess("SELECT"),
    "marketing_suppression_imports": TableAccess("SELECT, INSERT"),
    "marketing_suppression_import_steps": TableAccess("SELECT, INSERT"),
    # Append-only: no role of the service may change or delete an entry.
    "marketing_audit": TableAccess("SELECT, INSERT", worker="INSERT"),
    "marketing_relay_probe": TableAccess("", by_organisation=False),
    "marketing_staged_contacts": TableAccess("", by_organisation=False),
    VERSION_TABLE: TableAccess("SELECT", worker="SELECT", by_organisation=False),
}
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "marketing_commit_results_v1": (WORKER,),
    "marketing_commit_results_v2": (WORKER,),
    "marketing_ledger_stats_v1": ROLES,
    "marketing_record_opens_v1": (API,),
    "marketing_release_and_claim_batch_v1": (WORKER,),
    "marketing_release_batch_v1": (WORKER,),
    "marketing_send_organisation_v1": ROLES,
}
"""The roles that may execute each function. PUBLIC may execute none: some run with the rights of their owner."""

_POLICIES = {
    "own_organisation": (API, "org_id = current_setting('marketing.org_id', true)"),
    "every_organisation": (WORKER, "true"),
}
# The functions that run as their owner are safe from temporary objects, but nothing needs these rights. They are no
# part of the schema: neither a dump nor a clone of the database has them, so every run of `migrate` looks at them.
# By right: the kind of object, its name, and whether a role has the right.
_MAY_CREATE = {
    "TEMPORARY": (
        "database",
        "current_database()",
        "has_database_privilege({role}, current_database(), 'TEMPORARY')",
    ),
    "CREATE": ("schema", "current_schema()", "has_schema_privilege({role}, current_schema(), 'CREATE')"),
}
_INSUFFICIENT_PRIVILEGE = "42501"
_FIND_ROLES = text("SELECT rolname FROM pg_roles WHERE rolname = ANY (:roles)")
_FIND_TABLES = text("""
    SELECT c.relname AS name, c.relrowsecurity AS has_security,
           array(SELECT CAST(p.polname AS text) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
           array(SELECT r || ' ' || w FROM unnest(CAST(:roles AS text[])) r,
                     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) w
                 WHERE has_table_privilege(r, c.oid, w)) AS rights
    FROM pg_class c
    WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
        AND c.relkind = 'r' AND c.relname = ANY (:names)
    ORDER BY c.relname
""")
_FIND_FUNCTIONS = text("""
    SELECT p.proname AS name,
           array(SELECT r FROM unnest(array_append(CAST(:roles AS text[]), 'public')) r
                 WHERE has_function_privilege(r, p.oid, 'EXECUTE')) AS roles
    FROM pg_proc p
    WHERE p.pronamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND p.proname = ANY (:names)
    ORDER BY p.proname
""")


def missing_roles(connection: Connection) -> list[str]:
    """The roles that do not exist. They belong to the whole server, so a dump of one database has none."""
    found = connection.execute(_FIND_ROLES, {"roles": list(ROLES)}).scalars().all()
    return [role for role in ROLES if role not in found]


def missing(connection: Connection) -> list[str]:
    """The statements that set the rights and policies that are not there. The roles must exist."""
    tables = connection.execute(_FIND_TABLES, {"roles": list(ROLES), "names": list(TABLES)}).mappings()
    functions = connection.execute(_FIND_FUNCTIONS, {"roles": list(ROLES), "names": list(FUNCTIONS)}).mappings()
    return [
        *(statement for found in tables for statement in _missing_of_table(found)),
        *(statement for found in functions for statement in _missing_of_function(found)),
    ]


def _missing_of_table(found: RowMapping) -> Iterator[str]:
    name, access = found["name"], TABLES[found["name"]]
    for role, rights in ((API, access.api), (WORKER, access.worker)):
        if any(f"{role} {right}" not in found["rights"] for right in rights.split(", ") if right):
            yield f"GRANT {rights} ON {name} TO {role}"
    if not access.by_organisation:
        return
    if not found["has_security"]:
        yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
    for policy, (role, condition) in _POLICIES.items():
        if policy not in found["policies"]:
            yield f"CREATE POLICY {policy} ON {name} TO {role} USING ({condition})"


def _missing_of_function(found: RowMapping) -> Iterator[str]:
    name, roles = found["name"], found["roles"]
    is_public = "public" in roles  # then every role may execute it, so nothing can be said of their own rights
    if is_public:
        yield f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC"
    for role in FUNCTIONS[name]:
        if is_public or role not in roles:
            yield f"GRANT EXECUTE ON FUNCTION {name} TO {role}"


def can_create(connection: Connection) -> list[tuple[str, str]]:
    """The rights to create temporary objects, or objects in the schema, that a role has: a description of each, and the
    statement that takes it from the roles and from PUBLIC."""
    found = []
    for right, (kind, name, has_right) in _MAY_CREATE.items():
        check = text("SELECT " + " OR ".join(has_right.format(role=f"'{role}'") for role in ROLES))
        if connection.execute(check).scalar_one():
            quoted = connection.execute(text(f"SELECT quote_ident({name})")).scalar_one()
            statement = f"REVOKE {right} ON {kind.upper()} {quoted} FROM PUBLIC, {', '.join(ROLES)}"
            found.append((f"{right} on the {kind} {quoted}", statement))
    return found


def run_if_allowed(connection: Connection, statements: Iterable[str]) -> bool:
    """Run all statements, or none of them. Returns False if this user may not."""
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.execute(text(statement.replace(":", r"\:")))
    except DBAPIError as error:
        if sqlstate_of(error) != _INSUFFICIENT_PRIVILEGE:
            raise
        return False
    return True
