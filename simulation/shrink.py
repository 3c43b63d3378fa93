"""Makes a failing scenario smaller: leaves out what is not needed for the same invariant to fail."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeVar

from simulation.scenario import Setup
from simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.scenario import Scenario

T = TypeVar("T")

_MAX_RUNS = 400


def shrink(scenario: Scenario, invariant: str) -> Scenario:
    """The smallest scenario that is found. The order of the steps is still that of its seed."""
    runs = 0
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(scenario):
            runs += 1
            if runs > _MAX_RUNS:
                return scenario
            failure = World(candidate).run()
            if failure is not None and failure.invariant == invariant:
                scenario, is_smaller = candidate, True
                break
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios with one thing less, the largest things first."""
    for place in range(len(scenario.campaigns)):
        if len(scenario.campaigns) > 1 and all(act.campaign < place for act in scenario.user_acts):
            yield replace(scenario, campaigns=_without(scenario.campaigns, place))
    for name, faults in scenario.faults().items():
        for place in range(len(faults)):
            yield replace(scenario, **{name: _without(faults, place)})  # type: ignore[arg-type]
    yield from _earlier_faults(scenario)
    for person in scenario.people:
        campaigns = tuple(
            tuple(batch for people in batches if (batch := tuple(n for n in people if n != person.number)))
            for batches in scenario.campaigns
        )
        if campaigns != scenario.campaigns and all(campaigns):
            yield replace(scenario, campaigns=campaigns)
    for person in scenario.people:
        if person.refusal is not None:
            people = [replace(each, refusal=None, times=0) if each is person else each for each in scenario.people]
            yield replace(scenario, people=tuple(people))
    yield from _simpler_setups(scenario)


def _earlier_faults(scenario: Scenario) -> Iterator[Scenario]:
    """A fault that happens the first time needs nobody before it."""
    for place, fault in enumerate(scenario.relay_faults):
        for simpler in (
            replace(fault, first=1),
            replace(fault, first=max(1, fault.first - 1)),
            replace(fault, times=1),
        ):
            if simpler != fault:
                yield replace(scenario, relay_faults=_with(scenario.relay_faults, place, simpler))
    for place, loss in enumerate(scenario.database_faults):
        if loss.request > 1:
            earlier = replace(loss, request=loss.request - 1)
            yield replace(scenario, database_faults=_with(scenario.database_faults, place, earlier))
    for place, cut in enumerate(scenario.cuts):
        if cut.connection > 1:
            yield replace(scenario, cuts=_with(scenario.cuts, place, replace(cut, connection=cut.connection - 1)))


def _simpler_setups(scenario: Scenario) -> Iterator[Scenario]:
    plain = Setup()
    for field in fields(Setup):
        value = getattr(plain, field.name)
        if getattr(scenario.setup, field.name) != value:
            yield replace(scenario, setup=replace(scenario.setup, **{field.name: value}))


def _with(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])


def _without(items: tuple[T, ...], place: int) -> tuple[T, ...]:
    return items[:place] + items[place + 1 :]
