"""The names of the jobs and queues, and the encoding of a job: JSON, so that data from Redis is never run as code."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any


class Queue(StrEnum):
    """Each queue has its own slots in a worker, so that a large audience being read does not delay sending."""

    SENDING = "marketing:queue"
    AUDIENCES = "marketing:audiences"


class Job(StrEnum):
    """What a job tells a worker to do."""

    EXPAND = "expand"
    SEND_BATCH = "send_batch"
    SEND_TEST = "send_test"
    PREFLIGHT = "preflight"
    OPT_OUTS = "opt_outs"
    IMPORT = "import"

    @property
    def queue(self) -> Queue:
        """The queue that this job belongs to."""
        return Queue.AUDIENCES if self in {Job.EXPAND, Job.PREFLIGHT} else Queue.SENDING


def serialize(job: dict[str, Any]) -> bytes:
    # A result that is an exception has no JSON form, so its repr is stored; nothing reads results.
    return json.dumps(job, default=repr, separators=(",", ":")).encode()


def deserialize(job: bytes) -> dict[str, Any]:
    return dict(json.loads(job))
