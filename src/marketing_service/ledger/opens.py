"""Opens: one per send. A later load changes only the load count, the last moment and whether a person was there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from marketing_service.db import Call


class Load(NamedTuple):
    """One load of a send's pixel, and the reason why it looks like a machine's (None: it does not)."""

    send_id: UUID
    machine_reason: str | None


async def record_opens(call: Call, loads: Sequence[Load], *, soon_seconds: float, soon_reason: str) -> int:
    """Record loads, of sends of any organisation, in one commit; returns of how many different sends.

    A load within `soon_seconds` after the delivery is a machine's, for `soon_reason`. A send counts as opened by a
    machine until a load looks like a person's. Raises Unavailable.
    """
    row = await call(
        "SELECT known FROM marketing_record_opens_v1($1, $2, $3, $4)",
        [load.send_id for load in loads],
        [load.machine_reason for load in loads],
        soon_seconds,
        soon_reason,
    )
    return int(row["known"])
