"""The mutations of the engine that `make mutate` applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulation.mutate import find, mutated, simulate
from simulation.mutations import MUTATIONS, Mutation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_each_mutation_has_its_place_in_the_engine(mutation: Mutation, tmp_path: Path) -> None:
    mutated(mutation, tmp_path)
    compile((tmp_path / mutation.file).read_text(encoding="utf-8"), mutation.file, "exec")


def test_the_simulation_finds_a_mutation_and_names_seed_and_invariant() -> None:
    found = find(MUTATIONS[0], seeds=50, processes=1)
    assert found is not None
    assert found.endswith("marked before it is written")


def test_the_story_of_a_failing_world_is_shrunk_to_what_is_needed() -> None:
    mutation = next(each for each in MUTATIONS if each.name.startswith("an unknown outcome"))
    run = simulate(mutation, "--seeds=200", "--processes=1")
    assert run.returncode == 1
    story = run.stdout.partition("The world: ")[2]
    lines = [line for line in story.splitlines() if " s  " in line]
    assert "FAILED: what was accepted is not lost." in lines[-1]
    assert len(lines) < 50, story


def test_a_mutation_whose_place_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="exactly one place"):
        mutated(MUTATIONS[0]._replace(old="no such text"), tmp_path)
