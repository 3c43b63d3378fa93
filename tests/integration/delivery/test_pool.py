"""The pool: how many connections, for whom, for how long, and what it says while the relay is down."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from marketing_service.delivery import backoff, pool
from marketing_service.ports import RelayDown, SubmissionOutcome
from marketing_service.replies import Phase
from tests.integration.delivery.support import envelope, mailer_for, submit
from tests.support.relay import Relay, Step, answer, delay, hang_up, silence

if TYPE_CHECKING:
    from marketing_service.delivery import SmtpMailer


async def send(mailer: SmtpMailer, recipient: str = "ann@example.com") -> SubmissionOutcome:
    async with mailer.connection() as connection:
        return (await connection.submit(envelope(recipient))).outcome


async def test_never_more_connections_than_allowed_and_borrowers_in_the_order_they_came() -> None:
    async with Relay() as relay, mailer_for(relay, connections=3) as mailer:
        relay.on(Step.DOT, delay(0.005))
        served: list[int] = []

        async def one(number: int) -> None:
            async with mailer.connection() as connection:
                served.append(number)
                await connection.submit(envelope())

        await asyncio.gather(*(one(number) for number in range(30)))
    assert relay.most_open == relay.connections == 3
    assert served == list(range(30))
    assert len(relay.accepted) == 30


async def test_a_connection_is_used_again() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        for _ in range(5):
            assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 1
    assert "NOOP" not in relay.verbs()


async def test_a_connection_ends_with_quit_after_its_share_of_messages() -> None:
    """OnResult in the hands of one borrower, who sees it become unusable; and no envelope beyond is announced on it."""
    async with Relay() as relay, mailer_for(relay, messages=3) as mailer:
        async with mailer.connection() as connection:
            for number in range(3):
                assert connection.usable
                following = envelope("next@example.com") if number == 2 else None
                handed = await submit(connection, envelope(f"{number}@example.com"), following)
                assert handed.outcome is SubmissionOutcome.ACCEPTED
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


async def test_a_connection_that_rests_too_long_is_closed_with_quit() -> None:
    async with Relay() as relay, mailer_for(relay, idle_seconds=0.05) as mailer:
        await send(mailer)
        await relay.until(lambda: relay.open == 0)
        assert relay.verbs()[-1] == "QUIT"
        assert await send(mailer) is SubmissionOutcome.ACCEPTED


async def test_the_rest_begins_anew_with_every_use() -> None:
    async with Relay() as relay, mailer_for(relay, idle_seconds=0.8) as mailer:
        await send(mailer)
        async with mailer.connection():
            await asyncio.sleep(0.6)
        await asyncio.sleep(0.3)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 1


@pytest.mark.parametrize("tls", ["no", "implicit"])
async def test_a_relay_that_does_not_answer_quit_is_not_waited_for(tls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketing_service.delivery.wire._GOODBYE_SECONDS", 0.05)
    relay = Relay(tls=tls)  # type: ignore[arg-type] # a parametrized string
    async with relay:
        relay.on(Step.QUIT, silence())
        async with asyncio.timeout(2), mailer_for(relay) as mailer:
            await send(mailer)


async def test_a_connection_that_died_at_rest_is_not_handed_out() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        await send(mailer)
        relay.hang_up()
        await asyncio.sleep(0.05)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 2


async def test_a_connection_that_was_told_to_go_at_rest_is_not_handed_out() -> None:
    """A 421 nobody asked for, and the connection not even closed."""
    async with Relay() as relay, mailer_for(relay) as mailer:
        await send(mailer)
        relay.say(b"421 4.4.2 Idle too long\r\n")
        await asyncio.sleep(0.05)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 2


@pytest.mark.parametrize("behaviour", [None, silence(), answer(421, "4.4.2 Bye"), hang_up()])
async def test_a_connection_that_rested_for_long_is_asked_first(
    behaviour: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_TRUSTED_SECONDS", 0.05)
    async with Relay() as relay, mailer_for(relay) as mailer:
        if behaviour is not None:
            relay.on(Step.NOOP, behaviour)  # type: ignore[arg-type] # a parametrized Behaviour
        await send(mailer)
        await asyncio.sleep(0.06)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.verbs().count("NOOP") == 1
    assert relay.connections == (1 if behaviour is None else 2)


async def test_the_relay_down_is_told_at_once_and_not_tried_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_FIRST_SECONDS", 20.0)
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.BANNER, answer(554, "5.3.2 Closed"))
        async with asyncio.timeout(4):
            for _ in range(10):
                with pytest.raises(RelayDown, match=r"^554 5\.3\.2 Closed$") as caught:
                    await send(mailer)
                assert caught.value.phase is Phase.BANNER
    assert relay.connections == 1


async def test_the_relay_is_tried_again_when_the_pause_is_over() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.BANNER, answer(554, "5.3.2 Closed"), nth=1)
        with pytest.raises(RelayDown):
            await send(mailer)
        await asyncio.sleep(0.5)
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
    assert relay.connections == 2


async def test_everybody_who_waits_is_told_when_the_relay_goes_down() -> None:
    async with Relay() as relay, mailer_for(relay, connections=2, seconds=0.5) as mailer:
        relay.on(Step.BANNER, silence())
        began = time.monotonic()
        told = await asyncio.gather(*(send(mailer) for _ in range(10)), return_exceptions=True)
    assert [type(one) for one in told] == [RelayDown] * 10
    assert time.monotonic() - began < 2
    assert relay.connections == 2


async def test_a_relay_that_allows_fewer_connections_is_not_down() -> None:
    """The pool would have five, the relay gives two: all is delivered over the two."""
    async with Relay() as relay, mailer_for(relay, connections=5) as mailer:
        relay.on(Step.BANNER, answer(421, "4.7.0 Too many connections"), when=lambda _: relay.open > 2)
        relay.on(Step.DOT, delay(0.02))
        assert await asyncio.gather(*(send(mailer) for _ in range(30))) == [SubmissionOutcome.ACCEPTED] * 30


async def test_one_that_could_not_be_had_is_not_waited_for_longer_than_the_limit() -> None:
    async with Relay() as relay, mailer_for(relay, connections=2, seconds=1.0) as mailer, mailer.connection():
        relay.on(Step.BANNER, answer(421, "4.7.0 Too many connections"))
        async with asyncio.timeout(4):
            with pytest.raises(RelayDown, match="Too many connections"):
                await send(mailer)


async def test_after_421_the_relay_is_given_a_moment_and_nobody_is_told_it_is_down() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.MAIL, answer(421, "4.7.0 Slow down"), nth=2)
        assert [await send(mailer), await send(mailer)] == [SubmissionOutcome.ACCEPTED, SubmissionOutcome.REFUSED]
        began = time.monotonic()
        assert await send(mailer) is SubmissionOutcome.ACCEPTED
        assert time.monotonic() - began >= 0.45
    assert relay.connections == 2


async def test_after_421_nobody_waits_longer_than_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_FIRST_SECONDS", 20.0)
    async with Relay() as relay, mailer_for(relay, seconds=1.0) as mailer:
        relay.on(Step.MAIL, answer(421, "4.7.0 Slow down"))
        await send(mailer)
        async with asyncio.timeout(4):
            with pytest.raises(RelayDown, match=r"ended the conversation \(421 4\.7\.0\)"):
                await send(mailer)


async def test_a_probe_that_succeeds_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_FIRST_SECONDS", 20.0)
    async with Relay() as relay, mailer_for(relay) as mailer:
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


async def test_those_who_give_up_waiting_take_no_place_with_them() -> None:
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


async def test_a_connection_handed_to_somebody_who_has_just_given_up_goes_to_the_next() -> None:
    async with Relay() as relay, mailer_for(relay, connections=1) as mailer:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(mailer.connection())
            gone, next_one = (asyncio.ensure_future(send(mailer)) for _ in range(2))
            await asyncio.sleep(0.01)
        gone.cancel()  # it was served by the giving back, and has not yet run
        with pytest.raises(asyncio.CancelledError):
            await gone
        async with asyncio.timeout(2):
            assert await next_one is SubmissionOutcome.ACCEPTED
    assert relay.connections == 1


async def test_a_place_given_to_somebody_who_has_just_given_up_goes_to_the_next() -> None:
    async with Relay() as relay, mailer_for(relay, connections=1) as mailer:
        async with mailer.connection() as connection:
            gone, next_one = (asyncio.ensure_future(send(mailer)) for _ in range(2))
            await asyncio.sleep(0.01)
            connection.abort()
        # The abort frees the place in the loop's next turn; the one who is first in line is then woken, not yet run.
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        async with asyncio.timeout(2):
            assert await next_one is SubmissionOutcome.ACCEPTED


async def test_a_connection_that_opens_after_closing_is_closed() -> None:
    async with Relay() as relay:
        async with mailer_for(relay) as mailer:
            relay.on(Step.EHLO, delay(0.05))
            opening = asyncio.ensure_future(send(mailer))
            await relay.until(lambda: relay.verbs() == ["EHLO"])
        with pytest.raises(RelayDown, match="closed"):
            await opening
        await relay.until(lambda: relay.open == 0)


async def test_closing_tells_who_waits_says_quit_and_ends_what_is_in_use() -> None:
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


async def test_a_borrower_in_line_is_told_when_the_pool_closes() -> None:
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
    assert "relay_down" in written
    assert not any(word in written for word in ("s3cret", "news-user", "ann@example.com"))
