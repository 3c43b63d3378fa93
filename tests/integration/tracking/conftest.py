"""The whole service in one process, with a bounce domain, and the handler of its reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.tracking.reported import handler_of
from tests.support.ledger import audit_moves, illegal_moves
from tests.support.reports import ADDRESSES
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from marketing_service.db import Database
    from marketing_service.tracking import ReportHandler


@pytest.fixture
async def world(owner: Database, database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with open_world(owner, database_url, redis_url, bounce_domain=ADDRESSES.domain) as opened:
        await audit_moves(owner)
        yield opened
    assert not await illegal_moves(owner)


@pytest.fixture
def handler(world: World) -> ReportHandler:
    return handler_of(world)
