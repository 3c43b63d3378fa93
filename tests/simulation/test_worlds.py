"""Worlds of the simulation: their invariants hold, and a seed always tells the same story."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from marketing_service.replies import Phase, Reply, classify
from simulation.runs import run_seeds, story
from simulation.scenario import REFUSALS, Refusal, Step
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEEDS = 500
_PARTS = 4


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """A simulation drops all logs; the tests after it want them."""
    configuration = structlog.get_config()
    yield
    structlog.configure(**configuration)


@pytest.mark.parametrize("part", range(_PARTS))
def test_all_invariants_hold_in_five_hundred_worlds(part: int) -> None:
    failed = run_seeds(range(part, _SEEDS, _PARTS)).failed
    assert failed is None, story(failed.seed, shrunk=False)


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    """Also if the hashes of texts, and the addresses of objects in memory, are others."""
    code = "from simulation.runs import story; print(*(story(seed, shrunk=False) for seed in range(20)))"
    stories = [
        subprocess.run(
            [sys.executable, "-c", f"filler = [object() for _ in range({hash_seed} * 1000)]; {code}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    ]
    assert stories[0] == stories[1]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_the_relay_means_what_the_service_reads(refusal: Refusal) -> None:
    phase = Phase.BANNER if refusal.step is Step.CONNECT else Phase[refusal.step]
    assert classify(Reply.of(refusal.code, refusal.text), phase).scope is refusal.scope
