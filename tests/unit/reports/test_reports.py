"""Reports as many mail systems send them (written for these tests in the form of real ones), and what each reports."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest

from marketing_service.reports import Kind, Report, read_report
from marketing_service.tokens import BounceAddresses, Purpose, TokenKeyring

MESSAGES = Path(__file__).parent / "messages"
NAMES = sorted(path.stem for path in MESSAGES.glob("*.eml"))
KEYRING = TokenKeyring([b"o" * 32])
ADDRESSES = BounceAddresses(KEYRING, "bounce.acme.example")
SEND = UUID("0190f1f2-7c1d-7b3a-9a55-0123456789ab")

Said = tuple[Kind, str | None, int | None, str | None]


def hard(code: int | None, enhanced: str | None) -> Said:
    """The address accepts no mail."""
    return Kind.FAILED, "hard", code, enhanced


def soft(code: int | None, enhanced: str | None) -> Said:
    """The address accepts no mail at the moment."""
    return Kind.FAILED, "soft", code, enhanced


def policy(code: int | None, enhanced: str | None) -> Said:
    """The failure is not about the address."""
    return Kind.FAILED, "policy", code, enhanced


def no_failure(kind: Kind) -> Said:
    return kind, None, None, None


DELAYED, DELIVERED, COMPLAINT, OTHER = (
    no_failure(kind) for kind in (Kind.DELAYED, Kind.DELIVERED, Kind.COMPLAINT, Kind.OTHER)
)

EXPECTED: dict[str, Said] = {
    "a-persons-reply": OTHER,
    "alias-of-two-one-got-it": DELIVERED,
    "alias-of-two-one-is-full": soft(552, "5.2.2"),
    "amazon-ses-content-refused": policy(554, "5.6.1"),
    "amazon-ses-mailbox-full": soft(552, "5.2.2"),
    "amazon-ses-unknown-user": hard(550, "5.1.1"),
    "auto-reply-gmail": OTHER,
    "auto-reply-left-the-company": OTHER,
    "auto-reply-outlook": OTHER,
    "barracuda-blocked": policy(554, "5.7.1"),
    "challenge-response": OTHER,
    "complaint-comcast": COMPLAINT,
    "complaint-encoded-original": COMPLAINT,
    "complaint-fastmail-header-alone": COMPLAINT,
    "complaint-fraud": COMPLAINT,
    "complaint-microsoft": COMPLAINT,
    "complaint-microsoft-older": COMPLAINT,
    "complaint-opt-out": COMPLAINT,
    "complaint-without-list-unsubscribe": COMPLAINT,
    "complaint-yahoo": COMPLAINT,
    "courier-unknown-user": hard(550, "5.0.0"),
    "diagnostic-of-success": policy(None, "5.1.1"),
    "domino-error-transferring": hard(550, "5.1.1"),
    "domino-no-such-user": hard(None, "5.1.1"),
    "empty-status-reason-without-reply": policy(None, None),
    "empty-status-reply-beside-address": hard(550, "5.1.1"),
    "exchange-5-without-machine-part": hard(None, None),
    "exchange-recipient-not-found": hard(550, "5.1.1"),
    "exchange-supplementary-info-blocked": policy(554, "5.7.1"),
    "exchange-supplementary-info-full-reply": hard(550, "5.1.1"),
    "exchange-supplementary-info-status-alone": policy(None, "5.0.0"),
    "exchange-supplementary-info-unknown-user": hard(550, "5.0.0"),
    "exim-4-quota-without-machine-part": soft(None, None),
    "exim-4-without-machine-part": hard(550, None),
    "exim-mailbox-full-in-text-alone": soft(None, "5.0.0"),
    "exim-relay-not-permitted-in-text-alone": policy(None, "5.0.0"),
    "exim-retry-timeout": policy(451, "4.3.2"),
    "exim-unknown-user": hard(550, "5.1.1"),
    "exim-unknown-user-in-text-alone": hard(None, "5.0.0"),
    "exim-unrouteable-address": hard(None, "5.0.0"),
    "exim-warning": DELAYED,
    "feedback-authentication-failure": OTHER,
    "feedback-not-spam": OTHER,
    "gmail-delayed": DELAYED,
    "gmail-disabled": hard(550, "5.2.1"),
    "gmail-no-such-user": hard(550, "5.1.1"),
    "gmail-over-quota": soft(552, "5.2.2"),
    "gmail-send-as-account-misconfigured": policy(None, None),
    "gmail-send-as-account-unknown": policy(550, "5.1.1"),
    "gmail-send-as-relaying-denied": policy(550, "5.1.1"),
    "gmail-unauthenticated": policy(550, "5.7.26"),
    "gmx-unknown-user": hard(550, "5.1.1"),
    "groupwise-no-such-user": hard(550, "5.1.1"),
    "host-network-not-allowed": policy(554, "5.0.0"),
    "icloud-over-quota": soft(552, "5.2.2"),
    "imail-unknown-user": hard(None, None),
    "mailru-spam": policy(550, "5.0.0"),
    "mailru-unknown-user": hard(550, "5.1.1"),
    "microsoft365-banned-sender": policy(550, "5.7.606"),
    "microsoft365-domain-does-not-exist": hard(550, "5.4.310"),
    "microsoft365-edge-block": hard(550, "5.4.1"),
    "microsoft365-expired": policy(550, "5.4.300"),
    "microsoft365-german-base64": hard(550, "5.1.10"),
    "microsoft365-german-full-mailbox": soft(554, "5.2.2"),
    "microsoft365-mailbox-full": soft(554, "5.2.2"),
    "microsoft365-recipient-not-found": hard(550, "5.1.10"),
    "microsoft365-rule": policy(550, "5.7.1"),
    "mimecast-invalid-recipient": hard(550, "5.0.0"),
    "mimecast-refused": policy(550, "5.7.1"),
    "opensmtpd-mailbox-full": soft(550, "5.2.2"),
    "postfix-connection-timed-out": policy(None, "4.4.1"),
    "postfix-delayed": DELAYED,
    "postfix-delivered": DELIVERED,
    "postfix-domain-does-not-exist": hard(None, "5.4.4"),
    "postfix-greylisted-until-expired": policy(450, "4.7.1"),
    "postfix-local-user-unknown": hard(None, "5.1.1"),
    "postfix-mailbox-full": soft(552, "5.2.2"),
    "postfix-mailbox-full-until-expired": soft(452, "4.2.2"),
    "postfix-refused-message": policy(554, "5.7.1"),
    "postfix-sender-refused-by-a-recipients-server": policy(554, "5.7.1"),
    "postfix-smtputf8-required": policy(None, "5.6.7"),
    "postfix-unknown-user": hard(550, "5.1.1"),
    "postfix-user-unknown-without-codes": hard(550, "5.0.0"),
    "powermta-no-such-domain": hard(None, "5.1.2"),
    "proofpoint-reputation": policy(554, "5.0.0"),
    "proofpoint-unknown-user": hard(550, "5.1.1"),
    "qmail-no-mailbox": hard(None, "5.1.1"),
    "qmail-over-quota": soft(None, "5.2.2"),
    "qmail-refused-message": policy(554, "5.7.1"),
    "qmail-remote-said": hard(550, "5.1.1"),
    "read-receipt": OTHER,
    "report-of-international-address": hard(550, "5.1.1"),
    "report-with-encoded-fields": hard(550, "5.1.1"),
    "sendmail-expired": policy(None, "4.4.7"),
    "sendmail-local-user-unknown": hard(None, "5.1.1"),
    "sendmail-unknown-user": hard(550, "5.1.1"),
    "sendmail-warning": DELAYED,
    "status-unknown-user-text-about-us": policy(None, "5.1.1"),
    "supplementary-error-text": hard(None, "5.0.0"),
    "supplementary-field-of-a-filter": policy(None, "5.0.0"),
    "supplementary-notes": hard(None, "5.0.0"),
    "tonline-unknown-user": hard(550, "5.1.1"),
    "two-diagnostics-one-empty": hard(None, "5.0.0"),
    "two-diagnostics-that-contradict": policy(554, "5.7.1"),
    "webde-mailbox-full": soft(552, "5.2.2"),
    "yahoo-deferred-until-expired": policy(421, "4.7.0"),
    "yahoo-no-account": hard(554, "5.0.0"),
    "yahoo-without-machine-part": hard(None, None),
    "yandex-policy": policy(554, "5.7.1"),
}


def message(name: str) -> bytes:
    return (MESSAGES / f"{name}.eml").read_bytes()


def said(report: Report) -> Said:
    failure = report.failure
    if failure is None:
        return no_failure(report.kind)
    blamed = "hard" if failure.is_hard else "soft" if failure.is_about_address else "policy"
    return report.kind, blamed, failure.smtp_code, failure.enhanced_code


def test_every_message_has_an_expected_result() -> None:
    assert sorted(EXPECTED) == NAMES
    assert len(NAMES) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_a_message_reports_this(name: str) -> None:
    raw = message(name)
    report = read_report(raw)
    assert said(report) == EXPECTED[name]
    assert read_report(raw.replace(b"\n", b"\r\n")) == report


@pytest.mark.parametrize("name", [name for name in NAMES if EXPECTED[name][0] is Kind.FAILED])
def test_a_failure_has_one_line_of_text_out_of_the_report(name: str) -> None:
    failure = read_report(message(name)).failure
    assert failure is not None
    assert 0 < len(failure.text) <= 500
    assert failure.text.isprintable()
    assert "How are things" not in failure.text


@pytest.mark.parametrize("name", [name for name in NAMES if EXPECTED[name] == COMPLAINT])
def test_a_complaint_identifies_the_send(name: str) -> None:
    """By the unsubscribe token or the return path in the original message."""
    about = read_report(message(name)).original_header
    links = [KEYRING.read(Purpose.UNSUBSCRIBE, token) for token in re.findall(r"/unsubscribe/([\w-]{43})", about)]
    bounced = ADDRESSES.find(about)
    assert SEND in links or (bounced is not None and bounced.send_id == SEND)


def test_the_original_message_is_not_evaluated() -> None:
    """Here the original message mentions an unknown user, and the report does not."""
    text = message("qmail-over-quota").decode()
    assert "550 5.1.1" in text
    assert said(read_report(text.encode())) == soft(None, "5.2.2")


GROUP = "Final-Recipient: rfc822; ann@example.net\n{}\n"
REPORT = """From: MAILER-DAEMON@example.net
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; example.net

{}
--b--
"""


def of_group(fields: str) -> Said:
    return said(read_report(REPORT.format(GROUP.format(fields)).encode()))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Action: failed\nStatus: 5.1.1 (bad destination mailbox address)", hard(None, "5.1.1")),
        ("Action: FAILED (for good)\nStatus: 5.1.1", hard(None, "5.1.1")),
        ("Status: 5.1.1", hard(None, "5.1.1")),
        ("Status: 4.2.2", DELAYED),
        ("Status: 2.1.5", DELIVERED),
        ("Action: expanded\nStatus: 2.1.5", DELIVERED),
        ("Action: relayed\nStatus: 2.1.9", DELIVERED),
        ("Action: delayed\nStatus: 5.1.1", DELAYED),
        # An empty or meaningless statement does not count against the address.
        ("Action: failed", policy(None, None)),
        ("Action: failed\nStatus: rubbish\nDiagnostic-Code: rubbish", policy(None, None)),
        ("Action: failed\nStatus: 2.0.0", policy(None, None)),
        # The enhanced code in the diagnostic has priority over the status, unless it gives only the class.
        ("Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.7.1 blocked", policy(550, "5.7.1")),
        ("Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.0.0 no", hard(550, "5.1.1")),
        # A temporary refusal that was repeated until the end does not tell whether the address exists.
        ("Action: failed\nStatus: 4.1.1\nDiagnostic-Code: smtp; 450 4.1.1 unknown mailbox", soft(450, "4.1.1")),
        ("Action: failed\nStatus: 4.1.1\nDiagnostic-Code: smtp; 450 4.1.1 unverified address", policy(450, "4.1.1")),
        ("Action: failed\nStatus: 4.4.7\nDiagnostic-Code: smtp; 550 4.4.7 QUEUE.Expired", policy(550, "4.4.7")),
        ("Action: failed\nStatus: 4.1.2", soft(None, "4.1.2")),
        # The sender is refused.
        ("Action: failed\nStatus: 5.1.8\nDiagnostic-Code: smtp; 550 5.1.8 bad sender", policy(550, "5.1.8")),
        ("Action: failed\nStatus: 5.4.6\nDiagnostic-Code: dns; takes no mail (nullMX)", hard(None, "5.4.6")),
        # Every Diagnostic-Code and every supplementary field is a statement.
        ("Action: failed\nStatus: 5.0.0\nX-Supplementary-Info: <mx #5.0.0 smtp; 550 no such user>", hard(550, "5.0.0")),
        ("Action: failed\nStatus: 5.0.0\nX-Supplementary-Info: <mx #5.1.1>", hard(None, "5.1.1")),
        ("Action: failed\nStatus: 5.0.0\nX-Remote-Answer: smtp; 550 no such user", hard(550, "5.0.0")),
        ("Action: failed\nStatus: 5.0.0\nX-Failure-Reason: Mailbox full", soft(None, "5.0.0")),
        ("Action: failed\nStatus: 5.0.0\nX-Display-Name: Unknown user", policy(None, "5.0.0")),
        ("Action: error\nStatus: 5.0.0\nDiagnostic-Code: 550 no such user", hard(550, "5.0.0")),
        # Of two that count, the milder one is used. A contradiction does not count.
        (
            "Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 unknown user\nX-Reason: mailbox full",
            soft(None, "5.0.0"),
        ),
        (
            "Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 rejected by DKIM\nX-Reason: unknown user",
            policy(550, "5.0.0"),
        ),
        (
            "Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 5.7.1 refused\nX-Reason: unknown user",
            policy(550, "5.7.1"),
        ),
        ("Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 250 2.1.5 Ok", policy(None, "5.1.1")),
        ("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 [203.0.113.2] 5.1.1 no", hard(550, "5.1.1")),
    ],
)  # fmt: skip
def test_a_group_of_fields_reports_this(fields: str, expected: Said) -> None:
    assert of_group(fields) == expected


def test_every_machine_readable_part_is_read() -> None:
    one = "--b\nContent-Type: message/delivery-status\n\n" + GROUP.format("Action: failed\nStatus: 5.1.1")
    other = one.replace("failed", "delivered").replace("5.1.1", "2.1.5")
    for parts in (one + "\n" + other, other + "\n" + one):
        raw = f"From: MAILER-DAEMON@example.net\nContent-Type: multipart/report; boundary=b\n\n{parts}\n--b--\n"
        assert said(read_report(raw.encode())) == DELIVERED


def test_the_mildest_result_of_an_alias_is_used() -> None:
    groups = "\n".join(GROUP.format(f"Action: failed\nStatus: {status}") for status in ("5.1.1", "5.7.1", "5.2.2"))
    assert said(read_report(REPORT.format(groups).encode())) == policy(None, "5.7.1")
    delayed = groups + "\n" + GROUP.format("Action: delayed\nStatus: 4.2.2")
    assert said(read_report(REPORT.format(delayed).encode())) == DELAYED
