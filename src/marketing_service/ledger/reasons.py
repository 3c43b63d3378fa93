"""The reasons of a campaign: how many of its sends failed, were skipped or are deferred, and for which reason.

`marketing_reasons` has a row for each reason. The statements that move sends change it under the lock of the campaign's
row, in the same transaction as the counters. Only a move from or to one of the states with a reason touches a row.
"""

from __future__ import annotations

from marketing_service.store.reasons import KEY
from marketing_service.store.states import SendStatus

_REPLIED = (SendStatus.DEFERRED, SendStatus.FAILED)
"""In these states, the code of the reply or of the report belongs to the reason."""
_WITH_REASON = (*_REPLIED, SendStatus.SKIPPED)


def _in(statuses: tuple[SendStatus, ...]) -> str:
    return f"IN ({', '.join(repr(status.value) for status in statuses)})"


def reason_of(row: str, prefix: str = "") -> str:
    """The key of the reason for which the send `row` is counted, as columns with this prefix. The status is null if it
    is counted for none."""
    has_reason, replied = f"{row}.status {_in(_WITH_REASON)}", f"{row}.status {_in(_REPLIED)}"
    return ",\n".join(
        (
            f"CASE WHEN {has_reason} THEN {row}.status END AS {prefix}status",
            f"coalesce({row}.reason, '') AS {prefix}reason",
            f"CASE WHEN {replied} THEN coalesce({row}.smtp_code, 0) ELSE 0 END AS {prefix}smtp_code",
            f"CASE WHEN {replied} THEN coalesce({row}.enhanced_code, '') ELSE '' END AS {prefix}enhanced_code",
        )
    )


OLD, NEW = "old_reason_", "new_reason_"
"""The prefixes of the columns of a move."""


def key_of_move(prefix: str) -> str:
    """The columns of one side of a move, under the names of the table."""
    return ", ".join(f"{prefix}{column} AS {column}" for column in KEY)


MOVED_REASONS = f"{reason_of('old', OLD)},\n{reason_of('new', NEW)}"
"""What an UPDATE of marketing_sends returns about the reasons."""


def reasons_upsert(*, org_id: str, campaign_id: str, source: str = "reason_move", also_from: str = "") -> str:
    """Adds the `sends` of the rows of `source`, which have the columns of the key, to the rows of the table."""
    key = ", ".join(KEY)
    return (
        f"INSERT INTO marketing_reasons AS r (org_id, campaign_id, {key}, sends)\n"
        f"SELECT {org_id}, {campaign_id}, {key}, sum(sends)\n"
        f"FROM {source}{also_from} GROUP BY {key}{', org_id' if also_from else ''} HAVING sum(sends) <> 0\n"
        f"ON CONFLICT (campaign_id, {key}) DO UPDATE SET sends = r.sends + excluded.sends"
    )


def reason_moves(source: str) -> str:
    """A SELECT of what a move subtracts from its old reason and adds to its new one."""
    return (
        f"SELECT {key_of_move(NEW)}, 1 AS sends FROM {source} WHERE {NEW}status IS NOT NULL\n"
        f"UNION ALL\n"
        f"SELECT {key_of_move(OLD)}, -1 FROM {source} WHERE {OLD}status IS NOT NULL"
    )


COUNTED_REASONS = f"""(
    SELECT {reason_of("s")}, count(*) AS sends FROM marketing_sends s
    WHERE s.campaign_id = :campaign_id AND s.status {_in(_WITH_REASON)}
    GROUP BY 1, 2, 3, 4
)"""
"""The reasons of a campaign, counted over its sends."""
