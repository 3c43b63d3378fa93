"""The check before a launch: a dry run, its findings, and the number of contacts in an audience."""

from marketing_service.preflight.audience_count import AudienceCount, count_audience
from marketing_service.preflight.audience_reading import AudienceEndless, MustYield, ReadingLimit, never
from marketing_service.preflight.dry_run import DryRun, PreflightRules
from marketing_service.preflight.sender_domain import domain_findings
from marketing_service.preflight.unknown_statuses import find_unknown_statuses

__all__ = [
    "AudienceCount",
    "AudienceEndless",
    "DryRun",
    "MustYield",
    "PreflightRules",
    "ReadingLimit",
    "count_audience",
    "domain_findings",
    "find_unknown_statuses",
    "never",
]
