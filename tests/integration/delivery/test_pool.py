"""The pool: its number of connections, their order and lifetime, and its errors while the relay is down."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from marketing_service.backoff import ExponentialBackoff
from marketing_service.delivery import PoolTimings
from marketing_service.ports import RelayDown, SubmissionOutcome
from marketing_service.replies import Phase
from tests.integration.delivery.support import envelope, mailer_for, submit
from tests.support.relay import Relay, Step, answer, delay, hang_up, silence

if TYPE_CHECKING:
    from marketing_service.delivery import SmtpMailer


LONG_BACKOFF = PoolTimings(backoff=ExponentialBackoff(first=20.0, maximum=30.0))


async def send(mailer: SmtpMailer, recipient: str = "ann@example.com") -> SubmissionOutcome:
    async with mailer.connection() as connection:
        return (await connection.submit(envelope(recipient))).outcome


async def test_no_more_connections_than_allowed_and_borrowers_are_served_in_order() -> None:
    async with Relay() as relay, mailer_for(relay, connections=3) as mailer:
        relay.on(Step.DOT, delay(0.005))
        served: list[int] = []

        async def one(number: int) -> None:
            async with mailer.connection() as connection:
                served.append(number)
                await connection.submit(envelope())

        await asyncio.gather(*(one(number) for number in range(30)))
    assert relay.max_open == relay.connections == 3
    assert served == list(range(30))
    assert len(relay.accepted) == 30


async def test_a_connection_is_used_again() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        for _ in range(5):
            assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 1
    assert "NOOP" not in relay.verbs()


async def test_a_connection_ends_with_quit_after_its_maximum_number_of_messages() -> None:
    """Even if one borrower keeps it, who sees that it is not usable. No further envelope is announced on it."""
    async with Relay() as relay, mailer_for(relay, messages=3) as mailer:
        async with mailer.connection() as connection:
            for number in range(3):
                assert connection.usable
                following = envelope("next@example.com") if number == 2 else None
                submitted = await submit(connection, envelope(f"{number}@example.com"), following)
                assert submitted.outcome is SubmissionOutcome.ACCEPTED
            assert not connection.usable
            assert (await connection.submit(envelope())).outcome is SubmissionOutcome.NOT_BEGUN
        await relay.until(lambda: relay.open == 0)
        assert relay.verbs().count("MAIL") == 3
        assert relay.verbs()[-1] == "QUIT"
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 2


async def test_a_refused_envelope_counts_as_a_message() -> None:
    async with Relay() as relay, mailer_for(relay, messages=1) as mailer:
        relay.on(Step.RCPT, answer(550, "5.1.1 No"), nth=1)
        assert [await send(mailer), await send(mailer)] == [SubmissionOutcome.REFUSED, SubmissionOutcome.ACCEPTED]
    assert relay.connections == 2


async def test_a_connection_that_is_idle_too_long_is_closed_with_quit() -> None:
    async with Relay() as relay, mailer_for(relay, idle_seconds=0.05) as mailer:
        await send(mailer)
        await relay.until(lambda: relay.open == 0)
        assert relay.verbs()[-1] == "QUIT"
        assert await send(mailer) is SubmissionOutcome.ACCEPTED


async def test_idle_connections_are_closed_when_the_relay_allows_fewer() -> None:
    """The relay counts idle connections, too. The last one stays open: it is used next."""
    async with Relay() as relay, mailer_for(relay, connections=4) as mailer:
        async with AsyncExitStack() as borrowed:
            for _ in range(4):
                await borrowed.enter_async_context(mailer.connection())
        assert relay.open == 4
        mailer.capacity.refused()
        mailer.capacity.connection_refused(1)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
        await relay.until(lambda: relay.open == 1)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 4


async def test_the_idle_time_starts_again_with_every_use() -> None:
    async with Relay() as relay, mailer_for(relay, idle_seconds=0.8) as mailer:
        await send(mailer)
        async with mailer.connection():
            await asyncio.sleep(0.6)
        await asyncio.sleep(0.3)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 1


@pytest.mark.parametrize("tls", ["no", "implicit"])
async def test_a_relay_that_does_not_answer_quit_is_not_waited_for(tls: str) -> None:
    relay = Relay(tls=tls)  # type: ignore[arg-type] # a parametrized string
    async with relay:
        relay.on(Step.QUIT, silence())
        async with asyncio.timeout(2), mailer_for(relay, timings=PoolTimings(quit_timeout=0.05)) as mailer:
            await send(mailer)


async def test_a_connection_that_was_closed_while_idle_is_not_lent() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        await send(mailer)
        relay.hang_up()
        await asyncio.sleep(0.05)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 2


async def test_a_connection_that_got_421_while_idle_is_not_lent() -> None:
    """An unexpected 421, after which the relay does not close the connection."""
    async with Relay() as relay, mailer_for(relay) as mailer:
        await send(mailer)
        relay.say(b"421 4.4.2 Idle too long\r\n")
        await asyncio.sleep(0.05)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 2


@pytest.mark.parametrize("behaviour", [None, silence(), answer(421, "4.4.2 Bye"), hang_up()])
async def test_a_connection_that_was_idle_for_long_is_checked_first(
    behaviour: object,
) -> None:
    async with Relay() as relay, mailer_for(relay, timings=PoolTimings(idle_check=0.05)) as mailer:
        if behaviour is not None:
            relay.on(Step.NOOP, behaviour)  # type: ignore[arg-type] # a parametrized Behaviour
        await send(mailer)
        await asyncio.sleep(0.06)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.verbs().count("NOOP") == 1
    assert relay.connections == (1 if behaviour is None else 2)


async def test_while_the_relay_is_down_borrowers_fail_at_once_without_an_attempt() -> None:
    async with Relay() as relay, mailer_for(relay, timings=LONG_BACKOFF) as mailer:
        relay.on(Step.BANNER, answer(554, "5.3.2 Closed"))
        async with asyncio.timeout(4):
            for _ in range(10):
                with pytest.raises(RelayDown, match=r"^554 5\.3\.2 Closed$") as caught:
                    await send(mailer)
                assert caught.value.phase is Phase.BANNER
    assert relay.connections == 1


async def test_the_relay_is_tried_again_after_the_back_off() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.BANNER, answer(554, "5.3.2 Closed"), nth=1)
        with pytest.raises(RelayDown):
            await send(mailer)
        await asyncio.sleep(0.5)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 2


async def test_all_waiting_borrowers_fail_when_the_relay_goes_down() -> None:
    async with Relay() as relay, mailer_for(relay, connections=2, seconds=0.5) as mailer:
        relay.on(Step.BANNER, silence())
        began = time.monotonic()
        results = await asyncio.gather(*(send(mailer) for _ in range(10)), return_exceptions=True)
    assert [type(one) for one in results] == [RelayDown] * 10
    assert time.monotonic() - began < 2
    assert relay.connections == 1, "one connection is tried first"


async def test_a_relay_that_allows_fewer_connections_is_not_down() -> None:
    """The pool may open five, the relay allows two: everything is delivered over the two."""
    async with Relay() as relay, mailer_for(relay, connections=5) as mailer:
        relay.on(Step.BANNER, answer(421, "4.7.0 Too many connections"), when=lambda _: relay.open > 2)
        relay.on(Step.DOT, delay(0.02))
        assert await asyncio.gather(*(send(mailer) for _ in range(30))) == [SubmissionOutcome.ACCEPTED] * 30


async def test_after_a_failed_attempt_the_borrower_waits_no_longer_than_the_timeout() -> None:
    async with Relay() as relay, mailer_for(relay, connections=2, seconds=1.0) as mailer, mailer.connection():
        relay.on(Step.BANNER, answer(421, "4.7.0 Too many connections"))
        async with asyncio.timeout(4):
            with pytest.raises(RelayDown, match="Too many connections"):
                await send(mailer)


async def test_a_session_that_421_ends_after_accepted_messages_is_replaced_at_once() -> None:
    async with Relay() as relay, mailer_for(relay, timings=LONG_BACKOFF) as mailer:
        relay.on(Step.MAIL, answer(421, "4.7.0 Slow down"), nth=2)
        assert [await send(mailer), await send(mailer)] == [SubmissionOutcome.ACCEPTED, SubmissionOutcome.REFUSED]
        assert await send(mailer) is SubmissionOutcome.ACCEPTED, "the back-off of twenty seconds is not waited for"
    assert relay.connections == 2


async def test_a_session_that_421_ends_before_an_accepted_message_is_followed_by_the_back_off() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.MAIL, answer(421, "4.7.0 Slow down"), nth=1)
        assert await send(mailer) is SubmissionOutcome.REFUSED
        began = time.monotonic()
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
        assert time.monotonic() - began >= 0.45
    assert relay.connections == 2


async def test_after_421_a_borrower_waits_no_longer_than_the_timeout() -> None:
    async with Relay() as relay, mailer_for(relay, seconds=1.0, timings=LONG_BACKOFF) as mailer:
        relay.on(Step.MAIL, answer(421, "4.7.0 Slow down"))
        await send(mailer)
        async with asyncio.timeout(4):
            with pytest.raises(RelayDown, match=r"ended the session \(421 4\.7\.0\)"):
                await send(mailer)


async def test_a_successful_probe_ends_the_back_off() -> None:
    async with Relay() as relay, mailer_for(relay, timings=LONG_BACKOFF) as mailer:
        await relay.stop()
        for _ in range(2):
            with pytest.raises(RelayDown):
                await mailer.probe()
        await relay.start()
        with pytest.raises(RelayDown):
            await send(mailer)
        await mailer.probe()
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
        assert relay.verbs(1) == ["EHLO", "QUIT"]


async def test_a_cancelled_borrower_uses_no_slot() -> None:
    async with Relay() as relay, mailer_for(relay, connections=1) as mailer:
        async with mailer.connection():
            waiting = [asyncio.ensure_future(send(mailer)) for _ in range(5)]
            await asyncio.sleep(0.01)
            for task in waiting[::2]:
                task.cancel()
        for task in waiting[::2]:
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await asyncio.gather(*waiting[1::2]) == [SubmissionOutcome.ACCEPTED] * 2
        relay.hang_up()
        await relay.until(lambda: relay.open == 0)
        opening = asyncio.ensure_future(send(mailer))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert await send(mailer) is SubmissionOutcome.ACCEPTED


async def test_a_connection_given_to_a_cancelled_borrower_goes_to_the_next() -> None:
    async with Relay() as relay, mailer_for(relay, connections=1) as mailer:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(mailer.connection())
            gone, next_one = (asyncio.ensure_future(send(mailer)) for _ in range(2))
            await asyncio.sleep(0.01)
        gone.cancel()  # the returned connection was given to it, but it has not run yet
        with pytest.raises(asyncio.CancelledError):
            await gone
        async with asyncio.timeout(2):
            assert await next_one is SubmissionOutcome.ACCEPTED
    assert relay.connections == 1


async def test_a_slot_given_to_a_cancelled_borrower_goes_to_the_next() -> None:
    async with Relay() as relay, mailer_for(relay, connections=1) as mailer:
        async with mailer.connection() as connection:
            gone, next_one = (asyncio.ensure_future(send(mailer)) for _ in range(2))
            await asyncio.sleep(0.01)
            connection.abort()
        # The abort frees the slot in the next iteration of the loop. The first waiter is woken, but does not run yet.
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        async with asyncio.timeout(2):
            assert await next_one is SubmissionOutcome.ACCEPTED


async def test_a_connection_that_opens_after_the_pool_closed_is_closed() -> None:
    async with Relay() as relay:
        async with mailer_for(relay) as mailer:
            relay.on(Step.EHLO, delay(0.05))
            opening = asyncio.ensure_future(send(mailer))
            await relay.until(lambda: relay.verbs() == ["EHLO"])
        with pytest.raises(RelayDown, match="closed"):
            await opening
        await relay.until(lambda: relay.open == 0)


async def test_closing_quits_idle_connections_and_aborts_those_in_use() -> None:
    async with Relay() as relay:
        async with mailer_for(relay, connections=2) as mailer:
            relay.on(Step.DOT, silence(), when=lambda now: now.recipient == "slow@example.com")
            busy = asyncio.ensure_future(send(mailer, "slow@example.com"))
            await relay.until(lambda: "DATA" in relay.verbs())
            await send(mailer)
            async with mailer.connection():
                waiting = asyncio.ensure_future(send(mailer))
                await asyncio.sleep(0.01)
            assert await waiting is SubmissionOutcome.ACCEPTED
        assert await busy is SubmissionOutcome.UNKNOWN
        with pytest.raises(RelayDown, match="closed"):
            await send(mailer)
        await relay.until(lambda: relay.open == 0)
    assert relay.verbs()[-1] == "QUIT"


async def test_a_waiting_borrower_fails_when_the_pool_closes() -> None:
    async with Relay() as relay, mailer_for(relay, connections=1) as mailer, mailer.connection():
        waiting = asyncio.ensure_future(send(mailer))
        await asyncio.sleep(0.01)
        await mailer.close()
        with pytest.raises(RelayDown, match="closed"):
            await waiting


async def test_no_secret_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    async with Relay(credentials=("news-user", "s3cret-word")) as relay:
        async with mailer_for(relay) as mailer:
            await send(mailer)
        async with mailer_for(relay, url=relay.url.replace("word", "wrong")) as mailer:
            with pytest.raises(RelayDown):
                await send(mailer)
    written = "".join(capfd.readouterr())
    assert "relay_connection_failed" in written
    assert not any(word in written for word in ("s3cret", "news-user", "ann@example.com"))
