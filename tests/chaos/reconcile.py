"""Holds the service's ledger against the relay's own, row by row."""

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
    """What the two ledgers say together."""

    counters: dict[str, int]
    rows: list[dict[str, Any]]
    """The service's rows, by contact."""
    lost: list[str]
    """Sends the service calls delivered, or through, and the relay never took."""
    duplicates: int
    """Messages the relay took beyond one for each recipient."""
    ambiguous: int
    """Sends that are, or once were, UNCONFIRMED."""
    contradictions: list[str] = field(default_factory=list)
    """Everything else in one ledger that the other does not bear out."""


async def reconcile(owner: Database, campaign_id: UUID, relay: Relay) -> Reconciled:
    """Compare every row with what the relay took for its recipient. Fails where the service's counters do not add
    up; what the two ledgers do not agree on is in the answer."""
    counters = await assert_adds_up(owner, campaign_id)
    rows = await send_rows(owner, campaign_id)
    taken: dict[str, list[Accepted]] = defaultdict(list)
    for message in relay.accepted:
        for recipient in message.recipients:
            taken[recipient].append(message)
    is_through = not any(row["status"] in _DUE for row in rows)
    strangers = taken.keys() - {row["email"] for row in rows}
    return Reconciled(
        counters=counters,
        rows=rows,
        lost=[_name(row) for row in rows if row["status"] == "DELIVERED" and not taken[row["email"]]],
        duplicates=sum(len(messages) - 1 for messages in taken.values() if messages),
        ambiguous=sum(row["unconfirmed_at"] is not None for row in rows),
        contradictions=[
            *(
                f"{_name(row)}: {doubt}"
                for row in rows
                for doubt in _doubts(row, taken[row["email"]], is_through=is_through)
            ),
            *(f"{stranger} is in no row, and the relay took a message for them" for stranger in strangers),
        ],
    )


def _name(row: dict[str, Any]) -> str:
    return f"{row['contact_id']} ({row['status']}, {row['attempts']} attempts)"


def _doubts(row: dict[str, Any], taken: list[Accepted], *, is_through: bool) -> list[str]:
    certain = row["unconfirmed_at"] is None
    doubts = {
        "the relay took it, and nothing says so": (
            bool(taken) and certain and row["status"] not in ("DELIVERED", "SENDING")
        ),
        "the relay took it twice, and it was never unconfirmed": len(taken) > 1 and certain,
        f"the relay took it {len(taken)} times": len(taken) > row["attempts"],
        "its attempts had different Message-IDs": len({_message_id(message) for message in taken}) > 1,
        "it is UNCONFIRMED, and since when is not said": row["status"] == "UNCONFIRMED" and certain,
        "it has a try, and no time": row["attempts"] > 0 and row["marked_at"] is None,
        "it waits for another try, and nothing will bring it": (
            row["status"] in _DUE and not is_through and row["batch"] is None and row["due_at"] is None
        ),
    }
    return [doubt for doubt, pauses in doubts.items() if pauses]


def _message_id(message: Accepted) -> str | None:
    return message_from_bytes(message.content.partition(b"\r\n\r\n")[0])["Message-ID"]
