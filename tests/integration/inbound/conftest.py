"""Fixtures for the listener, with a real PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import contact, launched, send_rows
from tests.support.reports import ADDRESSES
from tests.support.steps import deliver_all
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from marketing_service.db import Database


@pytest.fixture
async def world(owner: Database, database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with open_world(owner, database_url, redis_url, bounce_domain=ADDRESSES.domain) as opened:
        yield opened


@pytest.fixture
async def delivered(owner: Database) -> tuple[UUID, list[dict[str, Any]]]:
    """A campaign that was delivered to three contacts, and its sends."""
    campaign_id = await launched(owner, [contact(number) for number in range(3)])
    await deliver_all(owner, campaign_id)
    return campaign_id, await send_rows(owner, campaign_id)
