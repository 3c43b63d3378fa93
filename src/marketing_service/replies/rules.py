"""The reply table: what SMTP replies are about.

The table is ordered, and the first rule that matches decides. Each rule names its source. The first digit of the reply
code says whether another try can succeed (RFC 5321 §4.2.1). The scope comes from the text of the reply, from the
enhanced code (RFC 3463) and from the phase. The text has priority where the codes of well-known systems say too little
or something else: many use 5.7.1, 4.7.0 or no enhanced code at all for their limits.

The order is: what concerns us (quota, limits, size, sender), then what concerns the recipient. So a limit of the relay
is never taken for the fault of a recipient. A rule about a recipient needs a phase in which the recipient is named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from marketing_service.replies import patterns
from marketing_service.replies.about_us import is_about_us
from marketing_service.replies.classification import Cause, Classification, Scope
from marketing_service.replies.reply import Phase
from marketing_service.replies.rule import BEFORE_RCPT, CLOSING, FROM_RCPT, Rule, words_of

if TYPE_CHECKING:
    from marketing_service.replies.reply import Reply

_TRANSIENT = "4.."
_PERMANENT = "5.."
_NOT_CLOSING = "4(?!21)..|5.."
_TRANSIENT_NOT_CLOSING = "4(?!21).."
_CLOSING = str(CLOSING)

RULES: tuple[Rule, ...] = (
    Rule(Scope.RECIPIENT, "RFC 5321 §4.2.1: positive completion", "2.."),
    # ── a mailbox that gets too much: the words are those of a quota or a rate limit, but the recipient's ──
    Rule(
        Scope.RECIPIENT,
        "Google, Yahoo, Yandex, Microsoft 365 NDR codes: the mailbox gets messages too fast",
        _NOT_CLOSING,
        text=patterns.MAILBOX_TOO_BUSY,
        phases=FROM_RCPT,
        cause=Cause.MAILBOX,
    ),
    # ── our account ──
    Rule(
        Scope.ACCOUNT,
        "Google Workspace SMTP error reference (5.4.5), Microsoft 365 NDR codes (5.1.90): daily sending limit",
        _PERMANENT,
        enhanced=r"4\.5|1\.90",
    ),
    Rule(
        Scope.ACCOUNT,
        "Amazon SES sending quotas, Google Workspace SMTP relay, Microsoft 365 NDR codes, SendGrid, Mailgun, cPanel",
        text=patterns.QUOTA,
    ),
    Rule(
        Scope.ACCOUNT,
        "RFC 5321 §4.1.1.2: a quota before the recipient is named is not the recipient's",
        _NOT_CLOSING,
        text=r"quota|credits?\b",
        phases=BEFORE_RCPT,
    ),
    # ── our log-in and TLS ──
    Rule(
        Scope.SENDER,
        "Google SMTP error reference, Postfix smtpd_client_auth_rate_limit: too many log-ins",
        text=r"too many (login|auth\w*) (attempts|commands|failures)",
        is_login=True,
    ),
    Rule(Scope.SENDER, "RFC 3207 §4: TLS required", "530", text=r"starttls|\btls\b|\bssl\b|encrypt"),
    Rule(Scope.SENDER, "RFC 4954 §6: log-in required, or log-in rejected", "53[0458]", is_login=True),
    Rule(Scope.SENDER, "RFC 4954 §6: credentials invalid", _PERMANENT, enhanced=r"7\.8", is_login=True),
    # ── one receiving system does not trust our authentication; the words are like those of a log-in ──
    Rule(
        Scope.RECIPIENT,
        "Google, Mimecast, Stalwart, GMX and others: SPF, DKIM or DMARC",
        _NOT_CLOSING,
        text=r"\b(spf|dkim|dmarc)\b|sender policy framework",
        phases=FROM_RCPT,
        cause=Cause.POLICY,
    ),
    Rule(
        Scope.SENDER,
        "Exim, Mimecast, Orange, Stalwart: log-in required or failed, without a code of RFC 4954",
        _PERMANENT,
        text=patterns.LOGIN_NEEDED,
        is_login=True,
    ),
    # ── this connection ──
    Rule(
        Scope.CONNECTION,
        "Exim smtp_accept_max_per_connection, Stalwart, Yahoo, GoDaddy, Google: messages or time per connection",
        text=patterns.PER_CONNECTION,
    ),
    Rule(
        Scope.CONNECTION,
        "Google, Yahoo, iCloud: a limit of one receiving system, with a closing reply",
        _CLOSING,
        text=patterns.RECEIVERS_LIMIT,
        phases=FROM_RCPT,
    ),
    # ── one receiving domain has too much ──
    Rule(
        Scope.DOMAIN,
        "Microsoft 365, Outlook.com, Google, Yahoo: limits of a receiving system for the relay's address",
        _TRANSIENT,
        text=patterns.RECEIVERS_LIMIT,
        phases=FROM_RCPT,
    ),
    # ── the sender, in words that also occur in limits ──
    Rule(
        Scope.SENDER,
        "Exim smtp_max_unknown_commands and ACLs, GoDaddy: too many of our recipients are invalid",
        text=r"too many (invalid|bad|unknown|wrong|non-?existent) (recipient|user|address|mailbox|rcpt)",
    ),
    Rule(
        Scope.SENDER,
        "Yahoo: the sender's domain cannot be resolved",
        text=r"rfc.?5321.{0,8}\bdomain|unresolvable sender",
    ),
    Rule(
        Scope.SENDER,
        "Mailgun SMTP errors (421): the domain is not verified, or the account is not active",
        text=r"domain.{0,80}is not allowed to send|sandbox subdomains are for test|activate your (mailgun )?account",
    ),
    # ── the relay's limits for us ──
    Rule(Scope.RELAY, "Microsoft 365 SMTP AUTH: concurrent connections", "432"),
    Rule(
        Scope.RELAY,
        "Postfix smtpd_client_*_limit, Exim, sendmail, Haraka, Stalwart, SES, Mimecast: rate, concurrency",
        text=patterns.TOO_MUCH_FROM_US,
    ),
    Rule(
        Scope.RELAY,
        "RFC 3463 §3.4: mail system full, or not accepting messages",
        _TRANSIENT_NOT_CLOSING,
        enhanced=r"3\.[12]",
    ),
    Rule(
        Scope.RELAY,
        "Postfix, Exim, sendmail, qmail, Microsoft 365: disk, memory or load of the relay",
        _TRANSIENT_NOT_CLOSING,
        text=patterns.NO_RESOURCES,
    ),
    Rule(
        Scope.RELAY,
        "RFC 5321 §3.8: refused before a message begins, closing",
        _CLOSING,
        phases=tuple(phase for phase in BEFORE_RCPT if phase is not Phase.MAIL),
    ),
    Rule(Scope.CONNECTION, "RFC 5321 §3.8: service not available, closing", _CLOSING),
    Rule(
        Scope.CONNECTION,
        "RFC 3463 §3.5 (bad connection, congestion), §3.6 (too many recipients): this connection has done enough",
        _TRANSIENT,
        enhanced=r"4\.[25]|5\.3",
    ),
    Rule(
        Scope.CONNECTION,
        "RFC 5321 §4.5.3.1.10, Haraka, Mimecast, Amazon SES: too many commands, or too slow",
        _TRANSIENT,
        text=r"too many (recipient|error|command|rcpt)|timeout (waiting|exceeded)",
    ),
    # ── the mailbox is full, or the message is too large ──
    Rule(
        Scope.RECIPIENT,
        "RFC 5321 §4.2.3 (552), Yahoo, GMX, IONOS, Orange, Yandex: mailbox full",
        text=patterns.MAILBOX_FULL,
        phases=FROM_RCPT,
        cause=Cause.MAILBOX,
    ),
    Rule(
        Scope.RECIPIENT,
        "Microsoft 365 NDR codes: too large for this mailbox",
        text=r"too (large|big) for (this|the) (recipient|mailbox)|recipsizelimit",
        phases=FROM_RCPT,
    ),
    Rule(Scope.MESSAGE, "RFC 1870 §6: larger than the relay accepts", "552", phases=BEFORE_RCPT),
    Rule(Scope.MESSAGE, "RFC 3463 §3.4: larger than the relay accepts", enhanced=r"3\.4"),
    Rule(
        Scope.MESSAGE,
        "Postfix, Exim, Exchange, Mimecast: larger than the relay accepts",
        text=patterns.MESSAGE_TOO_LARGE,
    ),
    # ── the sender ──
    Rule(Scope.SENDER, "RFC 3463 §3.2: the sender's mailbox or system address is bad", enhanced=r"1\.[78]"),
    Rule(
        Scope.SENDER,
        "Microsoft 365 NDR codes: may not relay or send as this, tenant blocked",
        _PERMANENT,
        enhanced=r"7\.(54|57|60|64|7[0-4]\d|750)|2\.252",
    ),
    # By default Postfix replies with 454 here. Every send would use up its tries if this were about the recipient.
    Rule(
        Scope.SENDER,
        "Postfix reject_unauth_destination, Exim, sendmail, qmail, Haraka, Stalwart, Exchange: we may not relay",
        text=patterns.MAY_NOT_RELAY,
    ),
    Rule(
        Scope.SENDER,
        "Postfix smtpd_sender_restrictions (at RCPT because of smtpd_delay_reject); Exim, sendmail, qmail, Haraka",
        text=patterns.SENDER_REFUSED,
    ),
    Rule(
        Scope.SENDER,
        "Amazon SES, SendGrid, Mailgun, Stalwart, Exchange, Symantec: identity not verified, or sending not allowed",
        text=patterns.IDENTITY_REFUSED,
    ),
    # ── this recipient ──
    Rule(
        Scope.RECIPIENT,
        "RFC 6531 §4.2: the address needs SMTPUTF8, or the system believes so",
        text=r"smtputf8",
        phases=FROM_RCPT,
    ),
    Rule(Scope.RECIPIENT, "RFC 6531 §3.6: a non-ASCII address is not accepted", enhanced=r"6\.7", phases=FROM_RCPT),
    Rule(
        Scope.RECIPIENT,
        "Postgrey, Stalwart, Mimecast, Barracuda: greylisting",
        _TRANSIENT,
        text=r"gr[ae]y.?list|internal resources? (is |are )?temporarily unavailable",
        phases=FROM_RCPT,
        cause=Cause.POLICY,
    ),
    Rule(
        Scope.RECIPIENT,
        "Microsoft 365: directory-based edge blocking, no such recipient",
        enhanced=r"4\.1",
        text=r"recipient address rejected",
        phases=FROM_RCPT,
        cause=Cause.ADDRESS,
    ),
    Rule(
        Scope.RECIPIENT,
        "Barracuda passes on the reply of Microsoft 365",
        text=r"5\.4\.1 .{0,80}recipient address rejected",
        phases=FROM_RCPT,
        cause=Cause.ADDRESS,
    ),
    Rule(
        Scope.RECIPIENT,
        "Postfix address verification and access tables: the address, by code and words",
        enhanced=r"1\.([1-36]|10)",
        text=r"recipient address rejected",
        phases=FROM_RCPT,
        cause=Cause.ADDRESS,
    ),
    Rule(
        Scope.RECIPIENT,
        "Exim, Yahoo, Proofpoint, Trend Micro, Yandex and others: no such address, whatever the code",
        text=patterns.NO_SUCH_ADDRESS,
        phases=FROM_RCPT,
        cause=Cause.ADDRESS,
    ),
    # These texts about a domain occur mostly in reports, because the relay looks it up later (null MX: RFC 7505 §4).
    Rule(
        Scope.RECIPIENT,
        "RFC 3463 §3.5 (unable to route), Postfix, Microsoft 365 NDR codes: no such domain, or it accepts no mail",
        _PERMANENT,
        enhanced=r"4\.(4|6|310)",
        text=patterns.MAIL_TO_DOMAIN_IMPOSSIBLE,
        phases=FROM_RCPT,
        cause=Cause.ADDRESS,
    ),
    # GMX and IONOS also say "mailbox unavailable" here, so the words about policy come first.
    Rule(
        Scope.RECIPIENT,
        "Mimecast, GMX, IONOS, Orange, Barracuda, Proofpoint, Symantec: unwanted message, network or set-up",
        _PERMANENT,
        text=patterns.UNWANTED,
        phases=FROM_RCPT,
        cause=Cause.POLICY,
    ),
    Rule(
        Scope.RECIPIENT,
        "Barracuda and others: policy of one receiving system, to be tried again",
        _TRANSIENT,
        text=r"polic(y|ies)|\bspam\b|block|black ?list|banned|denied",
        phases=FROM_RCPT,
        cause=Cause.POLICY,
    ),
    Rule(
        Scope.RECIPIENT,
        "Barracuda: a refusal of the recipient's rules",
        _PERMANENT,
        text=r"permanent failure for one or more recipients",
        phases=FROM_RCPT,
        cause=Cause.POLICY,
    ),
    Rule(Scope.RECIPIENT, "RFC 3463 §3.8: security, policy", enhanced=r"7\.\d+", phases=FROM_RCPT, cause=Cause.POLICY),
    Rule(
        Scope.RECIPIENT,
        "RFC 3463 §3.3: mailbox full; X.2.0 gives no cause, and X.2.3 is about the size of the message",
        enhanced=r"2\.[24]",
        phases=FROM_RCPT,
        cause=Cause.MAILBOX,
    ),
    Rule(
        Scope.RECIPIENT,
        "RFC 3463 §3.2, §3.3: bad address (X.1.0, X.1.5 and X.1.9 do not say so), disabled mailbox",
        enhanced=r"1\.([1-46]|10)|2\.1",
        phases=FROM_RCPT,
        cause=Cause.ADDRESS,
    ),
    Rule(
        Scope.RECIPIENT,
        "RFC 5321 §4.2.3: mailbox unavailable, mailbox name not allowed",
        text=r"mailbox (is )?(temporarily )?(unavailable|not available)|mailbox not found",
        phases=FROM_RCPT,
        cause=Cause.ADDRESS,
    ),
    Rule(
        Scope.RECIPIENT,
        "RFC 3463 §3.2, §3.3: the address or the mailbox, without a cause",
        enhanced=r"[12]\.\d+",
        phases=FROM_RCPT,
    ),
    Rule(
        Scope.DOMAIN,
        "RFC 3463 §3.4, §3.5: the receiving system or the network to it has a problem",
        _TRANSIENT,
        enhanced=r"[34]\.\d+",
        phases=FROM_RCPT,
    ),
    Rule(
        Scope.DOMAIN,
        "RFC 5321 §4.2.3 (451), Exim, Barracuda, Mimecast: a temporary problem that is not one mailbox's",
        _TRANSIENT,
        text=patterns.TEMPORARY,
        phases=FROM_RCPT,
    ),
    Rule(
        Scope.RECIPIENT,
        "RFC 3463 §3.4 to §3.7: system, routing, protocol or content; the text does not name the mailbox",
        _PERMANENT,
        enhanced=r"[3-6]\.\d+",
        phases=FROM_RCPT,
    ),
    Rule(Scope.RECIPIENT, "RFC 5321 §4.2.2: syntax or sequence of commands", "50[0-4]|555", phases=FROM_RCPT),
    # ── before the recipient is named, the reply can only be about the relay or about us ──
    Rule(Scope.SENDER, "RFC 4954 §4: AUTH is refused", _PERMANENT, phases=(Phase.AUTH,), is_login=True),
    Rule(
        Scope.RELAY,
        "RFC 3463 §3: a temporary refusal before the recipient is named",
        _TRANSIENT,
        enhanced=r"[1-7]\.\d+",
        phases=BEFORE_RCPT,
    ),
    Rule(
        Scope.RELAY,
        "RFC 5321 §4.2.3 (451, 452), IONOS, Mimecast: a temporary problem of the relay",
        _TRANSIENT,
        text=r"try (again )?later|temporar|busy|unavailable|local (problem|error)|deferred|unable to process|"
        + patterns.UNWANTED,
        phases=BEFORE_RCPT,
    ),
    Rule(
        Scope.SENDER,
        "RFC 3463 §3: a permanent refusal before the recipient is named",
        _PERMANENT,
        enhanced=r"[1-7]\.\d+",
        phases=BEFORE_RCPT,
    ),
    Rule(
        Scope.SENDER,
        "GMX, IONOS, sendmail, Haraka: our network or our set-up is refused",
        _PERMANENT,
        text=patterns.UNWANTED,
        phases=BEFORE_RCPT,
    ),
    # ── unknown replies: only the digits and the phase count ──
    Rule(Scope.RELAY, "RFC 5321 §4.2.1: negative completion", _TRANSIENT, phases=BEFORE_RCPT, is_known=False),
    Rule(Scope.SENDER, "RFC 5321 §4.2.1: negative completion", _PERMANENT, phases=BEFORE_RCPT, is_known=False),
    Rule(Scope.RECIPIENT, "RFC 5321 §4.2.1: negative completion", phases=FROM_RCPT, is_known=False),
    Rule(Scope.RECIPIENT, "RFC 5321 §4.2.1: a reply that does not fit the command says nothing", "...", is_known=False),
)
"""In order: the first rule that matches decides."""


def classify(reply: Reply, phase: Phase) -> Classification:
    """What the reply means for the send that received it in this phase."""
    classification = matching_rule(reply, phase).classification(reply, phase)
    if classification.counts_against_address and is_about_us(words_of(reply.text)):
        return replace(classification, cause=Cause.POLICY)
    return classification


def matching_rule(reply: Reply, phase: Phase) -> Rule:
    """The rule that decides about the reply."""
    words = words_of(reply.text)
    # The pattern of the last rule needs three digits; a code outside of 100 to 999 cannot come from a relay.
    return next((rule for rule in RULES if rule.matches(reply, words, phase)), RULES[-1])


def closes_connection(reply: Reply) -> bool:
    """Whether the relay closes the connection after this reply (RFC 5321 §3.8)."""
    return reply.code == CLOSING
