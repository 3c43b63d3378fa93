"""`python -m simulation.mutate`: applies each mutation to a copy of the engine, and runs worlds until one fails.

The exit code is 1 if a mutation is not found. `make mutate` calls it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from simulation.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
_FAILED = re.compile(r"Seed (\d+) fails after \d+ worlds: (.+)\.")


def mutated(mutation: Mutation, folder: Path) -> None:
    """Copy the engine and the simulation into an empty folder, and apply the mutation. Raises LookupError if its text
    does not occur exactly once."""
    for name in ("src", "simulation"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / mutation.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise LookupError(f"{mutation.file} does not have exactly one place for the mutation: {mutation.name}")
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def find(mutation: Mutation, *, seeds: int, processes: int) -> str | None:
    """The seed and the invariant that find the mutation; None if no world does."""
    run = simulate(mutation, f"--seeds={seeds}", f"--processes={processes}", "--no-story")
    found = _FAILED.search(run.stdout)
    if found is None and run.returncode != 0:
        raise RuntimeError(f"The simulation ended with an error:\n{run.stderr[-2000:]}")
    return None if found is None else f"seed {found[1]}: {found[2]}"


def simulate(mutation: Mutation, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation with the mutation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mutated(mutation, folder)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder / "src"), str(folder)))}
        return subprocess.run(  # noqa: S603 - the command is that of this process
            [sys.executable, "-m", "simulation", *options],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulation.mutate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many worlds may be needed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("names", nargs="*", help="only mutations whose name contains one of these words")
    options = parser.parse_args()
    missed = 0
    for mutation in MUTATIONS:
        if options.names and not any(word in mutation.name for word in options.names):
            continue
        started = time.monotonic()
        found = find(mutation, seeds=options.seeds, processes=options.processes)
        missed += found is None
        print(f"{'found ' if found else 'MISSED'} {time.monotonic() - started:5.0f} s  {mutation.name}", flush=True)
        print(f"                 {found or f'no world of {options.seeds} fails'}", flush=True)
    if missed:
        print(f"{missed} mutations were not found.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
