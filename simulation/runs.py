"""Runs many worlds, in several processes."""

from __future__ import annotations

import gc
import multiprocessing
from typing import TYPE_CHECKING, NamedTuple

from simulation.generate import generate
from simulation.shrink import shrink
from simulation.words import story_of
from simulation.world import World, drop_logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulation.world import Failure

_WORLDS_PER_COLLECTION = 50


class FailedSeed(NamedTuple):
    seed: int
    failure: Failure


class Chunk(NamedTuple):
    """Worlds that were run, the steps of all of them, and the first that failed."""

    worlds: int
    steps: int
    failed: FailedSeed | None


def run_seeds(seeds: Sequence[int]) -> Chunk:
    """Run worlds one after the other, until one fails."""
    drop_logs()
    collects = gc.isenabled()
    gc.disable()  # worlds are made of cycles: they are collected between worlds, which is faster
    steps = 0
    try:
        for number, seed in enumerate(seeds, 1):
            world = World(generate(seed))
            failure = world.run()
            steps += world.loop.steps
            if failure is not None:
                return Chunk(number, steps, FailedSeed(seed, failure))
            if number % _WORLDS_PER_COLLECTION == 0:
                del world
                gc.collect()
    finally:
        if collects:
            gc.enable()
            gc.collect()
    return Chunk(len(seeds), steps, None)


def run_in_processes(first: int, seeds: int, processes: int) -> Iterator[Chunk]:
    """Run the seeds from `first` on. The chunks come in any order."""
    chunks = [
        range(start, min(start + _WORLDS_PER_COLLECTION, first + seeds))
        for start in range(first, first + seeds, _WORLDS_PER_COLLECTION)
    ]
    if processes == 1:
        yield from map(run_seeds, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(run_seeds, chunks)


def story(seed: int, *, shrunk: bool) -> str:
    """The story of a seed; of the smallest world that fails in the same way, if it fails and `shrunk` is set."""
    drop_logs()
    scenario = generate(seed)
    world = World(scenario)
    failure = world.run()
    if failure is None:
        lines = (f"{line.at:10.3f} s  {line.text}" for line in world.story())
        return "\n".join([f"Seed {seed}: all invariants hold.", "", *lines])
    if shrunk:
        world = World(shrink(scenario, failure.invariant))
        failure = world.run() or failure
    return story_of(world, failure)
