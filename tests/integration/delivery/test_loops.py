"""The same behaviour on uvloop, which has its own transports, and on the standard loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from marketing_service.ports import RelayDown, SubmissionOutcome
from tests.integration.delivery.support import envelope, envelopes, mailer_for, shorten_timeouts
from tests.integration.delivery.test_transactions import PIPELINING, submit_all
from tests.support.relay import Relay, Step, answer, hang_up, silence

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPS = pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])


@LOOPS
@PIPELINING
@pytest.mark.parametrize("tls", ["no", "starttls", "implicit"])
async def test_a_whole_session(
    *, new_loop: Callable[[], asyncio.AbstractEventLoop], pipelining: bool, tls: str
) -> None:
    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_session(tls, pipelining=pipelining))

    await asyncio.to_thread(run)


async def _session(tls: str, *, pipelining: bool) -> None:
    large = envelope("large@example.com", b"Subject: large\r\n\r\n" + b".2345678\r\n" * 100_000)
    mails = [*envelopes(10), large, *envelopes(10)]
    relay = Relay(pipelining=pipelining, tls=tls, credentials=("news", "s3cret"))  # type: ignore[arg-type] # a string
    async with relay, mailer_for(relay, messages=30) as mailer:
        relay.on(Step.RCPT, answer(550, "5.1.1 No"), nth=5)
        async with mailer.connection() as connection:
            submitted = await submit_all(connection, mails)
        assert [one.outcome for one in submitted].count(SubmissionOutcome.ACCEPTED) == 20
        assert [m.content for m in relay.accepted] == [m.content for n, m in enumerate(mails) if n != 4]

        relay.on(Step.DOT, hang_up(accepting=True), nth=1)
        relay.on(Step.DOT, silence(), nth=1)
        for _ in range(2):
            async with mailer.connection() as connection:
                shorten_timeouts(connection)
                assert (await connection.submit(envelope())).outcome is SubmissionOutcome.UNKNOWN
                assert not connection.usable
        async with mailer.connection() as connection:
            assert (await connection.submit(envelope())).outcome is SubmissionOutcome.ACCEPTED
            relay.hang_up()
            assert (await connection.submit(envelope())).outcome is SubmissionOutcome.LOST
        await relay.stop()
        with pytest.raises(RelayDown):
            await mailer.probe()
