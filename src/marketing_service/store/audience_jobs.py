"""Which organisations have audiences to read: expansions and preflights that are due and that no worker has claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.expansions import EXPANSION_IS_DUE
from marketing_service.store.preflights import PREFLIGHT_IS_DUE

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_ORGANISATION = text("SELECT org_id FROM marketing_campaigns WHERE id = :campaign_id")


async def campaign_organisation(connection: AsyncConnection, campaign_id: UUID) -> str | None:
    """The organisation of a campaign; None if there is no such campaign."""
    org_id = (await connection.execute(_ORGANISATION, {"campaign_id": campaign_id})).scalar_one_or_none()
    return None if org_id is None else str(org_id)


_OTHERS_WAIT = text(
    f"""
    SELECT EXISTS (SELECT FROM marketing_campaigns c WHERE {EXPANSION_IS_DUE} AND c.org_id <> ALL(:held))
        OR EXISTS (SELECT FROM marketing_preflights k WHERE {PREFLIGHT_IS_DUE} AND k.org_id <> ALL(:held))
    """
)


async def others_wait(connection: AsyncConnection, held: Collection[str]) -> bool:
    """Whether an organisation that is not in `held` has an audience to read."""
    return bool((await connection.execute(_OTHERS_WAIT, {"held": sorted(held)})).scalar_one())
