"""The job queue, over arq and Redis."""

from marketing_service.queue.job_queue import ArqJobQueue, connect
from marketing_service.queue.jobs import Job, Queue, deserialize, serialize

__all__ = ["ArqJobQueue", "Job", "Queue", "connect", "deserialize", "serialize"]
