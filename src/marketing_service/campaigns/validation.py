"""What a campaign must be before it is saved or launched: every wrong field is named at once."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from marketing_service.errors import FieldError, InvalidInput, Unavailable
from marketing_service.ports import AudienceError, AudienceRefused, AudienceType, AudienceUnavailable
from marketing_service.rendering import (
    SAMPLE,
    NotRenderable,
    TemplateError,
    ascii_address,
    compile_message,
    header_text_problem,
    validate_template,
)
from marketing_service.store.messages import message_source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from uuid import UUID

    from marketing_service.ports import Audience, AudienceSource
    from marketing_service.rendering import MergeFields, Preview
    from marketing_service.settings import Settings
    from marketing_service.store.campaigns import Campaign, Content

MAX_BODY_BYTES = 1_000_000
MAX_TEST_RECIPIENTS = 5
CRM = "the CRM"

# A body is lines of text: tabs and line ends are the only control characters in it (RFC 5322 §2.3 has no NUL).
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

WRITABLE = {
    "name": "name",
    "from_name": "fromName",
    "from_email": "fromEmail",
    "reply_to": "replyTo",
    "subject": "subject",
    "html_body": "htmlBody",
    "text_body": "textBody",
    "audience": "audience",
    "track_clicks": "trackClicks",
}
"""What an administrator may write, and what each is called outside."""
_ORDER = tuple(WRITABLE.values())


async def validated(content: Content, fields: Collection[str], org_id: str, settings: Settings) -> Content:
    """The content with the named fields (keys of WRITABLE) checked and its addresses in their normal form.
    Raises InvalidInput. Asks nobody: see `validate_statuses` for the audience."""
    errors: list[FieldError] = []
    for field in ("name", "from_name", "subject"):
        if field in fields:
            errors += _header_text(WRITABLE[field], getattr(content, field))
    if "from_email" in fields and (sender := _address("fromEmail", content.from_email, errors)) is not None:
        content = replace(content, from_email=sender.normalized)
        errors += _sender(sender, org_id, settings)
    if "reply_to" in fields and content.reply_to is not None:
        answers = _address("replyTo", content.reply_to, errors)
        content = replace(content, reply_to=None if answers is None else answers.normalized)
    # A template of a megabyte takes long enough to parse to be felt by everybody else on this event loop.
    errors += await asyncio.to_thread(lambda: list(_templates(content, fields)))
    if errors:
        raise InvalidInput(*sorted(errors, key=lambda error: _ORDER.index(error.field)))
    return content


async def validate_for_launch(campaign: Campaign, settings: Settings) -> None:
    """Whether the message may leave now; what was checked when it was saved is checked again, because the rules
    may have changed since. Raises InvalidInput."""
    await validated(campaign.content, WRITABLE.keys(), campaign.org_id, settings)
    await previewed(campaign.content, SAMPLE, settings, org_id=campaign.org_id, campaign_id=campaign.id)


async def previewed(
    content: Content, fields: MergeFields, settings: Settings, *, org_id: str, campaign_id: UUID
) -> Preview:
    """The message filled in for one recipient. Raises InvalidInput where that cannot be done."""
    if not ((content.html_body or "").strip() or (content.text_body or "").strip()):
        raise InvalidInput(
            FieldError("htmlBody", "is empty, and so is textBody: write at least one of them first.", "required")
        )
    source = message_source(content, org_id=org_id, campaign_id=campaign_id, track_clicks=False)

    def preview() -> Preview:
        return compile_message(source, public_base_url=settings.public_base_url, one_click=False).preview(fields)

    try:
        return await asyncio.to_thread(preview)
    except (NotRenderable, TemplateError) as error:
        raise InvalidInput(FieldError("htmlBody", f"cannot be made into a message: {error}", "template")) from error


async def validate_statuses(
    audience: Audience, source: AudienceSource, org_id: str, *, field: str = "audience.statuses"
) -> None:
    """Whether the CRM knows every status the audience names; `field` is where the caller did. Raises InvalidInput
    or Unavailable."""
    if audience.type is not AudienceType.BY_STATUS:
        return
    try:
        known = {status.value for status in await source.statuses(org_id)}
    except AudienceError as error:
        raise crm_unavailable(error) from error
    unknown = [(at, status) for at, status in enumerate(audience.statuses) if status not in known]
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise InvalidInput(
            *(
                FieldError(f"{field}[{at}]", f"is not a status the CRM has; it has: {listed}.", "unknown-status")
                for at, _ in unknown
            )
        )


def crm_unavailable(error: AudienceError) -> Unavailable:
    """The same trouble, as this service's callers know it: to them a CRM that refuses us is one that is down."""
    match error:
        case AudienceUnavailable(retry_after=float(seconds)):
            return Unavailable(CRM, retry_after=max(1, round(seconds)))
        case AudienceRefused():
            return Unavailable(CRM, f"The CRM refused to answer: {error}", retry_after=60)
        case _:
            return Unavailable(CRM)


def validate_recipients(addresses: Sequence[str]) -> list[str]:
    """Addresses for a test, each once, in their normal form. Raises InvalidInput."""
    errors: list[FieldError] = []
    found = [_address(f"to[{at}]", address, errors) for at, address in enumerate(addresses)]
    if errors:
        raise InvalidInput(*errors)
    return list(dict.fromkeys(address.normalized for address in found if address is not None))


def _header_text(field: str, value: str | None) -> Iterator[FieldError]:
    if value is None:
        return
    if (problem := header_text_problem(value)) is not None:
        yield FieldError(field, problem, "header-text")
    elif not value.strip():
        yield FieldError(field, "is empty.", "required")


def _address(field: str, value: str, errors: list[FieldError]) -> ValidatedEmail | None:
    """The address taken apart; where it is none, None, and `errors` gains the reason."""
    try:
        # SMTPUTF8 is an extension few relays and fewer receivers have (RFC 6531): a local part needs ASCII.
        found = validate_email(value, check_deliverability=False, allow_smtputf8=False, test_environment=True)
        ascii_address(found.normalized)
    except (EmailNotValidError, NotRenderable) as error:
        errors.append(FieldError(field, f"is not an email address we can use: {error}", "email"))
        return None
    return found


def _sender(sender: ValidatedEmail, org_id: str, settings: Settings) -> Iterator[FieldError]:
    spellings = {sender.domain, sender.ascii_domain or sender.domain}
    if not any(settings.may_write_as(org_id, domain) for domain in spellings):
        yield FieldError(
            "fromEmail",
            f"may not be at {sender.domain}: your organisation is not set up to write from it.",
            "from-domain",
        )


def _templates(content: Content, fields: Collection[str]) -> Iterator[FieldError]:
    for field in ("subject", "html_body", "text_body"):
        source: str | None = getattr(content, field)
        if field not in fields or source is None:
            continue
        name = WRITABLE[field]
        if field != "subject":
            if len(source.encode()) > MAX_BODY_BYTES:
                yield FieldError(name, f"is longer than {MAX_BODY_BYTES:,} bytes.", "too-long")
                continue
            if (found := _CONTROL.search(source)) is not None:
                where = f"U+{ord(found.group()):04X} at position {found.start()}"
                yield FieldError(name, f"contains a control character ({where}).", "control-character")
                continue
        try:
            validate_template(source, html=field == "html_body")
        except TemplateError as error:
            yield FieldError(name, str(error), "template")
