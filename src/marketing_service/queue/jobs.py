"""The jobs' names, and how they are written: JSON, so that nothing in Redis can become code."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any


class Queue(StrEnum):
    """Each has its own slots in a worker, so that reading a long audience holds up no sending."""

    SENDING = "marketing:queue"
    AUDIENCES = "marketing:audiences"


class Job(StrEnum):
    """What a ring asks a worker to do."""

    EXPAND = "expand"
    SEND_BATCH = "send_batch"
    SEND_TEST = "send_test"
    CHECK = "check"
    OPT_OUTS = "opt_outs"

    @property
    def queue(self) -> Queue:
        """The queue it waits in."""
        return Queue.AUDIENCES if self in {Job.EXPAND, Job.CHECK} else Queue.SENDING


def serialize(job: dict[str, Any]) -> bytes:
    # A result that is an exception has no JSON form; nobody reads results.
    return json.dumps(job, default=repr, separators=(",", ":")).encode()


def deserialize(job: bytes) -> dict[str, Any]:
    return dict(json.loads(job))
