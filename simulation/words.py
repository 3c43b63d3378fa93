"""A failing world in words."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from simulation.scenario import Setup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.scenario import Scenario
    from simulation.world import Failure, World


def story_of(world: World, failure: Failure) -> str:
    """What was set up, what happened, and which invariant did not hold."""
    return "\n".join(_lines(world, failure))


def _lines(world: World, failure: Failure) -> Iterator[str]:
    scenario = world.scenario
    yield f"Seed {scenario.seed}: the invariant “{failure.invariant}” does not hold."
    yield ""
    yield f"The world: {_world(scenario)}"
    yield ""
    yield from (f"{line.at:10.3f} s  {line.text}" for line in world.story())


def _world(scenario: Scenario) -> str:
    setup = scenario.setup
    plain = Setup()
    unusual = [
        f"{field.name} {getattr(setup, field.name)}"
        for field in fields(Setup)
        if field.name not in ("workers", "jobs", "connections")
        and getattr(setup, field.name) != getattr(plain, field.name)
    ]
    campaigns = "; ".join(
        f"campaign {number} with the batches {_batches(batches)}"
        for number, batches in enumerate(scenario.campaigns, 1)
    )
    return (
        f"{_some(setup.workers, 'worker')} with {_some(setup.jobs, 'job')} and"
        f" {_some(setup.connections, 'connection')} each; {campaigns}."
        + (f" Not the default: {', '.join(unusual)}." if unusual else "")
    )


def _batches(batches: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join(f"({', '.join(f'person{number}' for number in people)})" for people in batches)


def _some(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
