"""What an SMTP reply means for a send: reply and phase → verdict (RFC 5321 §4.2, RFC 3463)."""

from marketing_service.replies.reply import Phase, Reply
from marketing_service.replies.verdict import Cause, Outcome, Verdict, closes, judge

__all__ = ["Cause", "Outcome", "Phase", "Reply", "Verdict", "closes", "judge"]
