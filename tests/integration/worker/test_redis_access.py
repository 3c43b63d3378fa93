"""Redis with an access list: a user needs no dangerous command, and only the keys that docs/operating.md names."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from redis.exceptions import NoPermissionError
from structlog.testing import capture_logs

from marketing_service.queue import connect
from tests.support.project import ROOT
from tests.support.world import open_world

if TYPE_CHECKING:
    from marketing_service.db import Database


async def test_a_user_without_dangerous_commands_can_do_everything(
    owner: Database, database_url: str, redis_url: str
) -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    documented = re.search(r"^ACL SETUSER marketing (.*)$", page, re.MULTILINE)
    assert documented is not None
    name = f"marketing-{uuid.uuid4().hex[:8]}"
    rights = documented[1].replace("…", "secret").split()
    administrator = connect(redis_url)
    await administrator.execute_command("ACL", "SETUSER", name, *rights)  # type: ignore[no-untyped-call] # redis has no types here
    url = urlsplit(redis_url)._replace(netloc=f"{name}:secret@{urlsplit(redis_url).netloc}").geturl()
    try:
        client = connect(url)
        for refused in (("INFO",), ("KEYS", "*"), ("FLUSHALL",), ("GET", "another")):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*refused)  # type: ignore[no-untyped-call] # redis has no types here
        await client.aclose(close_connection_pool=True)
        with capture_logs() as lines:
            async with open_world(owner, database_url, url, rate_relay="100/second") as world:
                campaign_id = await world.launch()
                async with world.working():
                    row = await world.until_status(campaign_id, "SENT")
        assert row["delivered"] > 0
        assert {line["event"] for line in lines} & {"arq_ended", "queue_unavailable", "rates_unavailable"} == set()
    finally:
        await administrator.execute_command("ACL", "DELUSER", name)  # type: ignore[no-untyped-call] # redis has no types here
        await administrator.aclose(close_connection_pool=True)
