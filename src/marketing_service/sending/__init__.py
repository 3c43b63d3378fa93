"""The engine: claims batches, submits their sends to the relay, and commits what becomes of each.

`sender` claims and releases batches. `dispatcher` opens connections and runs a session on each. `assignment` decides
which session gets which send next. `commit_loop` and `committer` record results and mark the next sends.
"""

from marketing_service.sending.enqueueing import BatchEnqueuer
from marketing_service.sending.leases import RENEWALS_PER_LEASE
from marketing_service.sending.messages import Messages
from marketing_service.sending.relay_feedback import RelayFeedback
from marketing_service.sending.retries import RetryPolicy
from marketing_service.sending.sender import Sender, SendingRules
from marketing_service.sending.stats import SECONDS, SendingStats
from marketing_service.sending.throttle import DomainThrottle

__all__ = [
    "RENEWALS_PER_LEASE",
    "SECONDS",
    "BatchEnqueuer",
    "DomainThrottle",
    "Messages",
    "RelayFeedback",
    "RetryPolicy",
    "Sender",
    "SendingRules",
    "SendingStats",
]
