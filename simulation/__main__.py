"""`python -m simulation`: run many worlds, or tell the story of one. `make simulate` calls it."""

from __future__ import annotations

import argparse
import os
import sys
import time

from simulation.runs import run_in_processes, story


def main() -> int:
    """The exit code: 1 if a world has failed."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many worlds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="tell the story of this world")
    parser.add_argument("--whole", action="store_true", help="do not shrink the story")
    parser.add_argument("--no-story", action="store_true", help="only name the seed that fails")
    options = parser.parse_args()
    if options.seed is not None:
        print(story(options.seed, shrunk=not options.whole))
        return 0
    return _run(options.first, options.seeds, options.processes, with_story=not options.no_story)


def _run(first: int, seeds: int, processes: int, *, with_story: bool) -> int:
    started = shown = time.monotonic()
    worlds = steps = 0
    for chunk in run_in_processes(first, seeds, processes):
        worlds, steps = worlds + chunk.worlds, steps + chunk.steps
        if chunk.failed is not None:
            print(file=sys.stderr)
            print(f"Seed {chunk.failed.seed} fails after {worlds} worlds: {chunk.failed.failure.invariant}.")
            if not with_story:
                return 1
            print("Its story is shrunk; this takes some seconds ...\n", flush=True)
            print(story(chunk.failed.seed, shrunk=True))
            print(f"\nThe whole story: python -m simulation --seed {chunk.failed.seed} --whole")
            return 1
        if time.monotonic() - shown > 1.0:
            shown = time.monotonic()
            print(f"\r{worlds} of {seeds} worlds, {worlds / (shown - started):.0f} a second", end="", file=sys.stderr)
    seconds = time.monotonic() - started
    print(file=sys.stderr)
    print(
        f"{worlds} worlds, {steps} steps: all invariants hold. {worlds / seconds:.0f} worlds a second"
        f" ({processes} processes, {seconds:.0f} s)."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
