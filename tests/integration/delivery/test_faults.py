"""Broken connections: LOST before the write with the final dot, UNKNOWN after it. They are never used again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from marketing_service.ports import Submission, SubmissionOutcome
from marketing_service.replies import Phase
from tests.integration.delivery.support import envelope, envelopes, mailer_for, shorten_timeouts, submit
from tests.integration.delivery.test_transactions import PIPELINING, submit_all
from tests.support.relay import Behaviour, Relay, Step, answer, hang_up, raw, silence, wait_for

if TYPE_CHECKING:
    from marketing_service.delivery import SmtpMailer


_NO_REPLY = "no reply within 0.15 s"
_MALFORMED = "the relay sent data that is not an SMTP reply"
FAULTS = {
    "hang-up": (hang_up(), "the relay closed the connection"),
    "reset": (hang_up(reset=True), "the "),
    "silence": (silence(), _NO_REPLY),
    "garbage": (raw(b"HTTP/1.1 400 Bad Request\r\n"), _MALFORMED),
    "half-a-line": (raw(b"25", then=silence()), _NO_REPLY),
    "endless-line": (raw(b"2" * 100_000), _MALFORMED),
    "endless-reply": (raw(b"250-more\r\n" * 10_000), _MALFORMED),
    "out-of-place": (answer(334, "UGFzc3dvcmQ6"), "the relay's reply does not fit the command"),
}


@PIPELINING
@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_before_the_dot_is_lost_and_after_it_unknown(*, pipelining: bool, step: Step, fault: str) -> None:
    """The fault affects the second of three envelopes. The first is delivered, the third is NOT_BEGUN."""
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        behaviour, detail = FAULTS[fault]
        relay.on(step, behaviour, nth=2)
        mails = envelopes(3)
        async with mailer.connection() as connection:
            first = await submit(connection, mails[0], mails[1])
            shorten_timeouts(connection)
            second, third = await submit_all(connection, mails[1:])
            assert not connection.usable
        await relay.until(lambda: relay.open == 0)
        assert first.outcome is SubmissionOutcome.ACCEPTED
        if pipelining and step is Step.MAIL:
            assert second.outcome in (
                SubmissionOutcome.LOST,
                SubmissionOutcome.NOT_BEGUN,
            )  # it was pipelined, so the relay may not have replied to it
        else:
            assert second.outcome is (SubmissionOutcome.UNKNOWN if step is Step.DOT else SubmissionOutcome.LOST)
        assert (second.detail or "").startswith(detail)
        assert second.reply is None
        if not pipelining or fault != "reset":  # a RST may arrive before earlier replies
            assert second.phase is Phase(step.value)
        assert (third.outcome, third.phase) == (SubmissionOutcome.NOT_BEGUN, Phase.MAIL)
        assert relay.recipients == {"user0@example.com": 1}
        relay.behave()
        assert (await _one(mailer)).outcome is SubmissionOutcome.ACCEPTED
        assert relay.connections == 2


async def _one(mailer: SmtpMailer) -> Submission:
    async with mailer.connection() as connection:
        return await connection.submit(envelope())


@PIPELINING
@pytest.mark.parametrize("taken", [True, False])
async def test_a_relay_that_dies_before_the_reply_to_the_dot_leaves_the_outcome_unknown(
    *, pipelining: bool, taken: bool
) -> None:
    """Whether or not the relay accepted the message."""
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(Step.DOT, hang_up(accepting=taken))
        async with mailer.connection() as connection:
            submitted = await connection.submit(envelope())
    assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.UNKNOWN, Phase.DOT)
    assert len(relay.accepted) == taken


@PIPELINING
@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
async def test_421_is_a_refusal_after_which_nothing_is_sent(*, pipelining: bool, step: Step) -> None:
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(step, answer(421, "4.7.0 Enough"), nth=2)
        async with mailer.connection() as connection:
            first, second, third = await submit_all(connection, envelopes(3))
            assert not connection.usable
    assert (first.outcome, second.outcome, third.outcome) == (
        SubmissionOutcome.ACCEPTED,
        SubmissionOutcome.REFUSED,
        SubmissionOutcome.NOT_BEGUN,
    )
    assert second.phase is Phase(step.value)
    assert second.reply is not None
    assert second.reply.code == 421
    assert relay.recipients == {"user0@example.com": 1}


@PIPELINING
@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_lost_in_a_large_message_is_lost(*, pipelining: bool, reset: bool) -> None:
    large = envelope(body=b"Subject: large\r\n\r\n" + b"x" * 76 * 400_000 + b"\r\n")
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(Step.BODY, hang_up(reset=reset))
        async with mailer.connection() as connection:
            submitted = await connection.submit(large)
    assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.LOST, Phase.DOT)


@pytest.mark.parametrize("tls", ["no", "implicit"])
async def test_a_relay_that_stops_reading_times_out(tls: str) -> None:
    """The write buffer stays small. The final dot is never written, so the outcome is LOST."""
    large = envelope(body=b"Subject: large\r\n\r\n" + b"x" * 76 * 400_000 + b"\r\n")
    relay = Relay(tls=tls)  # type: ignore[arg-type] # a parametrized string
    async with relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        task = asyncio.ensure_future(connection.submit(large))
        await relay.until(lambda: "DATA" in relay.verbs())
        relay.stall()
        shorten_timeouts(connection, 0.4)
        await asyncio.sleep(0.2)
        assert connection._wire._transport.get_write_buffer_size() < 1_000_000
        submitted = await task
        relay.resume()
    assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.LOST, Phase.DOT)
    assert submitted.detail == "the relay reads nothing within 0.4 s"


@PIPELINING
@pytest.mark.parametrize("step", [Step.MAIL, Step.DATA, Step.DOT])
async def test_a_cancelled_submission_closes_the_connection(*, pipelining: bool, step: Step) -> None:
    """Otherwise a late reply would count for the next envelope."""
    async with Relay(pipelining=pipelining) as relay, mailer_for(relay) as mailer:
        relay.on(step, wait_for(asyncio.Event()), nth=1)
        async with mailer.connection() as connection:
            task = asyncio.ensure_future(submit(connection, envelope("slow@example.com"), envelope()))
            verb = "DATA" if step is Step.DOT else step.value
            await relay.until(lambda: verb in relay.verbs())
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not connection.usable
            assert (await connection.submit(envelope())).outcome is SubmissionOutcome.NOT_BEGUN
        await relay.until(lambda: relay.open == 0)
        assert (await _one(mailer)).outcome is SubmissionOutcome.ACCEPTED
        assert relay.connections == 2
        assert relay.recipients["ann@example.com"] == 1


async def test_an_announced_envelope_that_is_never_submitted_is_not_delivered_empty() -> None:
    announced = envelope("announced@example.com")
    async with Relay() as relay, mailer_for(relay) as mailer:
        async with mailer.connection() as connection:
            await submit(connection, envelope("first@example.com"), announced)
            await relay.until(lambda: relay.verbs().count("DATA") == 2)
        await relay.until(lambda: relay.open == 0)
        assert (await _one(mailer)).outcome is SubmissionOutcome.ACCEPTED
    assert relay.recipients == {"first@example.com": 1, "ann@example.com": 1}
    assert relay.verbs(1)[-1] == "DATA"


async def test_another_envelope_than_the_announced_one_is_not_delivered() -> None:
    announced, other = envelope("announced@example.com"), envelope("announced@example.com", b"other\r\n")
    async with Relay() as relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        await submit(connection, envelope("first@example.com"), announced)
        submitted = await connection.submit(other)
        assert (submitted.outcome, submitted.phase) == (SubmissionOutcome.NOT_BEGUN, Phase.MAIL)
        assert not connection.usable
        assert (await connection.submit(announced)).outcome is SubmissionOutcome.NOT_BEGUN
        await relay.until(lambda: relay.open == 0)
    assert relay.recipients == {"first@example.com": 1}


async def test_after_an_unexpected_reply_the_connection_is_not_used() -> None:
    """An unexpected reply would count for the next command."""
    async with Relay() as relay, mailer_for(relay) as mailer, mailer.connection() as connection:
        assert (await connection.submit(envelope())).outcome is SubmissionOutcome.ACCEPTED
        relay.say(b"250 2.0.0 What a fine day\r\n")
        await asyncio.sleep(0.05)
        assert not connection.usable
        submitted = await connection.submit(envelope())
        assert (submitted.outcome, submitted.detail) == (
            SubmissionOutcome.NOT_BEGUN,
            "the relay sent a reply that was not expected",
        )
    assert len(relay.accepted) == 1


@pytest.mark.parametrize("behaviour", [hang_up(accepting=True), silence(accepting=True)])
async def test_details_contain_no_text_of_the_relay(behaviour: Behaviour) -> None:
    """Details are logged, and replies often contain addresses."""
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.DOT, behaviour)
        async with mailer.connection() as connection:
            shorten_timeouts(connection)
            submitted = await connection.submit(envelope())
    assert submitted.detail in ("the relay closed the connection", "no reply within 0.15 s")
