"""Run a worker with a sampling profiler, and measure what its connections wait for: `python -m bench.sampler FILE`.

The profiler takes a sample for every two milliseconds of processor time. A sample belongs to the stage of the innermost
stack frame that matches `_STAGES`. Code in C has no Python frame (the event loop, and its writes to sockets): its
samples belong to the next Python frame.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter, defaultdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from marketing_service.cli import main as run
from marketing_service.delivery.connection import SmtpConnection
from marketing_service.sending.committer import Committer
from marketing_service.sending.dispatcher import Dispatcher

if TYPE_CHECKING:
    from types import FrameType

    from marketing_service.ledger.commit_results import CommitResult
    from marketing_service.ports import Envelope, Submission
    from marketing_service.sending.connection_session import ConnectionSession

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


class Waits:
    """Seconds that connections and commits wait, by what they wait for, and the number of commits."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.commits = 0

    def measure(self) -> None:
        """Replace the methods of the engine in which a connection waits by ones that measure it."""
        submit, has_next, commit = SmtpConnection.submit, Dispatcher._has_next, Committer.commit  # noqa: SLF001

        async def measured_submit(connection: SmtpConnection, envelope: Envelope) -> Submission:
            started = monotonic()
            submission = await submit(connection, envelope)
            self.seconds["a connection, for the relay"] += monotonic() - started
            return submission

        async def measured_has_next(dispatcher: Dispatcher, session: ConnectionSession) -> bool:
            started = monotonic()
            has_one = await has_next(dispatcher, session)
            self.seconds["a connection, for a commit" if has_one else "a connection, with nothing to do"] += (
                monotonic() - started
            )
            return has_one

        async def measured_commit(committer: Committer, *groups: Any) -> CommitResult:
            self.commits += 1
            started = monotonic()
            result = await commit(committer, *groups)
            self.seconds["the commits, one after the other"] += monotonic() - started
            return result

        # setattr, because a type checker rightly forbids to replace methods.
        for owner, name, method in (
            (SmtpConnection, "submit", measured_submit),
            (Dispatcher, "_has_next", measured_has_next),
            (Committer, "commit", measured_commit),
        ):
            setattr(owner, name, method)


def main() -> None:
    samples, waits = Samples(), Waits()
    waits.measure()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)
    code = run(["worker"])
    signal.setitimer(signal.ITIMER_PROF, 0)
    lines = dict(samples.lines.most_common(60))
    Path(sys.argv[1]).write_text(
        json.dumps(
            {"stages": samples.stages, "lines": lines, "waits": waits.seconds, "commits": waits.commits}, indent=1
        ),
        encoding="utf-8",
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
