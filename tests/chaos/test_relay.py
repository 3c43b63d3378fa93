"""The relay misbehaves in every phase: each send gets the outcome of the reply, and UNCONFIRMED if it is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import pytest

from tests.support.relay import Behaviour, Relay, Step, answer, call, delay, hang_up, raw, silence
from tests.support.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from marketing_service.db import Database
    from tests.chaos.scenario import Scenario

RECIPIENTS = 24
EVERY, FAULTS = 5, 3
"""The relay misbehaves at every fifth such step, three times in total."""
SHORT_TIMEOUT, LONG_TIMEOUT = "2", "60"
"""Seconds."""
CREDENTIALS = ("mailer", "secret")


class End(StrEnum):
    """The outcome of a send that the fault hits."""

    UNHARMED = "delivered at its first try"
    RETRIED = "delivered at a further try"
    FAILED = "failed"
    UNKNOWN = "unconfirmed"


OPENING = (Step.BANNER, Step.EHLO, Step.STARTTLS, Step.AUTH)
ENVELOPE = (Step.MAIL, Step.RCPT, Step.DATA)
MESSAGE = (Step.BODY, Step.DOT)
REFUSALS = {
    Step.BANNER: "554 5.3.2 Not today",
    Step.EHLO: "550 5.7.1 Unwelcome",
    Step.STARTTLS: "554 5.7.0 No TLS today",
    Step.AUTH: "535 5.7.8 Credentials invalid",
    Step.MAIL: "550 5.7.1 Sender not allowed",
    Step.RCPT: "550 5.1.1 No such user",
    Step.DATA: "554 5.6.0 Unwanted",
    Step.BODY: "554 5.6.0 Unwanted",
    Step.DOT: "554 5.6.0 Unwanted",
}
BREAKAGES: dict[str, Behaviour] = {
    "hang-up": hang_up(),
    "reset": hang_up(reset=True),
    "garbage": raw(b"HTTP/1.1 400 Bad Request\r\n\r\n", then=hang_up()),
    "silence": silence(),
}


def behaviour(step: Step, fault: str) -> Behaviour:
    """A relay that refuses a message before its end also hangs up: otherwise its usual reply to the dot would follow.

    A relay that hangs up or is silent after the dot has accepted the message: another try would double it.
    """
    then = hang_up() if step is Step.BODY else None
    code, text = REFUSALS[step].split(" ", 1)
    return {
        "4xx": answer(451, "4.3.0 Later", then=then),
        "5xx": answer(int(code), text, then=then),
        "421": answer(421, "4.3.2 Closing"),
        "delay": delay(0.3),
        **BREAKAGES,
        **({"hang-up": hang_up(accepting=True), "silence": silence(accepting=True)} if step is Step.DOT else {}),
    }[fault]


def end(step: Step, fault: str) -> End:
    """Before RCPT a fault hits no send, and before the final dot is written no outcome is unknown. The messages here
    are small, so one write sends a message together with its dot."""
    if fault == "delay" or step in OPENING:
        return End.UNHARMED
    if fault in BREAKAGES:
        return End.UNKNOWN if step in MESSAGE else End.UNHARMED
    if fault == "421" or step is Step.MAIL:
        # The reply is about the connection, the relay or the sender: the send keeps its tries.
        return End.UNHARMED
    return End.FAILED if fault == "5xx" else End.RETRIED


@dataclass(frozen=True)
class Case:
    step: Step
    fault: str
    pipelining: bool

    def __str__(self) -> str:
        return f"{self.step}-{self.fault}-{'pipelined' if self.pipelining else 'singly'}"


KINDS = ("4xx", "5xx", "421", "delay", *BREAKAGES)
CASES = [
    Case(step, fault, pipelining)
    for step in (*OPENING, *ENVELOPE, *MESSAGE)
    for fault in KINDS
    for pipelining in (True, False)
]
SHORT = {Case(Step.AUTH, "5xx", True), Case(Step.RCPT, "hang-up", True), Case(Step.DOT, "421", False)}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in SHORT else pytest.mark.full, id=str(case)) for case in CASES]
)
async def test_each_send_gets_the_outcome_of_the_reply(
    owner: Database, database_url: str, redis_url: str, begin: Callable[[str], Scenario], case: Case
) -> None:
    scenario = begin(f"relay at {case.step}, {'pipelined' if case.pipelining else 'one by one'}")
    relay = Relay(
        pipelining=case.pipelining,
        tls="starttls" if case.step is Step.STARTTLS else "no",
        credentials=CREDENTIALS if case.step is Step.AUTH else None,
    )

    def hit(_: object) -> None:
        scenario.faults += 1

    misbehaviour = call(hit, then=behaviour(case.step, case.fault))
    if case.step in OPENING:
        relay.on(case.step, misbehaviour, times=FAULTS)
    else:
        relay.on(case.step, misbehaviour, every=EVERY, times=EVERY * FAULTS)
    waits = case.fault == "silence"
    async with (
        relay,
        open_world(
            owner,
            database_url,
            redis_url,
            smtp_url=relay.url,
            smtp_timeout=SHORT_TIMEOUT if waits else LONG_TIMEOUT,
            smtp_data_timeout=SHORT_TIMEOUT if waits else LONG_TIMEOUT,
            retry_delays="0.2,0.2,0.2,0.2",
        ) as world,
    ):
        # Each recipient has its own domain, so that no domain backs off.
        campaign_id = await world.launch_to(*(f"someone@domain{number}.example" for number in range(RECIPIENTS)))
        async with world.working():
            await scenario.until_sent(owner, campaign_id, relay, seconds=90)
        found = await scenario.reconciled(owner, campaign_id, relay)

    assert scenario.faults == FAULTS
    assert found.duplicates == 0
    stats, tries = found.counters, sum(row["attempts"] for row in found.rows)
    hit_by = {outcome: FAULTS if end(case.step, case.fault) is outcome else 0 for outcome in End}
    if case.fault == "reset" and case.step in ENVELOPE and case.pipelining:
        # A RST can overtake the reply to the dot before it, and discard it.
        assert stats["unconfirmed"] <= FAULTS
    else:
        assert stats["unconfirmed"] == hit_by[End.UNKNOWN]
    assert stats["failed"] == hit_by[End.FAILED]
    assert stats["delivered"] + stats["failed"] + stats["unconfirmed"] == RECIPIENTS
    assert tries == RECIPIENTS + hit_by[End.RETRIED], "only a send that was deferred is tried again, once per deferral"


@pytest.mark.full
@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "singly"])
@pytest.mark.parametrize("fault", ["hang-up", "reset"])
async def test_a_connection_lost_within_a_large_message_makes_no_unconfirmed_send(
    owner: Database, database_url: str, redis_url: str, begin: Callable[[str], Scenario], fault: str, pipelining: bool
) -> None:
    """The message is longer than all buffers on the way: its dot was not written, so it was certainly not accepted."""
    scenario = begin(f"relay at BODY of 16 MB, {'pipelined' if pipelining else 'one by one'}")

    def hit(_: object) -> None:
        scenario.faults += 1

    body = ("word " * 15 + "\n") * 220_000
    relay = Relay(pipelining=pipelining)
    relay.on(Step.BODY, call(hit, then=BREAKAGES[fault]), every=3, times=6)
    async with (
        relay,
        open_world(owner, database_url, redis_url, smtp_url=relay.url, smtp_connections="2") as world,
    ):
        campaign_id = await world.launch_to(*(f"someone@domain{n}.example" for n in range(6)), text_body=body)
        async with world.working():
            await scenario.until_sent(owner, campaign_id, relay, seconds=120)
        found = await scenario.reconciled(owner, campaign_id, relay)
    assert scenario.faults == 2
    assert (found.duplicates, found.ambiguous, found.counters["delivered"]) == (0, 0, 6)
    assert {row["attempts"] for row in found.rows} == {1}
