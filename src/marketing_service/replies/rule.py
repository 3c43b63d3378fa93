"""One rule of the reply table: the conditions on a reply, and what a reply that meets them means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.replies.classification import Cause, Classification, ReplyClass, Scope
from marketing_service.replies.reply import Phase

if TYPE_CHECKING:
    from marketing_service.replies.reply import Reply

BEFORE_RCPT = (Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.TLS, Phase.AUTH, Phase.MAIL)
"""The phases before a recipient is named. A reply in one of them cannot be about a recipient."""
FROM_RCPT = (Phase.RCPT, Phase.DATA, Phase.DOT)
"""The phases in which the recipient is known to the relay."""
CLOSING = 421
"""The reply code after which the relay closes the connection (RFC 5321 §3.8)."""

_CLASSES = {2: ReplyClass.ACCEPTED, 4: ReplyClass.TRANSIENT, 5: ReplyClass.PERMANENT}


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches a reply if all its conditions match.

    `code` must match the three digits, and `enhanced` the enhanced code without its class (`1.1` of `5.1.1`); both are
    regular expressions for the whole string. `text` is searched for in the words of the reply, in lower case. An empty
    `phases` means any phase.
    """

    scope: Scope
    source: str
    code: str = "[45].."
    enhanced: str | None = None
    text: str | None = None
    phases: tuple[Phase, ...] = ()
    cause: Cause = Cause.OTHER
    is_login: bool = False
    is_known: bool = True

    def matches(self, reply: Reply, words: str, phase: Phase) -> bool:
        return (
            (not self.phases or phase in self.phases)
            and re.fullmatch(self.code, str(reply.code)) is not None
            and (self.enhanced is None or re.fullmatch(self.enhanced, _detail(reply)) is not None)
            and (self.text is None or re.search(self.text, words) is not None)
        )

    def classification(self, reply: Reply, phase: Phase) -> Classification:
        """What the reply means. The class is always the one of the first digit."""
        closes = reply.code == CLOSING
        return Classification(
            _CLASSES.get(reply.code // 100, ReplyClass.TRANSIENT),
            self.scope,
            self.cause,
            is_known=self.is_known,
            is_login=self.is_login,
            closes_connection=closes,
            backs_off_domain=self.scope is Scope.DOMAIN
            or (closes and self.scope is Scope.CONNECTION and phase in FROM_RCPT),
        )


def words_of(text: str) -> str:
    """The text in lower case, without mail addresses and URLs: their words are not words of the relay."""
    return " ".join(word for word in text.lower().split() if "@" not in word and "://" not in word)


def _detail(reply: Reply) -> str:
    return reply.enhanced_code.partition(".")[2] if reply.enhanced_code else ""
