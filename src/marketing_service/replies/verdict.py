"""Reply and phase → verdict: what an SMTP reply means for a send.

The policy is one ordered table, `RULES`; the first rule that fits decides, and each names its source.
Only the three-digit code's first digit says whether another try may help (RFC 5321 §4.2.1). The enhanced code
(RFC 3463), and text where a system is known to say it no other way, tell whose fault it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from marketing_service.replies.reply import Phase

if TYPE_CHECKING:
    from marketing_service.replies.reply import Reply


class Outcome(StrEnum):
    """What is to be done about a reply."""

    ACCEPTED = "ACCEPTED"
    """The relay took responsibility."""
    TRANSIENT = "TRANSIENT"
    """Try again by the schedule."""
    PERMANENT = "PERMANENT"
    """Another try would not help: the send has failed."""
    SENDER = "SENDER"
    """We are refused, not the recipient: no send fails for it, and the campaign is held."""


class Cause(StrEnum):
    """What a permanent refusal is about."""

    ADDRESS = "ADDRESS"
    """The address does not exist or takes no mail: a hard bounce."""
    MAILBOX = "MAILBOX"
    """The mailbox cannot take this now (full, too large for it): a soft bounce, the address is good."""
    POLICY = "POLICY"
    """The message or its origin is unwanted; it says nothing about the address."""
    OTHER = "OTHER"
    """Anything else, or a relay that does not say."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reply means; `cause` is there when, and only when, the outcome is PERMANENT."""

    outcome: Outcome
    cause: Cause | None = None


ACCEPTED = Verdict(Outcome.ACCEPTED)
TRANSIENT = Verdict(Outcome.TRANSIENT)
SENDER = Verdict(Outcome.SENDER)
BAD_ADDRESS = Verdict(Outcome.PERMANENT, Cause.ADDRESS)
MAILBOX = Verdict(Outcome.PERMANENT, Cause.MAILBOX)
POLICY = Verdict(Outcome.PERMANENT, Cause.POLICY)
OTHER = Verdict(Outcome.PERMANENT, Cause.OTHER)


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits a reply when everything it names fits.

    `code` and `enhanced` are matched whole: the three digits, and the enhanced code without its class
    (`1.1` of `5.1.1`). `text` is looked for anywhere, whatever its case. No phases means any.
    """

    verdict: Verdict
    source: str
    code: str = "..."
    enhanced: str | None = None
    text: str | None = None
    phases: tuple[Phase, ...] = ()

    def fits(self, reply: Reply, phase: Phase) -> bool:
        return (
            (not self.phases or phase in self.phases)
            and re.fullmatch(self.code, str(reply.code)) is not None
            and (self.enhanced is None or re.fullmatch(self.enhanced, _detail(reply)) is not None)
            and (self.text is None or re.search(self.text, reply.text, re.IGNORECASE) is not None)
        )


def _detail(reply: Reply) -> str:
    return reply.enhanced_code.partition(".")[2] if reply.enhanced_code else ""


_FAILURE = "[45].."
_FINAL = "5.."

RULES: tuple[Rule, ...] = (
    Rule(ACCEPTED, "RFC 5321 §4.2.1: positive completion", "2.."),
    # The relay is about to hang up, for reasons of its own; that is never a word on a recipient or a sender.
    Rule(TRANSIENT, "RFC 5321 §3.8: service not available, closing", "421"),
    # ── refused is who we are ──
    Rule(
        SENDER,
        "RFC 4954 §6, RFC 3207 §4: log in or start TLS first, or the log-in is worth nothing",
        "53[0458]",
    ),
    Rule(SENDER, "RFC 4954 §6: credentials invalid", _FINAL, enhanced=r"7\.8"),
    Rule(SENDER, "RFC 3463 §3.2: the sender's mailbox or system address is bad", _FAILURE, enhanced=r"1\.[78]"),
    Rule(
        SENDER,
        "Microsoft 365 NDR codes: may not relay or send as this, not logged in, tenant blocked or over its limit",
        _FINAL,
        enhanced=r"7\.(54|57|60|64|705|708|750)|1\.90|2\.252",
    ),
    Rule(SENDER, "Google Workspace SMTP error reference: daily sending limit", _FINAL, enhanced=r"4\.5"),
    # Postfix answers 454 here until it is told otherwise: four tries of everybody would be wasted on it.
    Rule(
        SENDER,
        "Postfix reject_unauth_destination, Exim, sendmail, Exchange, Google SMTP relay: we may not relay",
        _FAILURE,
        text=r"relay access denied|relaying denied|relay denied|relay not permitted|unable to relay"
        r"|not permitted to relay|invalid credentials for relay|relay limit exceeded",
    ),
    Rule(
        SENDER,
        "Postfix smtpd_sender_restrictions (they answer at RCPT: smtpd_delay_reject); Exim sender verify",
        _FAILURE,
        text=r"sender address rejected|client host rejected: access denied|sender verify failed",
    ),
    Rule(
        SENDER,
        "Amazon SES SMTP response codes: identity not verified, sending paused, not authorised",
        _FINAL,
        text=r"email address is not verified|sending paused for this account"
        r"|is not authorized to perform .?ses:",
    ),
    Rule(
        SENDER,
        "SendGrid SMTP errors: sender identity",
        _FINAL,
        text=r"does not match a verified sender identity|unauthenticated senders not allowed",
    ),
    Rule(
        SENDER,
        "Mailgun SMTP errors: domain",
        _FINAL,
        text=r"is not allowed to send|sandbox subdomains are for test",
    ),
    Rule(
        SENDER,
        "Exchange transport: may not send as this sender, or has sent too much",
        _FINAL,
        text=r"sendasdenied|submission ?quota ?exceeded",
    ),
    # ── another try may help ──
    Rule(TRANSIENT, "RFC 5321 §4.2.1: transient negative completion", "4.."),
    # ── refused at MAIL: what is wrong cannot be the recipient, who has not been named ──
    Rule(OTHER, "RFC 1870 §6: larger than the relay takes", "552", phases=(Phase.MAIL,)),
    Rule(OTHER, "RFC 3463 §3.4: larger than the relay takes", _FINAL, enhanced=r"3\.4"),
    Rule(SENDER, "RFC 5321 §4.1.1.2: the sender is refused", _FINAL, phases=(Phase.MAIL,)),
    # ── refused is this message to this recipient ──
    Rule(BAD_ADDRESS, "RFC 6531 §4.2: the mailbox's name needs SMTPUTF8", _FINAL, enhanced=r"6\.7"),
    Rule(BAD_ADDRESS, "RFC 3463 §3.3: mailbox disabled", _FINAL, enhanced=r"2\.1"),
    Rule(MAILBOX, "RFC 3463 §3.3: mailbox full, or the message too large for it", _FINAL, enhanced=r"2\.\d+"),
    Rule(BAD_ADDRESS, "RFC 3463 §3.2: the address is bad or has moved", _FINAL, enhanced=r"1\.\d+"),
    Rule(
        BAD_ADDRESS,
        "Microsoft 365: directory-based edge blocking, no such recipient",
        _FINAL,
        enhanced=r"4\.1",
        text=r"recipient address rejected",
    ),
    # What a relay says of a domain it has looked up comes in reports only (RFC 7505 §4 for `null MX`).
    Rule(
        BAD_ADDRESS,
        "RFC 3463 §3.5 (unable to route), Postfix, Microsoft 365 NDR codes: the domain does not exist or takes no mail",
        _FINAL,
        enhanced=r"4\.(4|6|310)",
        text=r"name not found|host not found|host unknown|does not exist|does not accept mail|nullmx|null mx",
    ),
    Rule(POLICY, "RFC 3463 §3.8: security or policy", _FINAL, enhanced=r"7\.\d+"),
    # ── and relays that give no enhanced code, or a meaningless one ──
    Rule(
        MAILBOX,
        "RFC 5321 §4.2.3 (552), and what systems without enhanced codes say",
        _FINAL,
        text=r"over quota|quota exceeded|mailbox (is )?full|exceeded storage allocation",
    ),
    Rule(
        BAD_ADDRESS,
        "RFC 5321 §4.2.3 (550, 551, 553), Exim, Yahoo: what systems without enhanced codes say",
        _FINAL,
        text=r"user unknown|unknown user|no such (user|recipient|mailbox|address)|unrouteable address"
        r"|mailbox (not found|unavailable|does not exist)|(user|account|recipient) (does not|doesn't) exist"
        r"|doesn't have a \S+ account|account has been (disabled|discontinued)|invalid recipient"
        r"|user not found|unknown recipient|recipient (unknown|not found|(name is )?not recognized)|no mailbox here"
        r"|not listed in",
    ),
    Rule(
        BAD_ADDRESS,
        "RFC 5321 §4.2.3: user not local, mailbox name not allowed",
        "55[13]",
        phases=(Phase.RCPT,),
    ),
    Rule(
        POLICY,
        "what systems without enhanced codes say of unwanted mail",
        _FINAL,
        text=r"\bspam\b|unsolicited|block ?list|blacklist|blocked|policy|prohibit|spamhaus|reputation",
    ),
    Rule(OTHER, "RFC 5321 §4.2.1: permanent negative completion", _FINAL),
    Rule(TRANSIENT, "RFC 5321 §4.2.1: a reply out of place tells nothing", "..."),
)
"""Ordered: the first that fits decides."""


def judge(reply: Reply, phase: Phase) -> Verdict:
    """What the reply means for the send that got it in this phase."""
    return next(rule.verdict for rule in RULES if rule.fits(reply, phase))


def closes(reply: Reply) -> bool:
    """Whether the relay ends the conversation with this reply (RFC 5321 §3.8)."""
    return reply.code == 421  # noqa: PLR2004 - RFC 5321's own number
