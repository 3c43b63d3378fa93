"""Run a worker with a sampling profiler: `python -m bench.sampler FILE`.

The profiler takes a sample for every two milliseconds of processor time. A sample belongs to the stage of the innermost
stack frame that matches `_STAGES`. Code in C has no Python frame (the event loop, and its writes to sockets): its
samples belong to the next Python frame.
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

_INTERVAL_SECONDS = 0.002
_MAX_DEPTH = 60
# Stage and part of the file name. The search goes from the innermost frame outwards; the first match is the stage.
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
    ("dispatcher", "/marketing_service/sending/"),
    ("queue", "/redis/"),
)


class Samples:
    """Number of samples, by stage and by line of code."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    def take(self, _: int, frame: FrameType | None) -> None:
        stage, line = "event loop and other", ""
        depth = 0
        while frame is not None and depth < _MAX_DEPTH:
            name = frame.f_code.co_filename
            if not line:
                line = f"{'/'.join(name.rsplit('/', 2)[1:])}:{frame.f_code.co_qualname}"
            match = next((stage for stage, part in _STAGES if part in name), None)
            if match is not None:
                stage = match
                break
            frame = frame.f_back
            depth += 1
        self.stages[stage] += 1
        self.lines[f"{stage}: {line}"] += 1


def main() -> None:
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)
    code = run(["worker"])
    signal.setitimer(signal.ITIMER_PROF, 0)
    lines = dict(samples.lines.most_common(60))
    Path(sys.argv[1]).write_text(json.dumps({"stages": samples.stages, "lines": lines}, indent=1), encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    main()
