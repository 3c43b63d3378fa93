"""The replies that a mail server gets, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.errors import SettingsError, Unavailable
from marketing_service.inbound.metrics import ListenerStats
from marketing_service.inbound.process import require_report_handler
from marketing_service.inbound.session import MAX_OCTETS, Sessions
from marketing_service.metrics import Endpoint, serve_metrics
from marketing_service.reports import Kind
from marketing_service.tracking import Outcome
from tests.support.ledger import assert_adds_up, send_rows
from tests.support.lmtp import calling
from tests.support.reports import ADDRESSES, MAILBOX_FULL, UNKNOWN_USER, VACATION, complaint, delivery_report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from marketing_service.db import Database
    from tests.support.world import World

    Delivered = tuple[UUID, list[dict[str, Any]]]


class Listening:
    """A listener in this process."""

    def __init__(self, world: World) -> None:
        self.stats = ListenerStats()
        self.handler = require_report_handler(world.worker)
        self.sessions = Sessions(self.handler, self.stats)
        self.port = 0


@asynccontextmanager
async def listening(world: World, *, smtp: bool = False) -> AsyncIterator[Listening]:
    listener = Listening(world)
    protocol = listener.sessions.smtp if smtp else listener.sessions.lmtp
    server = await asyncio.get_running_loop().create_server(lambda: protocol("mx.acme.example"), "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        await listener.sessions.drain(5)


@pytest.fixture
async def listener(world: World) -> AsyncIterator[Listening]:
    async with listening(world) as opened:
        yield opened


def return_path(send: dict[str, Any], attempt: int = 1) -> str:
    return ADDRESSES.of(send["id"], attempt)


async def test_a_report_is_committed_before_the_reply(
    listener: Listening, owner: Database, delivered: Delivered
) -> None:
    campaign_id, (send, *_) = delivered
    async with calling(listener.port) as mta:
        assert await mta.addresses(return_path(send)) == ["250 2.1.5 Yes"]
        assert await mta.sends(delivery_report(UNKNOWN_USER)) == ["250 2.0.0 Done"]
        row = (await send_rows(owner, campaign_id))[0]
        assert (row["status"], row["reason"]) == ("FAILED", "BOUNCED_HARD")
        assert (await mta.says("QUIT")).startswith("221")
    assert listener.stats.handled == {(Kind.FAILED, Outcome.BOUNCED_HARD): 1}
    await assert_adds_up(owner, campaign_id)


async def test_lmtp_has_a_reply_for_each_recipient(listener: Listening, owner: Database, delivered: Delivered) -> None:
    """RFC 2033 §4.2: after the final dot, in the order of the recipients, of whom one is refused here."""
    campaign_id, (first, second, _) = delivered
    async with calling(listener.port) as mta:
        replies = await mta.addresses(return_path(first), "nobody@" + ADDRESSES.domain, return_path(second).upper())
        assert [reply[:9] for reply in replies] == ["250 2.1.5", "550 5.1.1", "250 2.1.5"]
        assert await mta.sends(delivery_report(MAILBOX_FULL), 2) == ["250 2.0.0 Done"] * 2
        assert (await mta.says("NOOP")).startswith("250")
    assert [row["status"] for row in await send_rows(owner, campaign_id)] == ["FAILED", "FAILED", "DELIVERED"]
    assert listener.stats.refused == 1


async def test_the_greeting_and_the_verbs_are_those_of_lmtp(listener: Listening) -> None:
    async with calling(listener.port, None) as mta:
        assert (await mta.reply()).startswith("220 mx.acme.example")
        assert (await mta.says("EHLO mx.example")).startswith("500")
        assert (await mta.says("LHLO mx.example")) == "250 ENHANCEDSTATUSCODES"


async def test_unknown_addresses_are_refused_at_rcpt(listener: Listening, delivered: Delivered) -> None:
    _, (send, *_) = delivered
    path = return_path(send)
    forged = path[:20] + ("a" if path[20] != "a" else "b") + path[21:]
    async with calling(listener.port) as mta:
        replies = await mta.addresses(forged, "b-@" + ADDRESSES.domain, "postmaster", "ann@example.com")
        assert {reply[:9] for reply in replies} == {"550 5.1.1"}
        assert (await mta.says("DATA")).startswith("503")


async def test_a_complaint_arrives_at_the_address_for_complaints(
    listener: Listening, owner: Database, delivered: Delivered
) -> None:
    campaign_id, (send, *_) = delivered
    async with calling(listener.port) as mta:
        assert await mta.addresses(ADDRESSES.complaints) == ["250 2.1.5 Yes"]
        assert await mta.sends(complaint(send["id"])) == ["250 2.0.0 Done"]
    assert (await send_rows(owner, campaign_id))[0]["unsubscribed_at"] is not None


async def test_one_session_delivers_several_messages(
    listener: Listening, owner: Database, delivered: Delivered
) -> None:
    campaign_id, sends = delivered
    async with calling(listener.port) as mta:
        for send in sends:
            await mta.addresses(return_path(send))
            assert await mta.sends(delivery_report(UNKNOWN_USER)) == ["250 2.0.0 Done"]
    assert (await assert_adds_up(owner, campaign_id))["hard_bounces"] == 3


async def test_an_error_about_a_message_is_sent_for_each_recipient(listener: Listening, delivered: Delivered) -> None:
    """Otherwise a client that waits for the second reply would hang."""
    _, (first, second, _) = delivered
    async with calling(listener.port) as mta:
        await mta.addresses(return_path(first), return_path(second))
        huge = (b"x" * 998 + b"\r\n") * (MAX_OCTETS // 1000 + 1)
        replies = await mta.sends(huge, 2)
        assert {reply[:3] for reply in replies} == {"552"}
        assert (await mta.says("RSET")).startswith("250")
        assert await mta.addresses(return_path(first)) == ["250 2.1.5 Yes"]


async def test_a_message_announced_as_too_large_is_refused_at_mail(listener: Listening) -> None:
    async with calling(listener.port) as mta:
        assert (await mta.says(f"MAIL FROM:<> SIZE={MAX_OCTETS + 1}")).startswith("552")


async def test_long_lines_any_octets_and_leading_dots_are_accepted(
    listener: Listening, owner: Database, delivered: Delivered
) -> None:
    campaign_id, (send, *_) = delivered
    report = delivery_report(UNKNOWN_USER).replace(b"What follows", b"\r\n.\r\n..x\r\n" + b"\xff" * 50_000)
    async with calling(listener.port) as mta:
        await mta.addresses(return_path(send))
        assert await mta.sends(report) == ["250 2.0.0 Done"]
    assert (await send_rows(owner, campaign_id))[0]["status"] == "FAILED"


async def test_pipelined_commands_get_their_replies_in_order(
    listener: Listening, owner: Database, delivered: Delivered
) -> None:
    """PIPELINING (RFC 2920), which RFC 2033 §5 requires."""
    campaign_id, (send, *_) = delivered
    async with calling(listener.port) as mta:
        commands = f"MAIL FROM:<>\r\nRCPT TO:<{return_path(send)}>\r\nRCPT TO:<no@body.example>\r\nDATA\r\n"
        mta.writer.write(commands.encode())
        assert [(await mta.reply())[:3] for _ in range(4)] == ["250", "250", "550", "354"]
        mta.writer.write(delivery_report(UNKNOWN_USER) + b"\r\n.\r\nQUIT\r\n")
        assert [(await mta.reply())[:3] for _ in range(2)] == ["250", "221"]
    assert (await assert_adds_up(owner, campaign_id))["failed"] == 1


async def test_a_client_that_disconnects_in_a_message_changes_nothing(
    listener: Listening, owner: Database, delivered: Delivered
) -> None:
    campaign_id, sends = delivered
    async with calling(listener.port) as mta:
        await mta.addresses(return_path(sends[0]))
        await mta.says("DATA")
        mta.writer.write(delivery_report(UNKNOWN_USER))
    async with calling(listener.port) as mta:
        assert (await mta.says("NOOP")).startswith("250")
    assert await send_rows(owner, campaign_id) == sends


async def test_while_postgresql_is_down_the_report_must_be_delivered_again(
    listener: Listening, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (send, *_) = delivered

    async def unavailable(*_: object, **__: object) -> None:
        raise Unavailable("PostgreSQL")

    async with calling(listener.port) as mta:
        await mta.addresses(return_path(send))
        with monkeypatch.context() as patch:
            patch.setattr(listener.handler, "handle", unavailable)
            assert (await mta.sends(delivery_report(UNKNOWN_USER)))[0].startswith("451 4.3.0")
        await mta.addresses(return_path(send))
        assert await mta.sends(delivery_report(UNKNOWN_USER)) == ["250 2.0.0 Done"]
    assert listener.stats.postponed == 1


async def test_an_unexpected_exception_loses_no_report(
    listener: Listening, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (send, *_) = delivered

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(listener.handler, "handle", broken)
    async with calling(listener.port) as mta:
        await mta.addresses(return_path(send))
        assert (await mta.sends(delivery_report(UNKNOWN_USER)))[0].startswith("451")


async def test_smtp_has_one_reply_for_all_recipients(world: World, owner: Database, delivered: Delivered) -> None:
    campaign_id, (first, second, _) = delivered
    async with listening(world, smtp=True) as listener, calling(listener.port, "EHLO") as mta:
        await mta.addresses(return_path(first), return_path(second))
        assert await mta.sends(delivery_report(UNKNOWN_USER)) == ["250 2.0.0 Done"]
        assert (await mta.says("LHLO mx.example")).startswith("500")
    assert (await assert_adds_up(owner, campaign_id))["hard_bounces"] == 2


async def test_the_recipient_after_the_hundredth_gets_452(listener: Listening, delivered: Delivered) -> None:
    _, (send, *_) = delivered
    async with calling(listener.port) as mta:
        replies = await mta.addresses(*[return_path(send)] * 101)
        assert [reply[:3] for reply in replies] == ["250"] * 100 + ["452"]


async def test_a_drain_ends_every_session_with_421(listener: Listening) -> None:
    async with calling(listener.port) as mta:
        await listener.sessions.drain(1)
        assert await mta.reply() == "421 4.3.2 Closing"
        assert await mta.reply() == ""


async def test_the_metrics_count_reports_and_refused_recipients(listener: Listening, delivered: Delivered) -> None:
    _, (send, *_) = delivered
    async with calling(listener.port) as mta:
        await mta.addresses(return_path(send), "nobody@" + ADDRESSES.domain)
        await mta.sends(VACATION)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="metrics"), serve_metrics(Endpoint("127.0.0.1", port), listener.stats):
            pass
    with serve_metrics(Endpoint("127.0.0.1", port), listener.stats):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        page = (await reader.read()).decode()
        writer.close()
    assert 'marketing_reports_total{kind="OTHER",outcome="NOTHING"} 1.0' in page
    assert "marketing_reports_refused_total 1.0" in page
    assert "marketing_reports_postponed_total 0.0" in page
