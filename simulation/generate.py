"""Makes a scenario from a seed."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from simulation.model.database import Request
from simulation.scenario import (
    REFUSALS,
    Cut,
    DatabaseDeed,
    DatabaseFault,
    Deed,
    Outage,
    Part,
    Person,
    ProcessDeed,
    ProcessFault,
    RelayFault,
    Scenario,
    Setup,
    Step,
    UserAct,
    Wish,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.scenario import Refusal

T = TypeVar("T")

_DOMAINS = ("one.example", "two.example")
_MAX_PEOPLE = 9
_MAX_OCTETS = 900
"""About the octets of three messages in each direction."""
_MAX_OCTETS_IF_LARGE = 400_000
_OF_RECIPIENT = tuple(refusal for refusal in REFUSALS if refusal.scope in ("RECIPIENT", "DOMAIN"))
_WHILE_SENDING = (Step.MAIL, Step.RCPT, Step.DATA, Step.DOT)


def generate(seed: int) -> Scenario:
    """The scenario of a seed. About half of the kinds of faults happen in each."""
    rng = random.Random(f"scenario {seed}")
    setup = _setup(rng)
    people = tuple(_person(rng, number) for number in range(rng.randint(1, _MAX_PEOPLE)))
    campaigns = tuple(_batches(rng, people) for _ in range(rng.choice((1, 1, 1, 2))))
    kinds = {kind: rng.random() < share for kind, share in _SHARES.items()}
    scenario = Scenario(
        seed=seed,
        setup=setup,
        people=people,
        campaigns=campaigns,
        relay_faults=_some(kinds["relay"], 1, 4, lambda: _relay_fault(rng), rng),
        cuts=_some(kinds["cut"], 1, 3, lambda: _cut(rng, _MAX_OCTETS_IF_LARGE if setup.large else _MAX_OCTETS), rng),
        database_faults=_some(kinds["database"], 1, 3, lambda: _database_fault(rng), rng),
        outages=_some(kinds["outage"], 1, 1, lambda: _outage(rng), rng),
        process_faults=_some(kinds["process"], 1, 2, lambda: _process_fault(rng, setup.workers), rng),
        user_acts=_some(kinds["user"], 1, 4, lambda: _user_act(rng, len(campaigns), len(people)), rng),
    )
    return _with_two_owners(scenario, rng) if rng.random() < _TWO_OWNERS else scenario


_TWO_OWNERS = 0.15
"""How often a world is made for one danger: a worker does not know what it has committed, and is frozen until another
worker has its batch. By chance alone, this is too rare."""


def _with_two_owners(scenario: Scenario, rng: random.Random) -> Scenario:
    setup = replace(
        scenario.setup,
        workers=rng.choice((2, 3)),
        connections=rng.choice((1, 1, 2)),
        messages_per_connection=rng.choice((1, 1, 2, 3)),
        latency=rng.choice((0.1, 0.3)),
        rate=None,
    )
    fault = DatabaseFault(
        Request.CALL,
        rng.randint(2, 7),
        rng.choice((DatabaseDeed.NOTHING, DatabaseDeed.LOSE_ANSWER, DatabaseDeed.LOSE_ANSWER)),
        process=ProcessDeed.FREEZE,
        seconds=20.0,
        until_marked=True,
    )
    return replace(scenario, setup=setup, database_faults=(fault,), outages=(), process_faults=(), user_acts=())


_SHARES = {"relay": 0.55, "cut": 0.4, "database": 0.3, "outage": 0.12, "process": 0.35, "user": 0.5}
"""How often each kind of fault happens at all."""


def _some(happens: bool, least: int, most: int, make: Callable[[], T], rng: random.Random) -> tuple[T, ...]:
    return tuple(make() for _ in range(rng.randint(least, most))) if happens else ()


def _soon(rng: random.Random) -> float:
    """A moment, more often an early one: from the first milliseconds to ten seconds."""
    return round(0.01 * math.pow(1000.0, rng.random()), 3)


def _setup(rng: random.Random) -> Setup:
    return Setup(
        workers=rng.choice((1, 1, 2, 2, 3)),
        jobs=rng.randint(1, 3),
        connections=rng.randint(1, 3),
        messages_per_connection=rng.choice((1, 2, 3, 100, 100)),
        window=rng.randint(1, 3),
        retry_delays=rng.choice(((), (3.0,), (3.0, 8.0), (3.0, 8.0))),
        resend_ambiguous=rng.random() < 0.25,
        rate=rng.choice((None, None, None, 1, 3)),
        costly=rng.random() < 0.1,
        large=rng.random() < 0.05,
        pipelining=rng.random() < 0.8,
        lenient=rng.random() < 0.3,
        relay_connections=rng.choice((None, None, None, 1, 2)),
        session_messages=rng.choice((None, None, None, 1, 2, 3)),
        latency=rng.choice((0.001, 0.01, 0.01, 0.1, 1.0)),
        shuffle=rng.choice((0.0, 0.2, 0.5, 1.0)),
    )


def _person(rng: random.Random, number: int) -> Person:
    is_difficult = rng.random() < 0.25
    refusal: Refusal | None = rng.choice(_OF_RECIPIENT) if is_difficult else None
    times = rng.choice((1, 1, 2, 100)) if is_difficult else 0
    return Person(number, rng.choice(_DOMAINS), refusal, times, has_refused_values=rng.random() < 0.02)


def _batches(rng: random.Random, people: tuple[Person, ...]) -> tuple[tuple[int, ...], ...]:
    numbers = [person.number for person in people]
    rng.shuffle(numbers)
    batches = []
    while numbers:
        size = rng.randint(1, 4)
        batches.append(tuple(numbers[:size]))
        numbers = numbers[size:]
    return tuple(batches)


def _relay_fault(rng: random.Random) -> RelayFault:
    first = rng.choice((1, 1, 2, 3, 4, 6, 9))
    times = rng.choice((1, 1, 1, 2, 3, 5, 30))
    if rng.random() < 0.55:
        refusal = rng.choice(REFUSALS)
        return RelayFault(refusal.step, first, times, Deed.REFUSE, refusal)
    deed = rng.choice((Deed.HANG_UP, Deed.ACCEPT_AND_HANG_UP, Deed.SAY_NOTHING, Deed.WAIT))
    step = Step.DOT if deed is Deed.ACCEPT_AND_HANG_UP else rng.choice((*_WHILE_SENDING, Step.DOT, *Step))
    seconds = rng.choice((0.05, 0.5, 5.0, 8.0, 14.0)) if deed is Deed.WAIT else 0.0
    return RelayFault(step, first, min(times, 3), deed, seconds=seconds)


def _cut(rng: random.Random, octets: int) -> Cut:
    return Cut(rng.choice((1, 1, 1, 2, 2, 3, 4)), rng.randint(0, octets), at_relay=rng.random() < 0.6)


def _database_fault(rng: random.Random) -> DatabaseFault:
    kind = rng.choice((Request.STATEMENT, Request.COMMIT, Request.CALL, Request.CALL, Request.CALL))
    deed = rng.choice(
        (DatabaseDeed.NOTHING, DatabaseDeed.LOSE_REQUEST, DatabaseDeed.LOSE_ANSWER, DatabaseDeed.LOSE_ANSWER)
    )
    process = rng.choice((ProcessDeed.KILL, ProcessDeed.FREEZE, ProcessDeed.FREEZE))
    request = rng.randint(1, 9 if kind is Request.CALL else 30)
    if deed is not DatabaseDeed.NOTHING and rng.random() < 0.5:
        return DatabaseFault(kind, request, deed)
    seconds, until_marked = _freeze(rng) if process is ProcessDeed.FREEZE else (0.5, False)
    return DatabaseFault(kind, request, deed, process, seconds, until_marked)


def _freeze(rng: random.Random) -> tuple[float, bool]:
    """For how long a process is frozen, and whether it goes on when another one marks a send."""
    return rng.choice(((0.5, False), (3.0, False), (9.0, False), (20.0, True), (20.0, True)))


def _outage(rng: random.Random) -> Outage:
    return Outage(rng.choice(list(Part)), _soon(rng), rng.choice((0.1, 1.0, 4.0, 10.0)))


def _process_fault(rng: random.Random, workers: int) -> ProcessFault:
    deed = rng.choice((ProcessDeed.KILL, ProcessDeed.FREEZE, ProcessDeed.FREEZE, ProcessDeed.DRAIN))
    seconds, until_marked = _freeze(rng) if deed is ProcessDeed.FREEZE else (rng.choice((0.2, 2.0)), False)
    return ProcessFault(rng.randrange(workers), deed, _soon(rng), seconds, until_marked)


def _user_act(rng: random.Random, campaigns: int, people: int) -> UserAct:
    wish = rng.choice((*Wish, Wish.RESEND, Wish.RESEND, Wish.PAUSE))
    return UserAct(wish, rng.randrange(campaigns), rng.randrange(people), _soon(rng))
