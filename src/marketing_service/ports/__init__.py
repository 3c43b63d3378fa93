"""The interfaces that the use cases need, and their types. The adapters implement them."""

from marketing_service.ports.audience import (
    Audience,
    AudienceError,
    AudienceRefused,
    AudienceSource,
    AudienceType,
    AudienceUnavailable,
    Contact,
    ContactPage,
    ContactStatus,
    LeftOut,
)
from marketing_service.ports.dns import DnsUnavailable, TextRecords
from marketing_service.ports.job_queue import JobQueue, QueuedBatch
from marketing_service.ports.rates import Allowance, Limit, Quota, Rate, RateLimiter, RequestLimiter, Verdict
from marketing_service.ports.relay import (
    Envelope,
    MailConnection,
    Mailer,
    RelayDown,
    SizeLimit,
    Submission,
    SubmissionOutcome,
)

__all__ = [
    "Allowance",
    "Audience",
    "AudienceError",
    "AudienceRefused",
    "AudienceSource",
    "AudienceType",
    "AudienceUnavailable",
    "Contact",
    "ContactPage",
    "ContactStatus",
    "DnsUnavailable",
    "Envelope",
    "JobQueue",
    "LeftOut",
    "Limit",
    "MailConnection",
    "Mailer",
    "QueuedBatch",
    "Quota",
    "Rate",
    "RateLimiter",
    "RelayDown",
    "RequestLimiter",
    "SizeLimit",
    "Submission",
    "SubmissionOutcome",
    "TextRecords",
    "Verdict",
]
