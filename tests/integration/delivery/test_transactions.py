"""Messages submitted one after another on one working connection."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from marketing_service.ports import Envelope, MailConnection, Submission, SubmissionOutcome
from marketing_service.replies import Phase
from tests.integration.delivery.support import BODY, SENDER, envelope, envelopes, mailer_for, submit
from tests.support.relay import Relay, Step, answer, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

PIPELINING = pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "stepwise"])


async def submit_all(connection: MailConnection, mails: Sequence[Envelope]) -> list[Submission]:
    """Each is announced before the submission of the one before it."""
    return [
        await submit(connection, mail, following)
        for mail, following in itertools.zip_longest(mails, mails[1:])
        if mail is not None
    ]


@PIPELINING
@pytest.mark.parametrize("tls", ["no", "starttls", "implicit"])
async def test_messages_arrive_once_each_in_order_and_unchanged(*, pipelining: bool, tls: str) -> None:
    mails = envelopes(20)
    relay = Relay(pipelining=pipelining, tls=tls, credentials=("news", "s3cret: @/"))  # type: ignore[arg-type] # parametrize
    async with relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        submitted = await submit_all(connection, mails)
    assert {(one.outcome, one.phase) for one in submitted} == {(SubmissionOutcome.ACCEPTED, Phase.DOT)}
    assert [(m.sender, m.recipients, m.content) for m in relay.accepted] == [
        (mail.sender, (mail.recipient,), mail.content) for mail in mails
    ]
    assert relay.connections == 1
    assert relay.verbs()[-1] == "QUIT"


async def test_the_next_envelope_is_sent_with_the_end_of_the_message() -> None:
    """RFC 2920: body, dot, MAIL, RCPT and DATA are one write; nothing is written between them."""
    first, second = envelopes(2)
    async with Relay(keep_reads=True) as relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        relay.reads.clear()
        await submit_all(connection, [first, second])
        assert [octets for _, octets in relay.reads] == [
            b"MAIL FROM:<news@example.com> SIZE=18 BODY=8BITMIME\r\nRCPT TO:<user0@example.com>\r\nDATA\r\n",
            b"Subject: 0\r\n\r\n.0\r\n".replace(b".0", b"..0") + b".\r\n"
            b"MAIL FROM:<news@example.com> SIZE=18 BODY=8BITMIME\r\nRCPT TO:<user1@example.com>\r\nDATA\r\n",
            b"Subject: 1\r\n\r\n..1\r\n.\r\n",
        ]


async def test_nothing_is_announced_to_a_relay_without_pipelining() -> None:
    relay = Relay(keep_reads=True, pipelining=False)
    async with relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        relay.reads.clear()
        await submit_all(connection, envelopes(2))
        assert [octets.split(b" ")[0].strip() for _, octets in relay.reads] == [
            *(b"MAIL", b"RCPT", b"DATA", b"Subject:"),
            *(b"MAIL", b"RCPT", b"DATA", b"Subject:"),
        ]


@PIPELINING
async def test_a_message_waits_for_its_354(*, pipelining: bool) -> None:
    relay = Relay(keep_reads=True, pipelining=pipelining)
    async with relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        go_ahead = asyncio.Event()
        relay.on(Step.DATA, wait_for(go_ahead))
        seen: list[bytes] = []
        task = asyncio.ensure_future(connection.submit(envelope()))
        await relay.until(lambda: "DATA" in relay.verbs())
        await asyncio.sleep(0.05)
        seen = [octets for _, octets in relay.reads]
        go_ahead.set()
        assert (await task).outcome is SubmissionOutcome.ACCEPTED
    assert not any(b"Subject:" in octets for octets in seen)


async def test_at_most_one_final_dot_is_unanswered() -> None:
    """The second message is not written before the reply to the first, although its DATA is open."""
    first, second = envelopes(2)
    async with Relay(keep_reads=True) as relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        accept = asyncio.Event()
        relay.on(Step.DOT, wait_for(accept), nth=1)
        task = asyncio.ensure_future(submit_all(connection, [first, second]))
        await relay.until(lambda: any(b"..0\r\n.\r\n" in octets for _, octets in relay.reads))
        await asyncio.sleep(0.05)
        assert not relay.accepted
        assert not any(b"..1" in octets for _, octets in relay.reads)
        accept.set()
        assert [hand.outcome for hand in await task] == [SubmissionOutcome.ACCEPTED, SubmissionOutcome.ACCEPTED]


@PIPELINING
async def test_replies_of_many_lines_in_many_segments(*, pipelining: bool) -> None:
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(Step.MAIL, answer(250, "2.1.0 one\n2.1.0 two", gap=0.001))
        relay.on(Step.RCPT, answer(250, "\n\n", gap=0.001))
        relay.on(Step.DATA, answer(354, "go\nahead", gap=0.001))
        relay.on(Step.DOT, answer(451, "4.3.0 a\n4.3.0 b", gap=0.001))
        async with mailer.connection() as connection:
            submitted = await submit_all(connection, envelopes(3))
    assert [(one.outcome, one.reply.text if one.reply else "") for one in submitted] == [
        (SubmissionOutcome.REFUSED, "4.3.0 a 4.3.0 b")
    ] * 3
    assert relay.connections == 1


@PIPELINING
@pytest.mark.parametrize("eight_bit", [True, False])
async def test_a_connection_knows_whether_its_relay_accepts_8_bit(*, pipelining: bool, eight_bit: bool) -> None:
    relay = Relay(pipelining=pipelining, eight_bit=eight_bit, size=None)
    async with relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        assert connection.eight_bit is eight_bit
        await submit_all(connection, envelopes(2))
    mail_from = f"MAIL FROM:<{SENDER}>" + " BODY=8BITMIME" * eight_bit
    assert [line for _, line in relay.commands if line.startswith("MAIL")] == [mail_from] * 2


async def test_a_relay_that_supports_only_helo() -> None:
    async with Relay(extended=False) as relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        assert [one.outcome for one in await submit_all(connection, envelopes(2))] == [SubmissionOutcome.ACCEPTED] * 2
    assert relay.verbs()[:3] == ["EHLO", "HELO", "MAIL"]


@PIPELINING
@pytest.mark.parametrize("tls", ["no", "implicit"])
async def test_a_large_message_arrives_whole(*, pipelining: bool, tls: str) -> None:
    body = b"Subject: large\r\n\r\n" + b".2345678\r\n" * 300_000
    relay = Relay(pipelining=pipelining, tls=tls)  # type: ignore[arg-type] # a parametrized string
    mails = [envelope(body=body), envelope()]
    async with relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        submitted = await submit_all(connection, mails)
    assert [one.outcome for one in submitted] == [SubmissionOutcome.ACCEPTED] * 2
    assert [message.content for message in relay.accepted] == [body, BODY]


@PIPELINING
@pytest.mark.parametrize(
    ("sender", "recipient", "phase"),
    [
        (SENDER, "jörg@example.com", Phase.RCPT),
        (SENDER, "a@example.com>\r\nRCPT TO:<b@example.com", Phase.RCPT),
        ("a b@example.com", "ann@example.com", Phase.MAIL),
    ],
)
async def test_an_invalid_address_is_refused_without_being_sent(
    *, pipelining: bool, sender: str, recipient: str, phase: Phase
) -> None:
    bad = Envelope(sender, recipient, BODY)
    relay = Relay(pipelining=pipelining)
    async with relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        submitted = await submit_all(connection, [envelope(), bad, envelope()])
    assert [one.outcome for one in submitted] == [
        SubmissionOutcome.ACCEPTED,
        SubmissionOutcome.REFUSED,
        SubmissionOutcome.ACCEPTED,
    ]
    assert submitted[1].phase is phase
    assert submitted[1].reply is not None
    assert submitted[1].reply.enhanced_code == "5.1.3"
    assert relay.recipients == {"ann@example.com": 2}
    assert relay.connections == 1
    assert not any(word in line for _, line in relay.commands for word in ("jörg", "b@", "a@", "a b"))
