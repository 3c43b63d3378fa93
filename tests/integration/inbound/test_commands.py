"""`marketing-service bounces`, as the operator of a mail server runs it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.errors import SettingsError
from marketing_service.inbound import Listener, handle_message, run_listener
from tests.support.ledger import assert_adds_up, send_rows
from tests.support.listeners import BOUNCES, listener
from tests.support.lmtp import calling
from tests.support.reports import ADDRESSES, KEY, UNKNOWN_USER, delivery_report
from tests.support.workers import worker_environment
from tests.support.world import make_settings

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database

    Delivered = tuple[UUID, list[dict[str, Any]]]


def environment(database_url: str, redis_url: str, **settings: str) -> dict[str, str]:
    values = {"bounce_domain": ADDRESSES.domain, "token_keys": KEY, "log_level": "INFO"} | settings
    return worker_environment(database_url=database_url, redis_url=redis_url, smtp_url="smtp://127.0.0.1:9", **values)


async def pipe(settings: dict[str, str], recipient: str, raw: bytes) -> tuple[int, str]:
    """The exit code, and the text on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(*BOUNCES, "pipe", "--recipient", recipient),
        env=settings,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate(raw)
    assert process.returncode is not None
    return process.returncode, stderr.decode()


async def test_the_listener_receives_reports_until_sigterm(
    database_url: str, redis_url: str, owner: Database, delivered: Delivered
) -> None:
    campaign_id, (send, *_) = delivered
    async with listener(environment(database_url, redis_url)) as (process, port):
        async with calling(port) as mta:
            await mta.addresses(ADDRESSES.of(send["id"], 1))
            assert await mta.sends(delivery_report(UNKNOWN_USER)) == ["250 2.0.0 Done"]
            process.send_signal(signal.SIGTERM)
            assert (await mta.reply()).startswith("421")
        assert process.stderr is not None
        log = (await process.stderr.read()).decode()
        assert await process.wait() == 0
    assert "listener_stopped" in log
    assert "report_handled" in log
    # The log contains no address and no token.
    assert "@" not in log
    assert re.search("[a-z2-7]{48}", log) is None
    assert (await assert_adds_up(owner, campaign_id))["hard_bounces"] == 1


async def test_without_a_bounce_domain_nothing_starts(database_url: str, redis_url: str) -> None:
    settings = make_settings(database_url=database_url, redis_url=redis_url)
    with pytest.raises(SettingsError, match="MARKETING_BOUNCE_DOMAIN is not set"):
        await run_listener(settings, Listener("127.0.0.1", 0))
    with pytest.raises(SettingsError, match="MARKETING_BOUNCE_DOMAIN is not set"):
        await handle_message(settings, ADDRESSES.complaints, BytesIO())


async def test_a_port_in_use_is_an_error(database_url: str, redis_url: str) -> None:
    settings = make_settings(database_url=database_url, redis_url=redis_url, bounce_domain=ADDRESSES.domain)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError, match="listen"):
        await run_listener(settings, Listener("127.0.0.1", taken.getsockname()[1]))


async def test_the_pipe_handles_one_message(
    database_url: str, redis_url: str, owner: Database, delivered: Delivered
) -> None:
    campaign_id, (send, *_) = delivered
    recipient = ADDRESSES.of(send["id"], 1)
    raw = delivery_report(UNKNOWN_USER)
    assert (await pipe(environment(database_url, redis_url), recipient, raw))[0] == os.EX_OK
    row = (await send_rows(owner, campaign_id))[0]
    assert (row["status"], row["reason"]) == ("FAILED", "BOUNCED_HARD")
    settings = make_settings(database_url=database_url, redis_url=redis_url, bounce_domain=ADDRESSES.domain)
    # A copy of the report changes nothing. An address of another service is refused.
    assert await handle_message(settings, recipient, BytesIO(raw)) == os.EX_OK
    assert await handle_message(settings, "ann@example.com", BytesIO(raw * 30_000)) == os.EX_NOUSER


async def test_the_pipe_asks_the_mail_server_to_retry_while_postgresql_is_down(
    redis_url: str, delivered: Delivered
) -> None:
    _, (send, *_) = delivered
    unreachable = environment("postgresql://nobody@127.0.0.1:9/nothing", redis_url)
    code, stderr = await pipe(unreachable, ADDRESSES.of(send["id"], 1), delivery_report(UNKNOWN_USER))
    assert code == os.EX_TEMPFAIL
    assert "PostgreSQL does not answer" in stderr
