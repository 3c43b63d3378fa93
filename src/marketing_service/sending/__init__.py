"""From a launch to messages: the list, the batches, the relay's answers, and what is tried again."""

from marketing_service.sending.audience_now import AudienceNow, audience_now
from marketing_service.sending.counts import SECONDS, Counts
from marketing_service.sending.domains import Domains
from marketing_service.sending.dry_run import CheckRules, DryRun
from marketing_service.sending.expander import Expander
from marketing_service.sending.leases import RENEWALS
from marketing_service.sending.messages import Messages
from marketing_service.sending.resend import resend
from marketing_service.sending.retries import RetryPolicy
from marketing_service.sending.ringing import Ringer
from marketing_service.sending.sender import Sender
from marketing_service.sending.sweep import Sweep
from marketing_service.sending.test_sends import MOST_RECIPIENTS, TestSender, request_test_send

__all__ = [
    "MOST_RECIPIENTS",
    "RENEWALS",
    "SECONDS",
    "AudienceNow",
    "CheckRules",
    "Counts",
    "Domains",
    "DryRun",
    "Expander",
    "Messages",
    "RetryPolicy",
    "Ringer",
    "Sender",
    "Sweep",
    "TestSender",
    "audience_now",
    "request_test_send",
    "resend",
]
