"""What an SMTP reply means for a send: reply and phase → classification (RFC 5321 §4.2, RFC 3463)."""

from marketing_service.replies.classification import Cause, Classification, ReplyClass, Scope
from marketing_service.replies.reply import Phase, Reply
from marketing_service.replies.rules import classify, closes_connection

__all__ = ["Cause", "Classification", "Phase", "Reply", "ReplyClass", "Scope", "classify", "closes_connection"]
