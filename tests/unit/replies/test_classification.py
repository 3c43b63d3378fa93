"""The reply table, compared with replies of real systems and with variants of them."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.replies import (
    Cause,
    Classification,
    Phase,
    Reply,
    ReplyClass,
    Scope,
    classify,
    closes_connection,
    patterns,
    rules,
)
from marketing_service.replies.rule import BEFORE_RCPT, FROM_RCPT, Rule
from tests.unit.replies.real_replies import RealReply, real_replies

REAL = real_replies()
NEGATIVE = [real for real in REAL if real.code // 100 in {4, 5}]
IN_TRANSACTION = (Phase.MAIL, *FROM_RCPT)
ABOUT_US = frozenset({Scope.RELAY, Scope.ACCOUNT, Scope.MESSAGE, Scope.SENDER, Scope.CONNECTION})


def rule_for(real: RealReply) -> Rule:
    return rules.matching_rule(real.reply, real.phase)


BY_TEXT = [real for real in NEGATIVE if rule_for(real).text is not None and rule_for(real).enhanced is None]
ABOUT_US_BY_TEXT = [real for real in BY_TEXT if real.scope in ABOUT_US]


def each(replies: list[RealReply]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("real", replies, ids=lambda real: real.id)


# ── real replies ──


@each(REAL)
def test_a_real_reply_has_its_meaning(real: RealReply) -> None:
    classification = classify(real.reply, real.phase)
    assert classification.reply_class == real.reply_class
    assert classification.scope == real.scope
    assert classification.cause in real.causes
    assert classification.counts_against_address == real.counts_against_address
    assert classification.is_login == real.is_login
    assert classification.is_known == real.is_known


def test_there_are_enough_real_replies() -> None:
    systems = Counter(real.system for real in REAL)
    assert len(REAL) >= 300
    assert sum(count >= 8 for count in systems.values()) >= 18
    assert all(real.source for real in REAL)
    assert len({(real.system, real.phase, real.code, real.text) for real in REAL}) == len(REAL)


def test_every_text_says_whether_it_counts_against_the_address() -> None:
    content = tomllib.loads((Path(__file__).parent / "replies.toml").read_text(encoding="utf-8"))
    texts = [entry for entries in content["systems"].values() for entry in entries]
    assert [entry for entry in texts if entry.get("blames") not in {"hard", "soft", "no"}] == []
    assert {entry["blames"] for entry in texts if entry["about"] != "RECIPIENT"} == {"no"}


def test_every_rule_has_a_source_and_a_real_reply() -> None:
    used = {id(rule_for(real)) for real in REAL}
    assert [rule.source for rule in rules.RULES if id(rule) not in used] == []
    assert all(rule.source for rule in rules.RULES)


def test_a_rule_about_a_recipient_needs_a_phase_in_which_the_recipient_is_named() -> None:
    for rule in rules.RULES:
        if rule.scope in {Scope.RECIPIENT, Scope.DOMAIN} and rule.code not in {"2..", "..."}:
            assert set(rule.phases) <= set(FROM_RCPT), rule.source
            assert rule.phases, rule.source


# ── variants of real replies ──


def each_system(replies: list[RealReply]) -> pytest.MarkDecorator:
    """One test for each system, with its replies: a test for each reply would cost more than what it tests."""
    systems: dict[str, list[RealReply]] = {}
    for real in replies:
        systems.setdefault(real.system, []).append(real)
    return pytest.mark.parametrize("replies", systems.values(), ids=systems)


@each_system(NEGATIVE)
def test_letters_and_line_breaks_do_not_matter(replies: list[RealReply]) -> None:
    for real in replies:
        expected = classify(real.reply, real.phase)
        for text in (real.text.upper(), real.text.lower(), real.text.title(), real.text.replace(" ", "\n  ")):
            assert classify(Reply.of(real.code, text), real.phase) == expected, real


@each_system(NEGATIVE)
def test_a_word_in_a_mail_address_or_url_does_not_matter(replies: list[RealReply]) -> None:
    for real in replies:
        text = real.text.replace("ann@example.net", "spam.quota.throttle@policy.example").replace(
            "https://", "https://spam-"
        )
        assert classify(Reply.of(real.code, text), real.phase) == classify(real.reply, real.phase), real


@each_system(BY_TEXT)
def test_a_greeting_before_the_text_does_not_matter(replies: list[RealReply]) -> None:
    """The enhanced code then is not at the start, so only replies that their text decides are compared."""
    for real in replies:
        greeted = Reply.of(real.code, f"mx.example.com ESMTP\n{real.text}")
        assert classify(greeted, real.phase) == classify(real.reply, real.phase), real


@each_system(BY_TEXT)
def test_without_its_enhanced_code_the_text_decides_in_the_same_way(replies: list[RealReply]) -> None:
    for real in replies:
        without = Reply.of(real.code, real.text.replace(real.reply.enhanced_code or "-", ""))
        assert without.enhanced_code is None, real
        assert classify(without, real.phase).scope == real.scope, real


@each_system([real for real in ABOUT_US_BY_TEXT if real.reply.enhanced_code is None])
def test_an_enhanced_code_that_says_too_little_does_not_hide_what_concerns_us(replies: list[RealReply]) -> None:
    for real in replies:
        for detail in ("0.0", "3.0", "7.0", "7.1"):
            with_code = Reply.of(real.code, f"{real.code // 100}.{detail} {real.text}")
            assert classify(with_code, real.phase).scope == real.scope, real


@each_system([real for real in ABOUT_US_BY_TEXT if real.phase in IN_TRANSACTION and not rule_for(real).phases])
def test_what_concerns_us_is_found_in_every_phase(replies: list[RealReply]) -> None:
    """Systems check the same limit at MAIL, at RCPT or after the message, depending on their configuration.

    The exception: after the recipient is named, a limit for the relay's address is that of a receiving system.
    """
    for real in replies:
        if re.search(patterns.RECEIVERS_LIMIT, real.text.lower()) is None:
            for phase in IN_TRANSACTION:
                assert classify(real.reply, phase).scope == real.scope, real


@each_system(
    [real for real in ABOUT_US_BY_TEXT if rule_for(real).code == "[45].." and real.reply.enhanced_code is None]
)
def test_what_concerns_us_is_found_whatever_the_code(replies: list[RealReply]) -> None:
    for real in replies:
        for code in (450, 451, 452, 454, 550, 554):
            assert classify(Reply.of(code, real.text), real.phase).scope == real.scope, real


# ── single decisions ──


@pytest.mark.parametrize(
    "text",
    [
        "554 Host network not allowed",
        "550 Access denied",
        "550 Your IP is not allowed",
        "554 no reverse DNS for your address",
        "550 SPF check failed",
        "550 DMARC failure",
        "550 rejected due to DKIM",
        "550 198.51.100.3 is in a black list",
        "554 message looks like junk",
        "550 Message content rejected",
        "550 5.7.1 Message rejected: poor sender reputation",
        "554 5.1.1 listed in a blocklist",
        "554 IP address not found in DNS",
    ],
)
def test_our_network_set_up_or_message_is_not_the_fault_of_the_address(text: str) -> None:
    reply = Reply.of(int(text[:3]), text[4:])
    for phase in FROM_RCPT:
        assert classify(reply, phase) == Classification(ReplyClass.PERMANENT, Scope.RECIPIENT, Cause.POLICY)
    assert classify(reply, Phase.MAIL).scope is Scope.SENDER


@pytest.mark.parametrize("phase", list(FROM_RCPT))
@pytest.mark.parametrize("word", ["invalid", "unknown", "bad", "nonexistent"])
def test_too_many_invalid_recipients_are_the_senders(phase: Phase, word: str) -> None:
    assert classify(Reply.of(550, f"too many {word} recipients"), phase).scope is Scope.SENDER


@pytest.mark.parametrize("text", ["5.6.7 Address needs SMTPUTF8", "SMTPUTF8 is required, but was not offered by host"])
@pytest.mark.parametrize("code", [450, 550, 553])
def test_a_demand_for_smtputf8_does_not_count_against_the_address(code: int, text: str) -> None:
    assert not classify(Reply.of(code, text), Phase.RCPT).counts_against_address


@pytest.mark.parametrize("phase", IN_TRANSACTION)
@pytest.mark.parametrize("code", [451, 452])
def test_a_limit_per_session_is_about_the_connection(phase: Phase, code: int) -> None:
    reply = Reply.of(code, "4.4.5 Maximum number of messages per session exceeded.")
    assert classify(reply, phase) == Classification(ReplyClass.TRANSIENT, Scope.CONNECTION)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_closing_reply_closes_the_connection_and_after_the_recipient_concerns_the_domain(phase: Phase) -> None:
    classification = classify(Reply.of(421, "4.3.0 Closing"), phase)
    assert classification.reply_class is ReplyClass.TRANSIENT
    assert classification.closes_connection
    assert classification.backs_off_domain == (phase in FROM_RCPT)
    opening = phase in BEFORE_RCPT and phase is not Phase.MAIL
    assert classification.scope is (Scope.RELAY if opening else Scope.CONNECTION)


def test_421_alone_closes() -> None:
    assert closes_connection(Reply.of(421, "4.4.2 Bye"))
    assert not closes_connection(Reply.of(451, "4.3.0 Later"))


def test_a_closing_reply_does_not_refuse_the_sender() -> None:
    """Even if its text reads like a reply that would."""
    assert not classify(Reply.of(421, "4.7.1 Relay access denied"), Phase.MAIL).refuses_sender


def test_a_domain_reply_backs_off_the_domain() -> None:
    assert classify(Reply.of(451, "4.4.1 No answer from host"), Phase.RCPT).backs_off_domain
    assert not classify(Reply.of(450, "4.2.2 Mailbox full"), Phase.RCPT).backs_off_domain


@pytest.mark.parametrize("scope", list(Scope))
def test_no_send_fails_because_of_the_sender_or_a_quota(scope: Scope) -> None:
    refuses = Classification(ReplyClass.PERMANENT, scope).refuses_sender
    assert refuses == (scope in {Scope.SENDER, Scope.ACCOUNT})


# ── any reply ──


@pytest.mark.parametrize(
    ("code", "phase", "reply_class", "scope"),
    [
        (450, Phase.MAIL, ReplyClass.TRANSIENT, Scope.RELAY),
        (450, Phase.RCPT, ReplyClass.TRANSIENT, Scope.RECIPIENT),
        (450, Phase.DOT, ReplyClass.TRANSIENT, Scope.RECIPIENT),
        (550, Phase.MAIL, ReplyClass.PERMANENT, Scope.SENDER),
        (550, Phase.RCPT, ReplyClass.PERMANENT, Scope.RECIPIENT),
        (550, Phase.DATA, ReplyClass.PERMANENT, Scope.RECIPIENT),
        (553, Phase.RCPT, ReplyClass.PERMANENT, Scope.RECIPIENT),
        (554, Phase.DOT, ReplyClass.PERMANENT, Scope.RECIPIENT),
    ],
)
@pytest.mark.parametrize("text", ["", "Hmpf.", "error 17", "5.0.0"])
def test_an_unknown_reply_is_classed_by_its_digits_and_phase(
    code: int, phase: Phase, reply_class: ReplyClass, scope: Scope, text: str
) -> None:
    assert classify(Reply.of(code, text), phase) == Classification(reply_class, scope, is_known=False)


@given(
    code=st.integers(min_value=-1, max_value=1000),
    text=st.one_of(st.text(), st.lists(st.sampled_from(" ".join(real.text for real in REAL).split())).map(" ".join)),
    phase=st.sampled_from(Phase),
)
def test_any_reply_is_classed(code: int, text: str, phase: Phase) -> None:
    classification = classify(Reply.of(code, text), phase)
    first_digit = {2: ReplyClass.ACCEPTED, 5: ReplyClass.PERMANENT}
    assert classification.reply_class is first_digit.get(code // 100, ReplyClass.TRANSIENT)
    assert classification.is_known or not classification.counts_against_address
    if classification.scope is not Scope.RECIPIENT:
        assert classification.cause is Cause.OTHER
    if phase in BEFORE_RCPT and code // 100 in {4, 5}:
        assert classification.scope not in {Scope.RECIPIENT, Scope.DOMAIN}
    if classification.is_login:
        assert classification.scope is Scope.SENDER
