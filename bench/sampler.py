"""A worker that is looked at every two milliseconds of its processor time: `python -m bench.sampler FILE`.

Each look finds the innermost place of ours on the stack, and counts it towards a stage. What runs in C without a
frame of its own (the event loop's own work, and its writing to sockets) is found at the next Python line.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from marketing_service.cli import main as run

if TYPE_CHECKING:
    from types import FrameType

_EVERY = 0.002
_DEPTH = 60
# The first that fits, from the innermost frame outwards, is the stage.
_STAGES = (
    ("render", "/marketing_service/rendering/"),
    ("compose", "/marketing_service/tokens/"),
    ("socket", "/marketing_service/delivery/"),
    ("queue", "/marketing_service/queue/"),
    ("queue", "/arq/"),
    ("commit", "/marketing_service/ledger/"),
    ("commit", "/marketing_service/db.py"),
    ("commit", "/sqlalchemy/"),
    ("commit", "/asyncpg/"),
    ("lanes", "/marketing_service/sending/"),
    ("queue", "/redis/"),
)


class Samples:
    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    def take(self, _: int, frame: FrameType | None) -> None:
        stage, line = "event loop and the rest", ""
        depth = 0
        while frame is not None and depth < _DEPTH:
            name = frame.f_code.co_filename
            if not line:
                line = f"{'/'.join(name.rsplit('/', 2)[1:])}:{frame.f_code.co_qualname}"
            found = next((stage for stage, part in _STAGES if part in name), None)
            if found is not None:
                stage = found
                break
            frame = frame.f_back
            depth += 1
        self.stages[stage] += 1
        self.lines[f"{stage}: {line}"] += 1


def main() -> None:
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)
    code = run(["worker"])
    signal.setitimer(signal.ITIMER_PROF, 0)
    lines = dict(samples.lines.most_common(60))
    Path(sys.argv[1]).write_text(json.dumps({"stages": samples.stages, "lines": lines}, indent=1), encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    main()
