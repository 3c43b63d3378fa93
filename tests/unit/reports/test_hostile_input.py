"""Input that is malformed or hostile: parsing it ends soon, raises no error, and finds no hard bounce."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marketing_service.reports import MAX_OCTETS_READ, Kind, Report, read_report

if TYPE_CHECKING:
    from types import FrameType


MESSAGES = [path.read_bytes() for path in sorted((Path(__file__).parent / "messages").glob("*.eml"))]
REPORT = b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
HOSTILE = {
    "nothing": b"",
    "zeros": b"\0" * 100_000,
    "one endless line": b"a" * 3_000_000,
    "one endless header": b"Subject: " + b"x\n " * 500_000,
    "headers and nothing else": b"a:b\n" * 500_000,
    "parameters without end": b"Content-Type: text/plain" + b";" * 3_000_000 + b"\n\n",
    "parameters on line after line": b"Content-Type: text/plain" + b";;;;\n " * 500_000 + b"\n\n",
    "parameters in quotes": b'Content-Type: text/plain; a="' + b'";"' * 500_000 + b"\n\n",
    "a multipart in a multipart in …": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(10_000)
    ),
    "a message in a message in …": b"Content-Type: message/rfc822\n\n" * 50_000,
    "twenty multiparts, and many lines": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(20)
    )
    + b"\n" * 100_000,
    "many boundaries": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 100_000,
    "many fields": REPORT + b"--b\nContent-Type: message/delivery-status\n\n" + b"Action: failed\n\n" * 200_000,
    "many supplementary fields": REPORT
    + b"--b\nContent-Type: message/delivery-status\n\nAction: failed\n"
    + b"X-Reason: <mx #5.0.0 smtp; 250 ok\n" * 7_000,
    "many groups with fields, and many lines": REPORT
    + b"--b\n\n" + b"a@b:\n" * 20_000
    + b"\n--b\nContent-Type: message/delivery-status\n\n"
    + b"Final-Recipient: rfc822; a@b\nAction: failed\nX-Reason: x\nX-Error: x\n\n" * 2_000,
    "a boundary of patterns": b'Content-Type: multipart/report; boundary="(a+)+$"\n\n--(a+)+$\n' + b"a" * 200_000,
    "an unknown charset": REPORT + b"--b\nContent-Type: text/plain; charset=x-none\n\n\xff\n--b--\n",
    "a charset with a zero": REPORT + b'--b\nContent-Type: text/plain; charset="a\0b"\n\n\xff\n--b--\n',
    "an encoding that is none": b"Content-Transfer-Encoding: uuencode\n\nbegin 644 a\n\xff\n",
    "base64 that is none": REPORT
    + b"--b\nContent-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n\xff=a=\n--b--\n",
    "tags without end": b"X-Failed-Recipients: a@b.example\nContent-Type: text/html\n\n" + b"<a " * 100_000,
    "addresses without end": b"From: mailer-daemon@a.example\n\n<" + b"a@" * 100_000,
    "a list of failures": b"From: MAILER-DAEMON@a.example\n\nHi. This is the qmail-send program\n\n" + b"<a@b>\n" * 999,
    "a failure and an endless line": b"From: MAILER-DAEMON@a.example\n\nfailed addresses follow:\n" + b"<" * 60_000,
    "blanks": b"From: MAILER-DAEMON@a.example\n\n" + b" " * 300_000 + b"550",
    "digits": b"From: MAILER-DAEMON@a.example\n\n" + b"550 5.1.1" * 50_000,
    "headers that are not ASCII": b"From: \xff\xfe mailer-daemon\nSubject: \xe4\xf6\n\nUser unknown \xff\n",
    "a complaint without a message": b"Content-Type: multipart/report; boundary=b\n\n--b\n"
    b"Content-Type: message/feedback-report\n\nFeedback-Type:\n--b--\n",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_input_is_never_a_hard_bounce(name: str) -> None:
    report = read_report(HOSTILE[name])
    assert report.kind in {Kind.OTHER, Kind.FAILED}
    if report.failure is not None:
        assert not report.failure.is_hard
        assert len(report.failure.text) <= 500


def calls_to_read(raw: bytes) -> int:
    """Number of function calls and returns while the message is read.

    The number measures the work independently of the speed of the machine, so a busy machine cannot fail these tests.
    """
    events = 0

    def count(_frame: FrameType, _event: str, _arg: object) -> None:
        nonlocal events
        events += 1

    sys.setprofile(count)
    try:
        report = read_report(raw)
    finally:
        sys.setprofile(None)
    assert isinstance(report, Report)
    return events


def max_calls(raw: bytes | bytearray) -> int:
    """The bound is linear in the length. The most expensive input known, 2,000 line ends, needs 237 per octet."""
    return 50_000 + 500 * len(raw)


@settings(deadline=None)
@given(st.binary(max_size=2000))
@example(b"\n" * 2000)
def test_any_octets_are_read_with_bounded_work(raw: bytes) -> None:
    assert calls_to_read(raw) <= max_calls(raw)


@settings(deadline=None)
@given(st.sampled_from(MESSAGES), st.data())
def test_a_truncated_or_damaged_report_is_read(raw: bytes, data: st.DataObject) -> None:
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(raw)), st.integers(0, len(raw)))))
    damaged = raw[:start] + data.draw(st.binary(max_size=40)) + raw[end:]
    assert calls_to_read(damaged) <= max_calls(damaged)


@settings(deadline=None)
@given(st.sampled_from(MESSAGES), st.integers(0, 10**6), st.sampled_from(b'\0\n\r\t :;=<>"-\xff'))
def test_a_report_with_one_octet_changed_is_read(raw: bytes, place: int, octet: int) -> None:
    changed = bytearray(raw)
    changed[place % len(raw)] = octet
    assert calls_to_read(bytes(changed)) <= max_calls(changed)


def test_the_original_message_may_have_any_size() -> None:
    whole = next(raw for raw in MESSAGES if b"4TzQ3k1xYz.1795338901" in raw and b"Status: 5.1.1" in raw)
    assert read_report(whole[:-100] + b"x" * 20 * MAX_OCTETS_READ) == read_report(whole)
