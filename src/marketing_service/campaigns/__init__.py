"""Campaigns as an administrator sees them: drafts, their life, their figures, their email log."""
