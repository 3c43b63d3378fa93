"""The check before a launch: a dry run, its findings, and how many contacts an audience has."""

from marketing_service.preflight.audience_count import AudienceNow, audience_now
from marketing_service.preflight.dry_run import CheckRules, DryRun

__all__ = ["AudienceNow", "CheckRules", "DryRun", "audience_now"]
