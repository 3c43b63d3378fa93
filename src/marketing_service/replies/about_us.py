"""Which texts speak of us, our network or our message, although their words or their code also fit a missing mailbox.

A reply counts against an address only if it positively says that the mailbox is the problem. A text that says this and
also speaks of a block list, our log-in or a broken connection contradicts itself. A text such as "your address does not
exist" is about an address of ours. Neither counts. The patterns are searched for in the words of a reply, in lower
case. Every repetition has an upper limit, so that a search takes linear time.
"""

from __future__ import annotations

import re

from marketing_service.replies import patterns


def _any_of(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


_OURS = (
    r"(your|my|the sender.?s?|sender.?s?|sending|submitting|originat(or|ing)|envelope|from|return|reply|client|ip|host"
    r"|login|smtp|relay)"
)
_BOX = r"(address|user( ?name| account)?|mail ?box|account|alias|domain|inbox)"
_OVER = r"( (too |completely )?full| over ?((its|the|disk) )?quota| exceeded .{0,20}quota)"
_FULL = rf"( (is|has|was))?( currently)?{_OVER}?"
_NAMES_US = _any_of(
    rf"\b{_OURS}( path)?:? ((e-?)?mail |own |user |ip )?{_BOX}\b{_FULL}",
    rf"\b{_BOX} (of|for) (the |your |this )?(sender|relay(ing)?|sending|submission|ip|host|client)\b{_FULL}",
    rf"\b{_BOX} (that )?(you|we) (authenticated|logged)\b",
    rf"\b{_BOX} (that )?(you|we) (are |were )?(send|sent|sending|use|used) (mail |it )?(as|from|to send)\b",
    rf"\b{_BOX} ((is|was) )?used (for|to) send(ing)?\b",
    rf"\b{_BOX} (syntax )?(is )?in (the |a )?(\w{{1,20}} )?(header|field)s?\b",
    rf"\b{_BOX} (is )?not (found|listed|known) (in|among) your\b",
    r"\b(client|helo|ehlo|user) name\b",
    r"\b(smtp|relay|login) (recipient|user)\b",
    r"\buser.?agent\b",
    r"\baddress (family|record)\b",
    rf"\bsender{_FULL}",
    r"\byou are not a (valid|known|local) \w{1,20}",
)
"""The words with which a reply names our account, our address or our host."""
_NOT_THE_MAILBOX = _any_of(
    # our log-in, our set-up, or a check of our address
    r"password|credential|\blog-?in\b|certificate|authentica|advertise auth",
    r"misconfigured|not set up (correctly|for)|outgoing|outbound|for sending|send(ing)? (mail )?as\b",
    r"call(out|back)\b|(not|unable to|failed to) verify (the |your )?(sender|address)|sender verif",
    # the network, or a look-up in the DNS
    r"(?<!retry )timed? ?out|connection (was |has been )?(refused|reset|closed|lost|dropped)",
    r"(lost|no|refused|could ?n.t|unable to) connect(ion)?\b|(host|network|server|destination) (is )?unreachable",
    r"no route to host|\b(ssl|tls)\b|handshake|loops? back",
    r"reverse dns|\bptr\b|\brdns\b|\bhelo\b|\bdkim\b|\bspf\b|\bdmarc\b",
    # Postfix could not ask the receiving system whether the address exists (its ADDRESS_VERIFICATION_README).
    r"unverified address|address verification (is )?(in progress|failed|problem)",
    # our message or its origin
    r"(black|block|deny) ?-?list|spamhaus|spamcop|\b(rbl|dnsbl|[sxpd]bl)s?\b|reputation|\bspam(mer|ming|my)?\b",
    r"virus|malware|phish|(message|mail|bad) content|content (is |was )?(rejected|blocked)|\bheaders?\b",
    r"blocked (by|using|for|due|because)|conversionfailed|gr[ae]y.?list",
    r"(client|host|ip|network|sender)\b.{0,40} (blocked|banned|not (allowed|permitted|authorized))",
    # a sender that this mailbox does not accept
    r"only (accepts?|receives?) |not a member|not in .{0,40}(allowed|accepted|permitted|safe).{0,10}senders?",
    # internationalised addresses (RFC 6531)
    r"smtputf8|utf-?8|non.?ascii|internationali[sz]ed|\beai\b",
)
_MAILBOX_FAULTS = tuple(
    re.compile(pattern)
    for pattern in (patterns.NO_SUCH_ADDRESS, patterns.MAILBOX_FULL, patterns.MAIL_TO_DOMAIN_IMPOSSIBLE)
)


def is_about_us(words: str) -> bool:
    """Whether the words of a reply, in lower case, are about us or contradict themselves."""
    if _NOT_THE_MAILBOX.search(words) is not None:
        return True
    without_us = _NAMES_US.sub("~", words)
    return any(fault.search(words) and not fault.search(without_us) for fault in _MAILBOX_FAULTS)
