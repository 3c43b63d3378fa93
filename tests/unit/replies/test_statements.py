"""Only a positive statement about the mailbox counts against an address (the wording of these replies is invented)."""

from __future__ import annotations

import pytest

from marketing_service.replies import Cause, Phase, Reply, classify
from marketing_service.replies.rule import FROM_RCPT

ABOUT_US_IN_WORDS_OF_A_MAILBOX = (
    # our address or account
    "550 From address does not exist",
    "550 your email address does not exist in our allow list",
    "550 5.1.1 your address does not exist",
    "550 The account you send as does not exist",
    "550 The alias you send as was not found",
    "550 the email account used to send is disabled",
    "550 alias not found in your account",
    "550 sending mailbox not found",
    "550 originator address unknown",
    "550 return address is invalid",
    "550 return path: mailbox does not exist",
    "550 5.4.4 your domain does not exist",
    "550 your mailbox is full",
    "550 your account is over quota",
    "550 5.7.1 Unable to deliver: mailbox of the sender is over quota",
    "452 4.2.2 your sending mailbox is full",
    # our log-in and our set-up
    "550 SMTP user unknown",
    "550 unknown user or wrong password",
    "550 invalid user name or password",
    "550 Not a valid user for this relay",
    "550 client certificate user unknown",
    "550 your user account has been disabled for sending spam",
    "550 Unspecified Error (SENT_SECOND_EHLO): Smtp server does not advertise AUTH capability",
    "550 The settings for your 'Send mail as' account are misconfigured or out of date",
    "550 account is not set up for relaying: account not found",
    # a check of our address
    "550 sender callout: user unknown",
    "550 could not verify sender: no such user",
    "550 unable to verify your address: mailbox not found",
    # our host and our network
    "550 reverse DNS for your IP address does not exist",
    "550 5.7.1 PTR record for address 192.0.2.10 does not exist",
    "550 5.4.4 HELO name not found",
    "550 unknown address family",
    "554 Network not permitted",
    "554 Connections from your network are refused",
    "550 5.1.1 connection timed out",
    "550 5.1.1 Connection refused",
    "550 5.1.1 TLS handshake failed",
    # our message
    "550 message contains invalid address in To header",
    "550 5.6.0 invalid mailbox in header field",
    "550 5.2.0 STOREDRV.Deliver.Exception:ConversionFailedException; Failed to process message",
    "552 5.2.3 Message too large for this mailbox",
    # the sender is not one that this mailbox accepts
    "550 5.2.1 this mailbox only accepts mail from senders in the organization",
    "550 The group only accepts mail from members; sender is not a member: recipient not found",
    # contradictions
    "550 5.1.1 user unknown - listed in spamhaus",
    "550 No such user, or your IP is blacklisted",
    "550 5.1.1 Recipient address rejected: undeliverable address: host mx said: 554 5.7.1 Client host blocked by us",
    # the address could not be checked
    "450 4.1.1 Recipient address rejected: unverified address: connect to mx: Connection timed out",
    # empty statements
    "550 5.1.0",
    "550 5.1.0 rejected",
    "550 5.2.0",
    "550 5.0.0",
    "550 internationalized mailbox name not supported",
)  # fmt: skip


@pytest.mark.parametrize("phase", FROM_RCPT)
@pytest.mark.parametrize("text", ABOUT_US_IN_WORDS_OF_A_MAILBOX)
def test_a_text_about_us_in_the_words_of_a_missing_mailbox_does_not_count(text: str, phase: Phase) -> None:
    assert not classify(Reply.of(int(text[:3]), text[4:]), phase).counts_against_address


NO_SUCH_MAILBOX = (
    '"Unknown User"',
    "No such mailbox here",
    "this mailbox doesn't exist",
    "this user does not have an account here",
    "the recipient cannot be found",
    "user could not be found",
    "mailbox has been disabled",
    "account closed",
    "this account has been deactivated",
    "user has been deleted",
    "user has left the company",
    "address no longer in use",
    "not a known user",
    "no account by that name here",
    "nobody here by that name",
    "unroutable address",
    "bad destination mailbox address",
    "RESOLVER.ADR.RecipNotFound; not found",
    "User unknown in relay recipient table",
    "Your recipient's mailbox does not exist",
    "The user you sent this message to does not exist",
    "Benutzer unbekannt",
    "Empfänger unbekannt",
    "Postfach existiert nicht",
    "utilisateur inconnu",
    "adresse inconnue",
    "Boîte aux lettres inexistante",
    "Usuario desconocido",
    "usuário desconhecido",
    "utente sconosciuto",
    "gebruiker onbekend",
)
FULL_MAILBOX = (
    "mailbox is over its quota",
    "user's disk quota exceeded",
    "account is full",
    "inbox full",
    "not enough storage space in mailbox",
    "mailbox is full: retry timeout exceeded",
    "Postfach voll",
    "buzón lleno",
    "boîte pleine",
    "casella piena",
)


@pytest.mark.parametrize(
    ("text", "cause"),
    [*((text, Cause.ADDRESS) for text in NO_SUCH_MAILBOX), *((text, Cause.MAILBOX) for text in FULL_MAILBOX)],
)
def test_a_positive_statement_about_the_mailbox_counts(text: str, cause: Cause) -> None:
    for code in ("", "5.0.0 ", "5.7.1 "):
        assert classify(Reply.of(550, code + text), Phase.RCPT).cause is cause
