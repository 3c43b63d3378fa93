"""Classification of SMTP replies: what a reply means for the send that received it.

The policy is one ordered table, `RULES`. The first rule that matches decides, and each rule names its source. The first
digit of the reply code says whether another try can succeed (RFC 5321 §4.2.1). The enhanced code (RFC 3463) says what
the refusal is about; the text of the reply is used only for systems that give no such code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from marketing_service.replies.reply import Phase

if TYPE_CHECKING:
    from marketing_service.replies.reply import Reply


class ReplyClass(StrEnum):
    """What a send does after a reply of this class."""

    ACCEPTED = "ACCEPTED"
    """The relay took responsibility."""
    TRANSIENT = "TRANSIENT"
    """Try again later, as the retry schedule says."""
    PERMANENT = "PERMANENT"
    """Another try would not succeed: the send has failed."""
    SENDER = "SENDER"
    """The relay refuses the sender, not the recipient: no send fails, and the campaign is paused."""


class Cause(StrEnum):
    """The cause of a permanent refusal."""

    ADDRESS = "ADDRESS"
    """The address does not exist or accepts no mail: a hard bounce."""
    MAILBOX = "MAILBOX"
    """The mailbox is full, or the message is too large for it: a soft bounce. The address is valid."""
    POLICY = "POLICY"
    """The message or its origin is not wanted. This says nothing about the address."""
    OTHER = "OTHER"
    """Anything else, or a reply that gives no cause."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What a reply means. `cause` is set if, and only if, the class is PERMANENT."""

    reply_class: ReplyClass
    cause: Cause | None = None


ACCEPTED = Classification(ReplyClass.ACCEPTED)
TRANSIENT = Classification(ReplyClass.TRANSIENT)
SENDER = Classification(ReplyClass.SENDER)
BAD_ADDRESS = Classification(ReplyClass.PERMANENT, Cause.ADDRESS)
MAILBOX = Classification(ReplyClass.PERMANENT, Cause.MAILBOX)
POLICY = Classification(ReplyClass.PERMANENT, Cause.POLICY)
OTHER = Classification(ReplyClass.PERMANENT, Cause.OTHER)


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches a reply if all its conditions match.

    `code` must match the three digits, and `enhanced` the enhanced code without its class (`1.1` of `5.1.1`); both are
    regular expressions for the whole string. `text` is searched for anywhere, ignoring case. An empty `phases` means
    any phase.
    """

    classification: Classification
    source: str
    code: str = "..."
    enhanced: str | None = None
    text: str | None = None
    phases: tuple[Phase, ...] = ()

    def matches(self, reply: Reply, phase: Phase) -> bool:
        return (
            (not self.phases or phase in self.phases)
            and re.fullmatch(self.code, str(reply.code)) is not None
            and (self.enhanced is None or re.fullmatch(self.enhanced, _detail(reply)) is not None)
            and (self.text is None or re.search(self.text, reply.text, re.IGNORECASE) is not None)
        )


def _detail(reply: Reply) -> str:
    return reply.enhanced_code.partition(".")[2] if reply.enhanced_code else ""


_NEGATIVE = "[45].."
_PERMANENT = "5.."

RULES: tuple[Rule, ...] = (
    Rule(ACCEPTED, "RFC 5321 §4.2.1: positive completion", "2.."),
    # The relay closes the connection for reasons of its own. This says nothing about a recipient or a sender.
    Rule(TRANSIENT, "RFC 5321 §3.8: service not available, closing", "421"),
    # ── the sender is refused ──
    Rule(
        SENDER,
        "RFC 4954 §6, RFC 3207 §4: log-in or TLS required, or log-in rejected",
        "53[0458]",
    ),
    Rule(SENDER, "RFC 4954 §6: credentials invalid", _PERMANENT, enhanced=r"7\.8"),
    Rule(SENDER, "RFC 3463 §3.2: the sender's mailbox or system address is bad", _NEGATIVE, enhanced=r"1\.[78]"),
    Rule(
        SENDER,
        "Microsoft 365 NDR codes: may not relay or send as this, not logged in, tenant blocked or over its limit",
        _PERMANENT,
        enhanced=r"7\.(54|57|60|64|705|708|750)|1\.90|2\.252",
    ),
    Rule(SENDER, "Google Workspace SMTP error reference: daily sending limit", _PERMANENT, enhanced=r"4\.5"),
    # By default Postfix replies with 454 here. If that were TRANSIENT, every send would use up its tries.
    Rule(
        SENDER,
        "Postfix reject_unauth_destination, Exim, sendmail, Exchange, Google SMTP relay: we may not relay",
        _NEGATIVE,
        text=r"relay access denied|relaying denied|relay denied|relay not permitted|unable to relay"
        r"|not permitted to relay|invalid credentials for relay|relay limit exceeded",
    ),
    Rule(
        SENDER,
        "Postfix smtpd_sender_restrictions (replies at RCPT because of smtpd_delay_reject); Exim sender verify",
        _NEGATIVE,
        text=r"sender address rejected|client host rejected: access denied|sender verify failed",
    ),
    Rule(
        SENDER,
        "Amazon SES SMTP response codes: identity not verified, sending paused, not authorised",
        _PERMANENT,
        text=r"email address is not verified|sending paused for this account"
        r"|is not authorized to perform .?ses:",
    ),
    Rule(
        SENDER,
        "SendGrid SMTP errors: sender identity",
        _PERMANENT,
        text=r"does not match a verified sender identity|unauthenticated senders not allowed",
    ),
    Rule(
        SENDER,
        "Mailgun SMTP errors: domain",
        _PERMANENT,
        text=r"is not allowed to send|sandbox subdomains are for test",
    ),
    Rule(
        SENDER,
        "Exchange transport: may not send as this sender, or has sent too much",
        _PERMANENT,
        text=r"sendasdenied|submission ?quota ?exceeded",
    ),
    # ── another try may succeed ──
    Rule(TRANSIENT, "RFC 5321 §4.2.1: transient negative completion", "4.."),
    # ── refused at MAIL: the recipient is not named yet, so it cannot be the cause ──
    Rule(OTHER, "RFC 1870 §6: larger than the relay accepts", "552", phases=(Phase.MAIL,)),
    Rule(OTHER, "RFC 3463 §3.4: larger than the relay accepts", _PERMANENT, enhanced=r"3\.4"),
    Rule(SENDER, "RFC 5321 §4.1.1.2: the sender is refused", _PERMANENT, phases=(Phase.MAIL,)),
    # ── this message to this recipient is refused ──
    Rule(BAD_ADDRESS, "RFC 6531 §4.2: the mailbox's name needs SMTPUTF8", _PERMANENT, enhanced=r"6\.7"),
    Rule(BAD_ADDRESS, "RFC 3463 §3.3: mailbox disabled", _PERMANENT, enhanced=r"2\.1"),
    Rule(MAILBOX, "RFC 3463 §3.3: mailbox full, or the message too large for it", _PERMANENT, enhanced=r"2\.\d+"),
    Rule(BAD_ADDRESS, "RFC 3463 §3.2: the address is bad or has moved", _PERMANENT, enhanced=r"1\.\d+"),
    Rule(
        BAD_ADDRESS,
        "Microsoft 365: directory-based edge blocking, no such recipient",
        _PERMANENT,
        enhanced=r"4\.1",
        text=r"recipient address rejected",
    ),
    # These texts about a domain occur only in reports, because the relay looks it up later (null MX: RFC 7505 §4).
    Rule(
        BAD_ADDRESS,
        "RFC 3463 §3.5 (unable to route), Postfix, Microsoft 365 NDR codes: no such domain, or it accepts no mail",
        _PERMANENT,
        enhanced=r"4\.(4|6|310)",
        text=r"name not found|host not found|host unknown|does not exist|does not accept mail|nullmx|null mx",
    ),
    Rule(POLICY, "RFC 3463 §3.8: security or policy", _PERMANENT, enhanced=r"7\.\d+"),
    # ── relays that give no enhanced code, or a meaningless one ──
    Rule(
        MAILBOX,
        "RFC 5321 §4.2.3 (552), and texts of systems without enhanced codes",
        _PERMANENT,
        text=r"over quota|quota exceeded|mailbox (is )?full|exceeded storage allocation",
    ),
    Rule(
        BAD_ADDRESS,
        "RFC 5321 §4.2.3 (550, 551, 553), Exim, Yahoo: texts of systems without enhanced codes",
        _PERMANENT,
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
        "texts about unwanted mail of systems without enhanced codes",
        _PERMANENT,
        text=r"\bspam\b|unsolicited|block ?list|blacklist|blocked|policy|prohibit|spamhaus|reputation",
    ),
    Rule(OTHER, "RFC 5321 §4.2.1: permanent negative completion", _PERMANENT),
    Rule(TRANSIENT, "RFC 5321 §4.2.1: a reply that does not fit the command says nothing", "..."),
)
"""In order: the first rule that matches decides."""


def classify(reply: Reply, phase: Phase) -> Classification:
    """What the reply means for the send that received it in this phase."""
    return next(rule.classification for rule in RULES if rule.matches(reply, phase))


def closes_connection(reply: Reply) -> bool:
    """Whether the relay closes the connection after this reply (RFC 5321 §3.8)."""
    return reply.code == 421  # noqa: PLR2004 - the code of RFC 5321 §3.8
