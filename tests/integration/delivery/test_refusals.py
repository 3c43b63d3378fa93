"""Refusals: the envelope is REFUSED in the right phase, and the session continues."""

from __future__ import annotations

import asyncio

import pytest

from marketing_service.delivery.connection import MAX_REFUSALS_IN_A_ROW
from marketing_service.ports import SubmissionOutcome
from marketing_service.replies import Phase
from tests.integration.delivery.support import envelope, envelopes, mailer_for, shorten_timeouts, submit
from tests.integration.delivery.test_transactions import PIPELINING, submit_all
from tests.support.relay import Relay, Step, answer, hang_up, silence


@PIPELINING
@pytest.mark.parametrize("code", [451, 550])
@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_one_of_three_is_refused_and_the_others_are_delivered(
    *, pipelining: bool, code: int, step: Step, at: int
) -> None:
    mails = envelopes(3)
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(step, answer(code, "5.7.1 No"), nth=at + 1)
        async with mailer.connection() as connection:
            submitted = await submit_all(connection, mails)
    assert [one.outcome for one in submitted] == [
        SubmissionOutcome.REFUSED if n == at else SubmissionOutcome.ACCEPTED for n in range(3)
    ]
    assert submitted[at].phase is Phase(step.value)
    assert [one.reply.code for one in submitted if one.reply] == [code]
    assert [m.content for m in relay.accepted] == [m.content for n, m in enumerate(mails) if n != at]
    assert relay.connections == 1


async def test_a_message_that_follows_a_refusal_after_which_the_relay_hangs_up_is_not_the_reason() -> None:
    """Its MAIL was sent ahead. A message that loses its connection several times uses up a try; this one does not."""
    refusal = answer(432, "4.3.2 Concurrent connections limit exceeded", then=hang_up())
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.DOT, refusal)
        async with mailer.connection() as connection:
            refused, following = await submit_all(connection, envelopes(2))
    assert (refused.outcome, following.outcome) == (SubmissionOutcome.REFUSED, SubmissionOutcome.NOT_BEGUN)


async def test_after_several_refusals_in_a_row_the_connection_is_replaced() -> None:
    """A relay delays its replies on a connection with many refusals."""
    mails = envelopes(3 * MAX_REFUSALS_IN_A_ROW)
    accepted = mails[MAX_REFUSALS_IN_A_ROW - 2]
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.RCPT, answer(450, "4.2.0 Greylisted"), when=lambda now: now.recipient != accepted.recipient)
        outcomes = []
        for mail in mails:
            async with mailer.connection() as connection:
                outcomes.append((await connection.submit(mail)).outcome)
    assert outcomes.count(SubmissionOutcome.REFUSED) == len(mails) - 1
    assert outcomes.count(SubmissionOutcome.ACCEPTED) == 1, "it starts a new count"
    assert relay.connections == 3


@PIPELINING
async def test_an_open_transaction_is_reset_before_the_next(*, pipelining: bool) -> None:
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(Step.RCPT, answer(550, "5.1.1 No"), nth=1)
        async with mailer.connection() as connection:
            await submit_all(connection, envelopes(2))
    verbs = [verb for verb in relay.verbs() if verb in ("RSET", "MAIL")]
    assert verbs == ["MAIL", "RSET", "MAIL"]


async def test_the_reset_costs_no_round_trip() -> None:
    async with Relay(keep_reads=True) as relay, mailer_for(relay) as mailer:
        relay.on(Step.RCPT, answer(550, "5.1.1 No"), nth=1)
        async with mailer.connection() as connection:
            await submit_all(connection, envelopes(2))
    assert any(octets.startswith(b"RSET\r\nMAIL") and octets.endswith(b"DATA\r\n") for _, octets in relay.reads)


async def test_a_relay_that_refuses_rset_is_disconnected() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.RCPT, answer(550, "5.1.1 No"), nth=1)
        relay.on(Step.RSET, answer(502, "5.5.1 What?"))
        async with mailer.connection() as connection:
            refused, lost = await submit_all(connection, envelopes(2))
            assert not connection.usable
    assert (refused.outcome, lost.outcome) == (SubmissionOutcome.REFUSED, SubmissionOutcome.NOT_BEGUN)
    assert not relay.accepted


async def test_a_lone_dot_ends_a_data_that_is_open_although_the_recipient_was_refused() -> None:
    """RFC 2920 §3.1. The reply to the dot is read, so it does not count for the next envelope."""
    async with Relay(keep_reads=True) as relay, mailer_for(relay) as mailer:
        relay.on(Step.RCPT, answer(550, "5.1.1 No"), nth=2)
        relay.on(Step.DATA, answer(354, "Go ahead all the same"), nth=2)
        async with mailer.connection() as connection:
            submitted = await submit_all(connection, envelopes(3))
    assert [one.outcome for one in submitted] == [
        SubmissionOutcome.ACCEPTED,
        SubmissionOutcome.REFUSED,
        SubmissionOutcome.ACCEPTED,
    ]
    assert submitted[1].phase is Phase.RCPT
    assert b".\r\n" in [octets for _, octets in relay.reads]
    assert relay.recipients == {"user0@example.com": 1, "user2@example.com": 1}
    assert relay.connections == 1


@pytest.mark.parametrize("last", [silence(), hang_up(), answer(354, "What?")])
async def test_a_lone_dot_without_a_reply_does_not_change_the_refusal(last: object) -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.RCPT, answer(550, "5.1.1 No"))
        relay.on(Step.DATA, answer(354, "Go ahead all the same"))
        relay.on(Step.DOT, last)  # type: ignore[arg-type] # a parametrized Behaviour
        async with mailer.connection() as connection:
            shorten_timeouts(connection)
            submitted = await connection.submit(envelope())
    assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.REFUSED, Phase.RCPT)
    assert not relay.accepted


async def test_no_empty_message_is_sent_if_the_recipient_was_accepted_although_mail_was_refused() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.MAIL, answer(550, "5.7.1 No"))
        relay.on(Step.RCPT, answer(250, "2.1.5 All the same"))
        async with mailer.connection() as connection:
            submitted = await connection.submit(envelope())
            assert not connection.usable
        await relay.until(lambda: relay.open == 0)
    assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.REFUSED, Phase.MAIL)
    assert not relay.accepted


@PIPELINING
@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
async def test_a_refusal_counts_although_the_relay_closes_the_connection_after_it(
    *, pipelining: bool, step: Step
) -> None:
    """If it were LOST, the send would be tried again at once, and without end."""
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(step, answer(550, "5.7.1 No", then=hang_up()))
        async with mailer.connection() as connection:
            submitted = await submit(connection, envelope(), envelope())
    assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.REFUSED, Phase(step.value))
    assert not relay.accepted


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA])
async def test_a_refusal_that_was_received_before_the_connection_ended_counts(*, step: Step) -> None:
    """The envelope was pipelined. The relay refused it and closed the connection before it was submitted."""
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(step, answer(421, "4.7.0 Enough"), nth=2)
        first, second = envelopes(2)
        async with mailer.connection() as connection:
            assert (await submit(connection, first, second)).outcome is SubmissionOutcome.ACCEPTED
            await relay.until(lambda: relay.open == 0)
            await asyncio.sleep(0.05)
            assert not connection.usable
            submitted = await connection.submit(second)
            assert connection.closing_reply == submitted.reply
    assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.REFUSED, Phase(step.value))


async def test_a_pipelined_envelope_without_a_reply_is_not_begun() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.MAIL, hang_up(), nth=2)
        first, second = envelopes(2)
        async with mailer.connection() as connection:
            assert (await submit(connection, first, second)).outcome is SubmissionOutcome.ACCEPTED
            await relay.until(lambda: relay.open == 0)
            await asyncio.sleep(0.05)
            submitted = await connection.submit(second)
    assert (submitted.outcome, submitted.detail) == (SubmissionOutcome.NOT_BEGUN, "the relay closed the connection")


@PIPELINING
async def test_a_large_message_refused_before_its_end(*, pipelining: bool) -> None:
    """Some relays send 552 during the message and close the connection: that is a refusal, not a delivery."""
    large = envelope(body=b"Subject: large\r\n\r\n" + b"x" * 76 * 400_000 + b"\r\n")
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(Step.BODY, answer(552, "5.3.4 Too much"))
        async with mailer.connection() as connection:
            submitted = await submit(connection, large, envelope())
            assert not connection.usable
    assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.REFUSED, Phase.DOT)
    assert submitted.reply is not None
    assert submitted.reply.code == 552
    assert not relay.accepted
