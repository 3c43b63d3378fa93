"""Compares the service's ledger with the relay's ledger, row by row."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import TYPE_CHECKING, Any

from tests.support.ledger import assert_adds_up, send_rows

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database
    from tests.support.relay import Accepted, Relay

_DUE = frozenset({"QUEUED", "SENDING", "DEFERRED"})


@dataclass(frozen=True)
class Reconciled:
    """The result of the comparison of the two ledgers."""

    counters: dict[str, int]
    rows: list[dict[str, Any]]
    """The service's rows, by contact."""
    lost: list[str]
    """Sends that are DELIVERED in the service and that the relay never accepted."""
    duplicates: int
    """Messages that the relay accepted beyond one for each recipient."""
    ambiguous: int
    """Sends that are or were UNCONFIRMED."""
    contradictions: list[str] = field(default_factory=list)
    """Every other fact in one ledger that contradicts the other."""


async def reconcile(owner: Database, campaign_id: UUID, relay: Relay) -> Reconciled:
    """Compare every row with the messages that the relay accepted for its recipient. Fails if the service's counters
    do not add up; the result holds the contradictions."""
    counters = await assert_adds_up(owner, campaign_id)
    rows = await send_rows(owner, campaign_id)
    accepted: dict[str, list[Accepted]] = defaultdict(list)
    for message in relay.accepted:
        for recipient in message.recipients:
            accepted[recipient].append(message)
    is_finished = not any(row["status"] in _DUE for row in rows)
    strangers = accepted.keys() - {row["email"] for row in rows}
    return Reconciled(
        counters=counters,
        rows=rows,
        lost=[_name(row) for row in rows if row["status"] == "DELIVERED" and not accepted[row["email"]]],
        duplicates=sum(len(messages) - 1 for messages in accepted.values() if messages),
        ambiguous=sum(row["unconfirmed_at"] is not None for row in rows),
        contradictions=[
            *(
                f"{_name(row)}: {doubt}"
                for row in rows
                for doubt in _doubts(row, accepted[row["email"]], is_finished=is_finished)
            ),
            *(f"{stranger} is in no row, and the relay accepted a message for it" for stranger in strangers),
        ],
    )


def _name(row: dict[str, Any]) -> str:
    return f"{row['contact_id']} ({row['status']}, {row['attempts']} attempts)"


def _doubts(row: dict[str, Any], accepted: list[Accepted], *, is_finished: bool) -> list[str]:
    certain = row["unconfirmed_at"] is None
    doubts = {
        "the relay accepted it, and its status does not say so": (
            bool(accepted) and certain and row["status"] not in ("DELIVERED", "SENDING")
        ),
        "the relay accepted it twice, and it was never unconfirmed": len(accepted) > 1 and certain,
        f"the relay accepted it {len(accepted)} times, more often than it was tried": len(accepted) > row["attempts"],
        "its attempts had different Message-IDs": len({_message_id(message) for message in accepted}) > 1,
        "it is UNCONFIRMED, and has no unconfirmed_at": row["status"] == "UNCONFIRMED" and certain,
        "it has an attempt, and no marked_at": row["attempts"] > 0 and row["marked_at"] is None,
        "it waits for another try, and has neither a batch nor a due time": (
            row["status"] in _DUE and not is_finished and row["batch"] is None and row["due_at"] is None
        ),
    }
    return [doubt for doubt, applies in doubts.items() if applies]


def _message_id(message: Accepted) -> str | None:
    return message_from_bytes(message.content.partition(b"\r\n\r\n")[0])["Message-ID"]
