"""Failures to open a connection: RelayDown has the phase and a reason, and contains no secret."""

from __future__ import annotations

import asyncio
import time

import pytest

from marketing_service.ports import RelayDown
from marketing_service.replies import Phase
from tests.integration.delivery.support import mailer_for
from tests.support.relay import Behaviour, Relay, Step, answer, delay, hang_up, raw, silence

FAULTS = [
    pytest.param(silence(), "no reply within 1 s", id="silence"),
    pytest.param(hang_up(), "the relay closed the connection", id="hang-up"),
    pytest.param(answer(554, "5.3.2 news and s3cret are not wanted"), "554 5.3.2 … and … are not wanted", id="554"),
    pytest.param(raw(b"HTTP/1.1 400 Bad Request\r\n"), "the relay sent data that is not an SMTP reply", id="garbage"),
]


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        (Step.BANNER, Phase.BANNER),
        (Step.EHLO, Phase.EHLO),
        (Step.STARTTLS, Phase.TLS),
        (Step.AUTH, Phase.AUTH),
    ],
)
@pytest.mark.parametrize(("fault", "detail"), FAULTS)
async def test_a_fault_while_opening(step: Step, phase: Phase, fault: Behaviour, detail: str) -> None:
    relay = Relay(tls="starttls", credentials=("news", "s3cret"))
    async with relay, mailer_for(relay, seconds=1.0) as mailer:
        relay.on(step, fault)
        with pytest.raises(RelayDown) as caught:
            await mailer.probe()
        await relay.until(lambda: relay.open == 0)
    assert (caught.value.phase, caught.value.detail) == (phase, detail)


@pytest.mark.parametrize(
    ("step", "phase"), [(Step.BANNER, Phase.BANNER), (Step.EHLO, Phase.EHLO), (Step.AUTH, Phase.AUTH)]
)
async def test_421_while_opening(step: Step, phase: Phase) -> None:
    async with Relay(credentials=("news", "s3cret")) as relay, mailer_for(relay) as mailer:
        relay.on(step, answer(421, "4.3.2 Not now"))
        with pytest.raises(RelayDown) as caught:
            await mailer.probe()
    assert caught.value.phase is phase


async def test_a_relay_that_does_not_listen() -> None:
    relay = Relay()
    async with relay:
        await relay.stop()
        async with mailer_for(relay) as mailer:
            with pytest.raises(RelayDown, match="Connect call failed") as caught:
                await mailer.probe()
    assert caught.value.phase is Phase.CONNECT


async def test_a_relay_whose_name_does_not_exist() -> None:
    relay = Relay()
    async with mailer_for(relay, url="smtp+starttls://relay.invalid") as mailer:
        with pytest.raises(RelayDown) as caught:
            await mailer.probe()
    assert caught.value.phase is Phase.CONNECT


async def test_a_wrong_password() -> None:
    async with Relay(credentials=("news", "s3cret")) as relay:
        url = relay.url.replace("s3cret", "wr0ng")
        async with mailer_for(relay, url=url) as mailer:
            with pytest.raises(RelayDown, match=r"^535 5\.7\.8") as caught:
                await mailer.probe()
    assert caught.value.phase is Phase.AUTH


async def test_starttls_that_is_required_but_not_offered() -> None:
    async with Relay() as relay, mailer_for(relay, url=f"smtp+starttls://127.0.0.1:{relay.port}") as mailer:
        with pytest.raises(RelayDown, match="does not offer STARTTLS") as caught:
            await mailer.probe()
    assert caught.value.phase is Phase.TLS


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_certificate_that_is_not_trusted(tls: str) -> None:
    relay = Relay(tls=tls)  # type: ignore[arg-type] # a parametrized string
    async with relay:
        bare = relay.url.partition("?")[0]
        async with mailer_for(relay, url=bare) as mailer:
            with pytest.raises(RelayDown, match="certificate is not trusted: self-signed") as caught:
                await mailer.probe()
        assert caught.value.phase is Phase.TLS
        async with mailer_for(relay, url=f"{bare}?verify=no") as mailer:
            await mailer.probe()


async def test_tls_to_a_relay_without_tls() -> None:
    async with Relay() as relay, mailer_for(relay, url=f"smtps://127.0.0.1:{relay.port}") as mailer:
        with pytest.raises(RelayDown) as caught:
            await mailer.probe()
    assert caught.value.phase is Phase.TLS


async def test_the_timeout_limits_all_steps_together() -> None:
    """Each step is within the limit, but not their sum. The borrower gets the error in time."""
    async with Relay(credentials=("news", "s3cret")) as relay, mailer_for(relay, seconds=1.0) as mailer:
        relay.on(Step.BANNER, delay(0.7))
        relay.on(Step.EHLO, delay(0.7))
        relay.on(Step.AUTH, silence())
        began = time.monotonic()
        with pytest.raises(RelayDown) as caught:
            await mailer.probe()
    assert time.monotonic() - began < 2.3
    assert caught.value.detail == "no reply within 1 s"


async def test_a_cancelled_attempt_leaves_nothing_open() -> None:
    async with Relay() as relay, mailer_for(relay) as mailer:
        relay.on(Step.EHLO, silence())
        task = asyncio.ensure_future(mailer.probe())
        await relay.until(lambda: relay.verbs() == ["EHLO"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await relay.until(lambda: relay.open == 0)
