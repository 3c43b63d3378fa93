"""The suppression list as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.api.csv_cells import lines, moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from marketing_service.store.suppressions import Suppression

HEADER = ("id", "email", "reason", "origin", "campaignId", "note", "createdBy", "createdAt")


async def chunks(first: Sequence[Suppression], more: AsyncIterator[Sequence[Suppression]]) -> AsyncIterator[bytes]:
    """The file, one page at a time. An error of `more` is raised unchanged, so that the connection breaks."""
    yield lines([HEADER])
    yield lines(_row(suppression) for suppression in first)
    async for page in more:
        yield lines(_row(suppression) for suppression in page)


def _row(suppression: Suppression) -> tuple[str | UUID | int | None, ...]:
    return (
        suppression.id,
        suppression.address,
        suppression.reason,
        suppression.origin,
        suppression.campaign_id,
        suppression.note,
        suppression.created_by,
        moment(suppression.created_at),
    )
