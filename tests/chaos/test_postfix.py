"""A real Postfix that limits or refuses us: nobody fails for it, and the campaign names the true reason."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from marketing_service.campaigns import drafts
from marketing_service.devstack.process import free_port
from tests.support.ledger import assert_adds_up, campaign_row
from tests.support.postfix import missing, postfix
from tests.support.relay import Relay
from tests.support.world import World, open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from marketing_service.db import Database

POSTGREY = "/usr/sbin/postgrey"
# Postfix exempts its own networks, and so the loopback interface, from these limits by default.
NOBODY_IS_EXEMPT = "smtpd_client_event_limit_exceptions =\n"
RECIPIENTS = [f"p{number}@d{number % 30}.example" for number in range(150)]
FEW = RECIPIENTS[:12]

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"needs a Postfix: {missing()}")


@asynccontextmanager
async def sending_through(
    owner: Database,
    database_url: str,
    redis_url: str,
    settings: str,
    *,
    log_in: str = "",
    retry_delays: str = "1,2,4,8,8",
    rate_relay: str = "",
) -> AsyncIterator[tuple[World, Relay]]:
    """The service with a Postfix of these settings as its relay, and the server to which Postfix delivers."""
    port = free_port()
    async with (
        Relay() as receiver,
        postfix(port=port, next_hop=receiver.port, settings=settings),
        open_world(
            owner,
            database_url,
            redis_url,
            smtp_url=f"smtp://{log_in}127.0.0.1:{port}",
            smtp_connections="20",
            retry_delays=retry_delays,
            rate_relay=rate_relay,
        ) as world,
    ):
        yield world, receiver


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(f"{NOBODY_IS_EXEMPT}smtpd_client_connection_count_limit = 5\n", id="connection count"),
        pytest.param(
            # 60 messages in ten seconds, so that the test does not take minutes.
            f"{NOBODY_IS_EXEMPT}smtpd_client_message_rate_limit = 60\nanvil_rate_time_unit = 10s\n",
            id="message rate",
            marks=pytest.mark.full,
        ),
    ],
)
async def test_a_postfix_that_limits_its_clients_is_driven_at_what_it_allows(
    owner: Database, database_url: str, redis_url: str, settings: str
) -> None:
    async with sending_through(owner, database_url, redis_url, settings) as (world, receiver):
        campaign_id = await world.launch_to(*RECIPIENTS)
        started = time.monotonic()
        with capture_logs() as lines:
            async with world.working():
                row = await world.until_status(campaign_id, "SENT", seconds=180)
        minutes = 1 + int((time.monotonic() - started) / 60)
        causes = Counter((line["event"], line.get("phase")) for line in lines)
        assert causes, "each limit is logged"
        assert max(causes.values()) <= minutes, causes
        assert (row["delivered"], row["failed"], row["unconfirmed"]) == (len(RECIPIENTS), 0, 0)
        sends = await world.sends(campaign_id)
        assert {send["tries"] for send in sends.values()} == {1}, "a limit of the relay uses up no try"
        assert row["pause_reason"] is None
        await assert_adds_up(owner, campaign_id)
        await until(lambda: _all_received(receiver, RECIPIENTS))
        assert set(receiver.recipients.values()) == {1}


async def _all_received(receiver: Relay, recipients: list[str]) -> bool:
    return receiver.recipients.keys() == set(recipients)


@pytest.mark.parametrize(
    ("settings", "log_in", "reason", "says"),
    [
        ("message_size_limit = 1000\n", "", "MESSAGE_TOO_LARGE", "at most 1000"),
        (
            "smtpd_sender_restrictions = reject_unknown_sender_domain\nsmtpd_delay_reject = no\n",
            "",
            "RELAY_REFUSES_SENDER",
            "Domain not found",
        ),
        (
            "smtpd_sender_restrictions = reject_unknown_sender_domain\n",
            "",
            "RELAY_REFUSES_SENDER",
            "Domain not found",
        ),
        ("{sasl}", "mailer:wrong@", "RELAY_LOGIN_REFUSED", "authentication failed"),
    ],
    ids=["size", "unknown sender domain at MAIL", "unknown sender domain at RCPT", "log-in"],
)
async def test_a_postfix_that_refuses_us_pauses_the_campaign_and_fails_nobody(
    owner: Database, database_url: str, redis_url: str, settings: str, log_in: str, reason: str, says: str
) -> None:
    async with (
        refusing_sasl() as sasl,
        sending_through(owner, database_url, redis_url, settings.format(sasl=sasl), log_in=log_in) as (world, receiver),
    ):
        campaign_id = await world.launch_to(*FEW)

        async def paused() -> bool:
            return bool((await campaign_row(owner, campaign_id))["pause_reason"] == reason)

        async with world.working():
            await until(paused)
        async with world.api.transactions(world.org_id) as tx:
            campaign = await drafts.get(tx, world.org_id, campaign_id)
        assert campaign.pause_message is not None
        assert says in campaign.pause_message
        assert (await campaign_row(owner, campaign_id))["failed"] == 0
        assert {send["tries"] for send in (await world.sends(campaign_id)).values()} == {0}
        assert not receiver.recipients
        await assert_adds_up(owner, campaign_id)


@asynccontextmanager
async def refusing_sasl() -> AsyncIterator[str]:
    """An authentication server with Dovecot's protocol that knows nobody. Yields the settings that make Postfix use it:
    Postfix itself can only ask such a server."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n")
        while line := await reader.readline():
            if line.startswith(b"AUTH\t"):
                writer.write(b"FAIL\t" + line.split(b"\t")[1] + b"\tuser=mailer\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield (
            f"smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:127.0.0.1:{port}\n"
            "smtpd_sasl_security_options =\n"
        )


@pytest.mark.skipif(not os.access(POSTGREY, os.X_OK), reason=f"{POSTGREY} is not installed (Debian's package postgrey)")
@pytest.mark.parametrize(
    ("count", "rate"), [(500, "50/second"), pytest.param(2735, "300/second", marks=pytest.mark.full)]
)
async def test_behind_a_greylist_second_tries_do_not_wait_for_all_first_tries(
    owner: Database, database_url: str, redis_url: str, count: int, rate: str
) -> None:
    recipients = [f"p{number}@d{number % 30}.example" for number in range(count)]
    async with (
        greylist(seconds=3) as port,
        sending_through(
            owner,
            database_url,
            redis_url,
            f"smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{port}\n",
            retry_delays="4,4,4,4,4",
            rate_relay=rate,
        ) as (world, receiver),
    ):
        campaign_id = await world.launch_to(*recipients)
        async with world.working():
            row = await world.until_status(campaign_id, "SENT", seconds=300)
        assert (row["delivered"], row["failed"], row["unconfirmed"]) == (count, 0, 0)
        sends = (await world.sends(campaign_id)).values()
        assert min(send["tries"] for send in sends) == 2, "the greylist refuses the first try of everybody"
        first_delivery, last_first_try = min(s["sent_at"] for s in sends), max(s["marked_at"] for s in sends)
        assert first_delivery < last_first_try, "the first second tries go out before the last first tries"
        await assert_adds_up(owner, campaign_id)
        await until(lambda: _all_received(receiver, recipients))
        assert set(receiver.recipients.values()) == {1}


@asynccontextmanager
async def greylist(*, seconds: int) -> AsyncIterator[int]:
    """A postgrey that refuses each new combination of sender and recipient for so long. Yields its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgrey-", dir="/tmp") as folder:
        shutil.chown(folder, "postgrey", "postgrey")
        nothing = [f"--{name}=/dev/null" for name in ("whitelist-clients", "whitelist-recipients")]
        process = await asyncio.create_subprocess_exec(
            *(POSTGREY, f"--inet=127.0.0.1:{port}", f"--delay={seconds}", f"--dbdir={folder}", *nothing),
            *("--user=postgrey", "--group=postgrey", "--auto-whitelist-clients=1000"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(_accepts(port))
            yield port
        finally:
            process.terminate()
            await process.wait()


def _accepts(port: int) -> Callable[[], Awaitable[bool]]:
    async def accepts() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    return accepts
