"""From a launch to messages: the batches, the relay's answers, and what is tried again."""

from marketing_service.sending.enqueueing import BatchEnqueuer
from marketing_service.sending.leases import RENEWALS
from marketing_service.sending.messages import Messages
from marketing_service.sending.retries import RetryPolicy
from marketing_service.sending.sender import Sender
from marketing_service.sending.stats import SECONDS, SendingStats
from marketing_service.sending.throttle import DomainThrottle

__all__ = [
    "RENEWALS",
    "SECONDS",
    "BatchEnqueuer",
    "DomainThrottle",
    "Messages",
    "RetryPolicy",
    "Sender",
    "SendingStats",
]
