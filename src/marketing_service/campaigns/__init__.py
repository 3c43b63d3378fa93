"""The use cases of campaigns: drafts, lifecycle, stats, email log, resend, test mails, suppression list."""
