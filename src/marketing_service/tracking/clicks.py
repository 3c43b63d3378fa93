"""Clicks: somebody follows a link of a send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.ledger import clicks
from marketing_service.rendering import MergeFields, link_target
from marketing_service.store.clicks import sent_link
from marketing_service.store.sends import note_link_request, organisation_of_send
from marketing_service.tracking.machines import machine_rules

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions


async def follow_link(
    transactions: Transactions, send_id: UUID, number: int, *, counts: bool, by_machine: bool
) -> str | None:
    """The target of the send's link with this number, after the click is recorded. If `counts` is false, only the time
    of the request is recorded. None if there is no such send or link. Raises Unavailable."""
    async with transactions() as tx:
        org_id = await organisation_of_send(tx.connection, send_id)
    if org_id is None:
        return None
    async with transactions(org_id) as tx:
        soon = machine_rules().soon.seconds
        link = await sent_link(tx.connection, send_id=send_id, number=number, soon_seconds=soon)
        if link is None:
            return None
        fields = MergeFields(link.email.strip(), link.first_name, link.last_name, link.company_name)
        target = link_target(link.url, fields)
        if target is not None and counts:
            by_machine = by_machine or link.is_soon
            record = clicks.record_machine_click if by_machine else clicks.record_click
            await record(tx.connection, link, send_id=send_id, number=number)
        elif target is not None:
            await note_link_request(tx.connection, send_id)
    return target


async def note_request(transactions: Transactions, send_id: UUID) -> None:
    """Record that something of the send was requested just now, by a request that counts as nothing. Raises
    Unavailable."""
    async with transactions() as tx:
        org_id = await organisation_of_send(tx.connection, send_id)
    if org_id is not None:
        async with transactions(org_id) as tx:
            await note_link_request(tx.connection, send_id)
