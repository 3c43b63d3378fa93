"""What a report states about the cause of a failure, in one field or in several, and what follows from all of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from marketing_service.replies import Phase, Reply, classify
from marketing_service.reports.quoted_reply import quoted_reply
from marketing_service.reports.report import Failure, failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUCCESS = re.compile(r"(?:2\d\d[ -]|2\.\d{1,3}\.\d{1,3}\b)")
_TRANSIENT, _PERMANENT = 450, 550


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, and the failure that it describes on its own."""

    failure: Failure
    has_known_words: bool
    """Whether its words alone have a meaning. If not, only its codes or the report's status give the failure."""
    clears_address: bool
    """Whether it says that something else than the mailbox is the problem. An empty statement says nothing."""


def statement_of(text: str, status: str | None) -> Statement:
    """The statement in a text such as `550 5.1.1 User unknown`. `status` is the report's enhanced code, if any."""
    reply, code_is_assumed = quoted_reply(text, status)
    failure = failure_of(reply, code_is_assumed=code_is_assumed)
    code = _TRANSIENT if reply.code < _PERMANENT - 50 else _PERMANENT
    by_words = classify(Reply(code, None, reply.text), Phase.RCPT)
    own_code = quoted_reply(text)[0].enhanced_code
    has_own_cause = own_code is not None and not own_code.endswith(".0")
    succeeded = _SUCCESS.match(text) is not None
    return Statement(
        failure,
        has_known_words=by_words.is_known,
        clears_address=succeeded or (not failure.is_about_address and (by_words.is_known or has_own_cause)),
    )


def failure_of_all(statements: Sequence[Statement]) -> Failure:
    """The failure that one or more statements about one recipient describe together.

    Statements that contradict each other do not count against the address. If one says that the address does not exist
    and another that the mailbox is full, the milder one is used.
    """
    clearing = next((one.failure for one in statements if one.clears_address), None)
    if clearing is not None:
        code = clearing.enhanced_code or statements[0].failure.enhanced_code
        return replace(clearing, is_hard=False, is_about_address=False, enhanced_code=code)
    counting = [one.failure for one in statements if one.failure.is_about_address]
    return min(counting, key=lambda failure: failure.severity) if counting else statements[0].failure
