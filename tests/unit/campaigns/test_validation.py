"""The validation of recipients, and errors of the CRM."""

import pytest

from marketing_service.campaigns.validation import crm_unavailable, validate_recipients
from marketing_service.errors import InvalidInput
from marketing_service.ports import AudienceError, AudienceRefused, AudienceUnavailable


@pytest.mark.parametrize(
    ("error", "retry_after", "says"),
    [
        (AudienceUnavailable("slow"), 5, "the CRM does not answer"),
        (AudienceUnavailable("slow", 0.2), 1, "the CRM does not answer"),
        (AudienceUnavailable("slow", 42.0), 42, "the CRM does not answer"),
        (AudienceRefused("401: who are you?"), 60, "401: who are you?"),
        (AudienceError("odd"), 5, "the CRM does not answer"),
    ],
)
def test_every_error_of_the_crm_is_unavailable(error: AudienceError, retry_after: int, says: str) -> None:
    unavailable = crm_unavailable(error)
    assert unavailable.part == "the CRM"
    assert unavailable.retry_after == retry_after
    assert says in unavailable.detail


def test_recipients_of_a_test_are_each_mailed_once() -> None:
    given = ["Ada@EXAMPLE.com", "bob@example.com", "Ada@example.com"]
    assert validate_recipients(given) == ["Ada@example.com", "bob@example.com"]


def test_every_wrong_recipient_is_named() -> None:
    with pytest.raises(InvalidInput) as refused:
        validate_recipients(["x", "ada@example.com", "zoë@example.com", "ada@nowhere"])
    assert [error.field for error in refused.value.errors] == ["to[0]", "to[2]", "to[3]"]


def test_a_mailbox_gets_one_test_mail_in_whatever_spellings_it_is_given() -> None:
    given = ["info@bücher.example", "INFO@xn--bcher-kva.example", "info@bu\u0308cher.example", "info@bucher.example"]
    assert validate_recipients(given) == ["info@bücher.example", "info@bucher.example"]
