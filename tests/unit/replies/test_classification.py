"""The rules, checked with real replies of the large systems (texts shortened, names and addresses invented)."""

from __future__ import annotations

import pytest

from marketing_service.replies import Cause, Classification, Phase, Reply, ReplyClass, classify, closes_connection

ACCEPTED = Classification(ReplyClass.ACCEPTED)
TRANSIENT = Classification(ReplyClass.TRANSIENT)
SENDER = Classification(ReplyClass.SENDER)
ADDRESS, MAILBOX, POLICY, OTHER = (
    Classification(ReplyClass.PERMANENT, cause) for cause in (Cause.ADDRESS, Cause.MAILBOX, Cause.POLICY, Cause.OTHER)
)

GMAIL = [
    (Phase.DOT, 250, "2.0.0 OK  1795328077 x1-20020a170902 - gsmtp", ACCEPTED),
    (Phase.RCPT, 550, "5.1.1 The email account that you tried to reach does not exist. NoSuchUser gsmtp", ADDRESS),
    (Phase.RCPT, 550, "5.2.1 The email account that you tried to reach is inactive. gsmtp", ADDRESS),
    (Phase.RCPT, 552, "5.2.2 The recipient's inbox is out of storage space and inactive. gsmtp", MAILBOX),
    (Phase.RCPT, 452, "4.2.2 The recipient's inbox is out of storage space. gsmtp", TRANSIENT),
    (Phase.RCPT, 450, "4.2.1 The user you are trying to contact is receiving mail too quickly.", TRANSIENT),
    (Phase.DOT, 421, "4.7.0 Our system has detected an unusual rate of unsolicited mail from your IP", TRANSIENT),
    (Phase.DOT, 550, "5.7.1 Our system has detected that this message is likely unsolicited mail.", POLICY),
    (Phase.DOT, 550, "5.7.26 This mail has been blocked because the sender is unauthenticated.", POLICY),
    (Phase.DOT, 552, "5.7.0 This message was blocked because its content presents a security issue.", POLICY),
    (Phase.MAIL, 530, "5.7.0 Authentication Required. For more information, go to", SENDER),
    (Phase.MAIL, 550, "5.4.5 Daily user sending limit exceeded. gsmtp", SENDER),
    (Phase.DOT, 550, "5.4.5 Daily user sending limit exceeded. gsmtp", SENDER),
    (Phase.RCPT, 550, "5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've", SENDER),
    (Phase.RCPT, 550, "5.7.0 Mail relay denied [192.0.2.1]. Invalid credentials for relay", SENDER),
]

MICROSOFT = [
    (Phase.RCPT, 550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address", ADDRESS),
    (Phase.RCPT, 550, "5.4.1 Recipient address rejected: Access denied. [x.prod.protection.outlook.com]", ADDRESS),
    (Phase.RCPT, 550, "5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", ADDRESS),
    (Phase.RCPT, 550, "5.2.121 The recipient's mailbox exceeded its receive rate threshold", MAILBOX),
    (Phase.DOT, 554, "5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", MAILBOX),
    (Phase.MAIL, 451, "4.7.500 Server busy. Please try again later from [192.0.2.1].", TRANSIENT),
    (Phase.MAIL, 451, "4.7.650 The mail server [192.0.2.1] has been temporarily rate limited", TRANSIENT),
    (Phase.DOT, 432, "4.3.2 Concurrent connections limit exceeded", TRANSIENT),
    (Phase.RCPT, 550, "5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent; block list (S3150)", POLICY),
    (Phase.DOT, 550, "5.7.515 Access denied, sending domain does not meet the required level", POLICY),
    (Phase.RCPT, 550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain", SENDER),
    (Phase.RCPT, 550, "5.7.64 TenantAttribution; Relay Access Denied", SENDER),
    (Phase.MAIL, 530, "5.7.57 Client not authenticated to send mail.", SENDER),
    (Phase.DOT, 550, "5.7.60 SMTP; Client does not have permissions to send as this sender", SENDER),
    (Phase.DOT, 554, "5.2.252 SendAsDenied; user@example.com not allowed to send as", SENDER),
    (Phase.DOT, 554, "5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiException", SENDER),
    (Phase.DOT, 550, "5.1.8 Access denied, bad outbound sender AS(42004)", SENDER),
    (Phase.DOT, 550, "5.1.90 Your message can't be sent because you've reached your daily limit", SENDER),
    (Phase.DOT, 550, "5.7.705 Access denied, tenant has exceeded threshold", SENDER),
]

YAHOO = [
    (Phase.MAIL, 421, "4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", TRANSIENT),
    (Phase.DOT, 451, "4.3.2 Internal error reading data", TRANSIENT),
    (Phase.DOT, 554, "delivery error: dd This user doesn't have a yahoo.com account (x@yahoo.com)", ADDRESS),
    (Phase.DOT, 554, "delivery error: dd This account has been disabled or discontinued [#102].", ADDRESS),
    (Phase.RCPT, 552, "1 Requested mail action aborted, mailbox not found", ADDRESS),
    (Phase.DOT, 554, "5.7.9 Message not accepted for policy reasons.", POLICY),
]

POSTFIX = [
    (Phase.DOT, 250, "2.0.0 Ok: queued as 4Xyz123", ACCEPTED),
    (Phase.RCPT, 250, "2.1.5 Ok", ACCEPTED),
    (Phase.RCPT, 550, "5.1.1 <x@example.com>: Recipient address rejected: User unknown in table", ADDRESS),
    (Phase.RCPT, 550, "5.1.2 <x@example.com>: Recipient address rejected: Domain not found", ADDRESS),
    (Phase.RCPT, 450, "4.2.0 <x@example.com>: Recipient address rejected: Greylisted", TRANSIENT),
    (Phase.RCPT, 450, "4.1.1 <x@example.com>: Recipient address rejected: unverified address", TRANSIENT),
    (Phase.MAIL, 452, "4.3.1 Insufficient system storage", TRANSIENT),
    (Phase.MAIL, 421, "4.4.2 relay.example.com Error: timeout exceeded", TRANSIENT),
    (Phase.RCPT, 421, "4.7.0 relay.example.com Error: too many errors", TRANSIENT),
    (Phase.MAIL, 552, "5.3.4 Message size exceeds fixed limit", OTHER),
    (Phase.DOT, 552, "5.3.4 Error: message file too big", OTHER),
    (Phase.DOT, 550, "5.7.1 message content rejected", POLICY),
    (Phase.RCPT, 554, "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using bl.example", POLICY),
    (Phase.RCPT, 554, "5.7.1 <x@example.net>: Relay access denied", SENDER),
    (Phase.RCPT, 454, "4.7.1 <x@example.net>: Relay access denied", SENDER),
    (Phase.RCPT, 553, "5.7.1 <me@example.com>: Sender address rejected: not owned by user me", SENDER),
    (Phase.RCPT, 450, "4.1.8 <me@example.com>: Sender address rejected: Domain not found", SENDER),
    (Phase.RCPT, 554, "5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied", SENDER),
    (Phase.MAIL, 530, "5.7.0 Must issue a STARTTLS command first", SENDER),
    (Phase.MAIL, 501, "5.1.7 Bad sender address syntax", SENDER),
    (Phase.DATA, 554, "5.5.1 Error: no valid recipients", OTHER),
]

EXIM = [
    (Phase.RCPT, 550, "Unrouteable address", ADDRESS),
    (Phase.RCPT, 550, "relay not permitted", SENDER),
    (Phase.RCPT, 550, "Verification failed for <me@example.com> Unrouteable address Sender verify failed", SENDER),
    (Phase.RCPT, 550, "Administrative prohibition", POLICY),
    (Phase.DOT, 552, "Message size exceeds maximum permitted", OTHER),
    (Phase.RCPT, 451, "Temporary local problem - please try later", TRANSIENT),
]

SES = [
    (Phase.DOT, 250, "Ok 0102019a-0000", ACCEPTED),
    (Phase.DOT, 454, "Throttling failure: Maximum sending rate exceeded.", TRANSIENT),
    (Phase.DOT, 554, "Message rejected: Email address is not verified. The following identities failed", SENDER),
    (Phase.DOT, 554, "Message rejected: Sending paused for this account.", SENDER),
    (Phase.DOT, 554, "Access denied: User `arn:x` is not authorized to perform `ses:SendRawEmail'", SENDER),
    (Phase.MAIL, 530, "Authentication required", SENDER),
    (Phase.MAIL, 535, "Authentication Credentials Invalid", SENDER),
    (Phase.DOT, 554, "Transaction failed: Expected 'quoted-printable'", OTHER),
]

SENDGRID = [
    (Phase.DOT, 250, "Ok: queued as abc", ACCEPTED),
    (Phase.DOT, 550, "The from address does not match a verified Sender Identity.", SENDER),
    (Phase.RCPT, 550, "Unauthenticated senders not allowed", SENDER),
    (Phase.MAIL, 451, "Authentication failed: Maximum credits exceeded", TRANSIENT),
]

MAILGUN = [
    (Phase.DOT, 250, "Great success", ACCEPTED),
    (Phase.RCPT, 550, "5.7.1 Relaying denied", SENDER),
    (Phase.DOT, 550, "Domain example.com is not allowed to send: the domain is unverified", SENDER),
    (Phase.DOT, 550, "5.7.1 Sandbox subdomains are for test purposes only.", SENDER),
    (Phase.DOT, 420, "Domain example.com is not allowed to send: recipient limit exceeded", TRANSIENT),
]

OTHERS = [
    (Phase.RCPT, 550, "#5.1.0 Address rejected.", ADDRESS),
    (Phase.RCPT, 550, "5.4.4 Host or domain name not found. Name service error for name=x.example", ADDRESS),
    (Phase.RCPT, 550, "5.4.310 DNS domain x.example does not exist [Message=InfoDomainNonexistent]", ADDRESS),
    (Phase.RCPT, 550, "5.4.4 no route for now", OTHER),
    (Phase.RCPT, 550, "5.4.6 mail loop detected", OTHER),
    (Phase.RCPT, 550, "The recipient name is not recognized", ADDRESS),
    (Phase.RCPT, 551, "User not local; please try <x@example.org>", ADDRESS),
    (Phase.RCPT, 553, "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", POLICY),
    (Phase.RCPT, 550, "5.6.7 Non-ASCII address not permitted", ADDRESS),
    (Phase.RCPT, 552, "Requested mail action aborted: exceeded storage allocation", MAILBOX),
    (Phase.DOT, 552, "Mailbox over quota", MAILBOX),
    (Phase.DOT, 554, "This looks like spam", POLICY),
    (Phase.DOT, 554, "Transaction failed", OTHER),
    (Phase.MAIL, 550, "Go away", SENDER),
    (Phase.MAIL, 552, "Too large", OTHER),
    (Phase.RCPT, 451, "5.1.1 the code says 4, the text says 5", TRANSIENT),
    (Phase.DOT, 354, "a reply out of place", TRANSIENT),
]


@pytest.mark.parametrize(
    ("phase", "code", "text", "classification"),
    [
        pytest.param(*case, id=f"{name}-{case[0]}-{case[1]}-{case[2][:30]}")
        for name, cases in {
            "gmail": GMAIL,
            "microsoft": MICROSOFT,
            "yahoo": YAHOO,
            "postfix": POSTFIX,
            "exim": EXIM,
            "ses": SES,
            "sendgrid": SENDGRID,
            "mailgun": MAILGUN,
            "other": OTHERS,
        }.items()
        for case in cases
    ],
)
def test_a_reply_is_classified_as_its_system_means_it(
    phase: Phase, code: int, text: str, classification: Classification
) -> None:
    assert classify(Reply.of(code, text), phase) == classification


def test_only_421_closes_the_connection() -> None:
    assert closes_connection(Reply.of(421, "4.4.2 Bye"))
    assert not closes_connection(Reply.of(451, "4.3.0 Later"))


def test_a_closing_reply_never_refuses_the_sender() -> None:
    """Even if its text matches a rule for the sender."""
    assert classify(Reply.of(421, "4.7.1 Relay access denied"), Phase.MAIL) == TRANSIENT


@pytest.mark.parametrize("phase", list(Phase))
def test_every_reply_has_a_verdict_that_agrees_with_its_first_digit(phase: Phase) -> None:
    allowed = {
        2: {ReplyClass.ACCEPTED},
        4: {ReplyClass.TRANSIENT},
        5: {ReplyClass.PERMANENT, ReplyClass.SENDER},
    }
    for code in [*range(200, 260), *range(400, 460), *range(500, 560)]:
        assert classify(Reply.of(code, "whatever"), phase).reply_class in allowed[code // 100], code
