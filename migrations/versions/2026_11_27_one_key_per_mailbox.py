"""Store one key per mailbox: convert the addresses whose spelling is not canonical, in short steps.

Before this migration, `address` was the address as the CRM wrote it, in lower case. So one mailbox had several keys
if its domain is not ASCII. From now on its domain is in A-labels (RFC 5890), after the mapping of UTS #46.

No table is locked, and a step locks at most one campaign and 500 sends. The migration can be interrupted, and run
again. At every moment, an opt-out or a suppression applies to the sends of a running campaign: first the canonical rows
are added, then the sends are converted, then the old rows are removed.

Rows that become one:

- Opt-outs: the later time, and all contacts of both. They are pending again, because the CRM was asked for one
  spelling only. The same applies to every opt-out of a domain with an A-label. They are due after an hour, so that
  workers of this version bring them to the CRM.
- Suppressions: the older entry stays, as if the newer one had been refused as known.
- Soft bounces: the larger number of days, and the time and the send of the later row.
- Sends keep their states: a campaign that is expanded already keeps its recipient list.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any
from uuid import UUID

import idna
import sqlalchemy as sa
from alembic import context, op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

READ = 20_000
"""Entries of an index that one statement reads, about a tenth of a second."""
CONVERTED = 500
"""Sends that one statement converts."""

# The keys that can differ from their canonical form: they are not ASCII, or end with a dot.
OLD = "(octet_length(address) <> char_length(address) OR address LIKE '%.')"


def upgrade() -> None:
    if context.is_offline_mode():
        op.execute("-- The keys are converted by `marketing-service migrate` only: SQL has no IDNA.")
    else:
        # Each statement is a transaction of its own.
        with op.get_context().autocommit_block():
            _convert(op.get_bind())
    # Last, in the transaction that records this migration: what comes before can be repeated.
    op.add_column(
        "marketing_staged_contacts",
        sa.Column("findable", sa.Boolean(), server_default=sa.text("true"), nullable=False),
    )


def _convert(connection: Connection) -> None:
    for table in (OPT_OUTS, SUPPRESSIONS, SOFT_BOUNCES):
        for row in _old_keys(connection, table):
            connection.execute(ADD[table], _keys(row))
    for campaign_id in connection.execute(CAMPAIGNS).scalars().all():
        _convert_sends(connection, campaign_id)
    for table in (OPT_OUTS, SUPPRESSIONS, SOFT_BOUNCES):
        for row in _old_keys(connection, table):
            connection.execute(MOVE[table], _keys(row))
    for row in _rows(connection, OPT_OUTS, "(address LIKE '%@xn--%' OR address LIKE '%.xn--%')"):
        connection.execute(PENDING, {"org_id": row.org_id, "old": row.address})


def downgrade() -> None:
    """The keys stay canonical: each is a correct address."""
    op.drop_column("marketing_staged_contacts", "findable")


# ── the canonical form: a frozen copy of `addresses.mailbox_key` ─────────────────────────────────────

MAX_READ = 1024
MAX_LABEL = 63
DOTS = ".\u3002\uff0e\uff61"
DOTS_AND_SPACES = DOTS + "".join(character for character in map(chr, range(0x3001)) if character.isspace())


def mailbox_key(email: str) -> str:
    email = _trimmed(email)
    if email.isascii() or len(email) > MAX_READ:
        return email.lower()
    local_part, at, domain = email.rpartition("@")
    return _trimmed(_composed(local_part) + at + (_canonical_domain(domain) if at else _composed(domain)))


def _trimmed(email: str) -> str:
    email = email.strip()
    return email.rstrip(DOTS_AND_SPACES) if email[-1:] in DOTS else email


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def _canonical_domain(domain: str) -> str:
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False)
    except idna.IDNAError:
        mapped = _composed(domain)
    if "@" in mapped:
        mapped = _composed(domain)
    return ".".join(map(_encoded, mapped.rstrip(DOTS_AND_SPACES).split(".")))


def _encoded(label: str) -> str:
    if label.isascii() or len(label) > MAX_LABEL:
        return label
    try:
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError:
        return label


# ── the small tables ─────────────────────────────────────────────────────────────────────────────────

OPT_OUTS = "marketing_opt_outs"
SUPPRESSIONS = "marketing_suppressions"
SOFT_BOUNCES = "marketing_soft_bounces"

# By table: the columns besides the key, and what an entry becomes that has the canonical key already.
COLUMNS = {
    OPT_OUTS: "contact_ids, opted_out_at",
    SUPPRESSIONS: "reason, origin, campaign_id, note, created_by, created_at",
    SOFT_BOUNCES: "in_a_row, last_send_id, last_at",
}
MERGE_OPT_OUTS = """
    DO UPDATE SET contact_ids = ARRAY(SELECT DISTINCT unnest(kept.contact_ids || excluded.contact_ids)),
                  opted_out_at = greatest(kept.opted_out_at, excluded.opted_out_at),
                  confirmed_at = NULL, due_at = excluded.due_at, tries = 0
"""
MERGE_SOFT_BOUNCES = """
    DO UPDATE SET in_a_row = greatest(kept.in_a_row, excluded.in_a_row),
                  last_send_id = CASE WHEN excluded.last_at > kept.last_at THEN excluded.last_send_id
                                      ELSE kept.last_send_id END,
                  last_at = greatest(kept.last_at, excluded.last_at)
"""
MERGE_SUPPRESSIONS = """
    DO UPDATE SET (id, reason, origin, campaign_id, note, created_by, created_at) = (
        excluded.id, excluded.reason, excluded.origin, excluded.campaign_id, excluded.note, excluded.created_by,
        excluded.created_at)
    WHERE excluded.id < kept.id
"""
LATER = "clock_timestamp() + interval '1 hour'"
SELECTED = "FROM {table} WHERE org_id = :org_id AND address = :old"
REMOVED = "WITH removed AS (DELETE FROM {table} WHERE org_id = :org_id AND address = :old RETURNING *) "


def _insert(table: str, columns: str, values: str, source: str, conflict: str) -> str:
    return (
        f"INSERT INTO {table} AS kept (org_id, address, {columns}) SELECT org_id, :new, {values} {source}"
        f" ON CONFLICT (org_id, address) {conflict}"
    )


def _add(table: str, conflict: str, *, more: str = "", values: str = "") -> sa.TextClause:
    columns = COLUMNS[table]
    source = SELECTED.format(table=table)
    return sa.text(_insert(table, columns + more, columns + values, source, conflict))


def _move(table: str, conflict: str, *, more: str = "", values: str = "") -> sa.TextClause:
    columns = COLUMNS[table]
    insert = _insert(table, columns + more, columns + values, "FROM removed", conflict)
    return sa.text(REMOVED.format(table=table) + insert)


ADD = {
    OPT_OUTS: _add(OPT_OUTS, MERGE_OPT_OUTS, more=", due_at", values=f", {LATER}"),
    SUPPRESSIONS: _add(SUPPRESSIONS, "DO NOTHING"),
    SOFT_BOUNCES: _add(SOFT_BOUNCES, MERGE_SOFT_BOUNCES),
}
MOVE = {
    OPT_OUTS: _move(OPT_OUTS, MERGE_OPT_OUTS, more=", due_at", values=f", {LATER}"),
    # The entry that ADD has made gets the id of the old one.
    SUPPRESSIONS: _move(SUPPRESSIONS, MERGE_SUPPRESSIONS, more=", id", values=", id"),
    SOFT_BOUNCES: _move(SOFT_BOUNCES, MERGE_SOFT_BOUNCES),
}
PENDING = sa.text(
    f"""
    UPDATE marketing_opt_outs SET confirmed_at = NULL, due_at = {LATER}, tries = 0
    WHERE org_id = :org_id AND address = :old
    """
)


def _keys(row: Row[Any]) -> dict[str, str]:
    return {"org_id": row.org_id, "old": row.address, "new": mailbox_key(row.address)}


def _old_keys(connection: Connection, table: str) -> Iterator[Row[Any]]:
    """The rows whose key is not canonical."""
    return (row for row in _rows(connection, table, OLD) if mailbox_key(row.address) != row.address)


def _rows(connection: Connection, table: str, condition: str) -> Iterator[Row[Any]]:
    """The keys of the rows that satisfy the condition, read in steps along the index of the key."""
    step = sa.text(
        f"""
        SELECT org_id, address, {condition} AS selected FROM {table}
        WHERE (org_id, address) > (:org_id, :address) ORDER BY org_id, address LIMIT {READ}
        """
    )
    place = {"org_id": "", "address": ""}
    while rows := connection.execute(step, place).all():
        yield from (row for row in rows if row.selected)
        place = {"org_id": rows[-1].org_id, "address": rows[-1].address}


# ── the sends ────────────────────────────────────────────────────────────────────────────────────────

# Old campaigns matter, too: an unsubscribe link, a report or a resend can name a send of any age.
CAMPAIGNS = sa.text("SELECT id FROM marketing_campaigns WHERE expanded_at IS NOT NULL ORDER BY id")
# Reads the log's index along its order: no page of the table, if VACUUM has been there.
STEP = sa.text(
    f"""
    SELECT (array_agg(address))[count(*)] AS address, (array_agg(id))[count(*)] AS id,
           array_agg(id) FILTER (WHERE {OLD}) AS old
    FROM (SELECT address, id FROM marketing_sends WHERE campaign_id = :campaign_id AND (address, id) > (:address, :id)
          ORDER BY address, id LIMIT {READ}) AS step
    HAVING count(*) > 0
    """
)
SENDS = sa.text("SELECT id, email, address FROM marketing_sends WHERE id = ANY(:ids)")
# As every statement that changes several sends of a campaign, it locks the campaign's row first: no deadlock.
CONVERT = sa.text(
    """
    WITH campaign AS MATERIALIZED (
        SELECT id FROM marketing_campaigns WHERE id = :campaign_id FOR NO KEY UPDATE
    )
    UPDATE marketing_sends s SET address = converted.address
    FROM campaign, unnest(CAST(:ids AS uuid[]), CAST(:addresses AS text[])) AS converted (id, address)
    WHERE s.campaign_id = campaign.id AND s.id = converted.id
    """
)


def _convert_sends(connection: Connection, campaign_id: UUID) -> None:
    place = {"campaign_id": campaign_id, "address": "", "id": UUID(int=0)}
    while (step := connection.execute(STEP, place).one_or_none()) is not None:
        place |= {"address": step.address, "id": step.id}
        for start in range(0, len(step.old or ()), CONVERTED):
            sends = connection.execute(SENDS, {"ids": step.old[start : start + CONVERTED]}).all()
            # `email` is as the CRM wrote it. `address` is in lower case, by other rules than those of IDNA.
            keys = {send.id: key for send in sends if (key := mailbox_key(send.email)) != send.address}
            if keys:
                values = {"campaign_id": campaign_id, "ids": list(keys), "addresses": list(keys.values())}
                connection.execute(CONVERT, values)
