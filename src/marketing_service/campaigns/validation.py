"""Validation of the fields of a campaign, before it is saved and before it is launched. It reports all wrong fields."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from marketing_service.addresses import mailbox_key
from marketing_service.errors import FieldError, InvalidInput, Unavailable
from marketing_service.ports import AudienceError, AudienceRefused, AudienceType, AudienceUnavailable
from marketing_service.rendering import (
    BODY_PLACEHOLDERS,
    PLACEHOLDERS,
    SAMPLE,
    NotRenderable,
    TemplateError,
    TemplateTooCostly,
    ascii_address,
    character_problem,
    compile_message,
    header_text_problem,
    validate_template,
    without_byte_order_mark,
)
from marketing_service.store.messages import message_source
from marketing_service.store.states import CampaignStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from uuid import UUID

    from marketing_service.addresses import MailboxKey
    from marketing_service.campaigns.rules import CampaignRules, SenderRules
    from marketing_service.ports import Audience, AudienceSource
    from marketing_service.rendering import MergeFields, Preview
    from marketing_service.store.campaigns import Campaign, Content

MAX_BODY_BYTES = 1_000_000
MAX_TEST_RECIPIENTS = 5
CRM = "the CRM"
TOO_COSTLY = "template-too-costly"
"""The code of a field whose template needs more than its budget."""

# A body is lines of text: tabs and line ends are the only control characters allowed (RFC 5322 §2.3 excludes NUL).
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

WRITABLE = {
    "name": "name",
    "from_name": "fromName",
    "from_email": "fromEmail",
    "reply_to": "replyTo",
    "subject": "subject",
    "preheader": "preheader",
    "html_body": "htmlBody",
    "text_body": "textBody",
    "audience": "audience",
    "track_clicks": "trackClicks",
    "language": "language",
}
"""The fields of Content that a request can set, and their JSON names."""
_ORDER = tuple(WRITABLE.values())
_BODIES = ("html_body", "text_body")
_TEMPLATES = {"subject": PLACEHOLDERS, "preheader": PLACEHOLDERS} | dict.fromkeys(_BODIES, BODY_PLACEHOLDERS)
"""The fields of Content that are templates, and the placeholders that each can use."""


async def validated(content: Content, fields: Collection[str], org_id: str, rules: CampaignRules) -> Content:
    """The content with the named fields (keys of WRITABLE) validated, its addresses in normal form, and its bodies
    without a byte order mark at their start. Raises InvalidInput. Makes no network call: see `validate_statuses` for
    the audience."""
    errors: list[FieldError] = []
    for field in ("name", "from_name", "subject"):
        if field in fields:
            errors += _header_text(WRITABLE[field], getattr(content, field))
    if "preheader" in fields:
        errors += _line("preheader", content.preheader, character_problem)
    if "from_email" in fields and (sender := _address("fromEmail", content.from_email, errors)) is not None:
        content = replace(content, from_email=sender.normalized)
        errors += _sender(sender, org_id, rules.sender)
    if "reply_to" in fields and content.reply_to is not None:
        reply_address = _address("replyTo", content.reply_to, errors)
        content = replace(content, reply_to=None if reply_address is None else reply_address.normalized)
    if "html_body" in fields and content.html_body is not None:
        content = replace(content, html_body=without_byte_order_mark(content.html_body))
    if "text_body" in fields and content.text_body is not None:
        content = replace(content, text_body=without_byte_order_mark(content.text_body))
    # In a thread: parsing a template of a megabyte would block the event loop.
    errors += await asyncio.to_thread(lambda: list(_templates(content, fields)))
    if errors:
        raise InvalidInput(*sorted(errors, key=lambda error: _ORDER.index(error.field)))
    return content


async def validate_for_launch(campaign: Campaign, rules: CampaignRules) -> None:
    """Validate all fields again, because the rules may have changed since the campaign was saved, and render the
    message once. Raises InvalidInput."""
    await validated(campaign.content, WRITABLE.keys(), campaign.org_id, rules)
    await previewed(
        campaign.content,
        SAMPLE,
        rules,
        org_id=campaign.org_id,
        campaign_id=campaign.id,
        postal_address=postal_address(campaign, rules),
    )


def postal_address(campaign: Campaign, rules: CampaignRules) -> str | None:
    """The address in the footer of the campaign. A launch decides it, so a launched message does not change."""
    if campaign.status is CampaignStatus.DRAFT:
        return rules.postal_addresses.of(campaign.org_id)
    return campaign.postal_address


async def previewed(
    content: Content,
    fields: MergeFields,
    rules: CampaignRules,
    *,
    org_id: str,
    campaign_id: UUID,
    postal_address: str | None,
) -> Preview:
    """The message rendered for one recipient. Raises InvalidInput if that fails."""
    if not ((content.html_body or "").strip() or (content.text_body or "").strip()):
        raise InvalidInput(
            FieldError("htmlBody", "is empty, and textBody is empty too. Write at least one of them.", "required")
        )
    # All fields except the name of the campaign, which recipients do not see.
    source = message_source(
        content, org_id=org_id, campaign_id=campaign_id, track_clicks=False, postal_address=postal_address
    )

    def preview() -> Preview:
        return compile_message(source, public_base_url=rules.public_base_url, one_click=False).preview(fields)

    try:
        return await asyncio.to_thread(preview)
    except TemplateTooCostly as error:
        field = await asyncio.to_thread(_too_costly_field, content, fields)
        raise InvalidInput(FieldError(field, str(error), TOO_COSTLY)) from error
    except (NotRenderable, TemplateError) as error:
        raise InvalidInput(FieldError("htmlBody", f"cannot be rendered as a message: {error}", "template")) from error


def _too_costly_field(content: Content, fields: MergeFields) -> str:
    """The field whose template is too costly for this recipient. It can also be too costly only in the body that is
    derived from it."""
    for field, names in _TEMPLATES.items():
        try:
            html = field == "html_body"
            validate_template(getattr(content, field) or "", html=html, names=names, contacts=(fields,))
        except TemplateTooCostly:
            return WRITABLE[field]
        except TemplateError:
            continue
    return "htmlBody" if (content.html_body or "").strip() else "textBody"


async def validate_statuses(
    audience: Audience, source: AudienceSource, org_id: str, *, field: str = "audience.statuses"
) -> None:
    """Check that the CRM has every status of the audience. `field` is the name of the list in the request. Raises
    InvalidInput or Unavailable."""
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
                FieldError(f"{field}[{at}]", f"is not a status of the CRM. Use one of: {listed}.", "unknown-status")
                for at, _ in unknown
            )
        )


def crm_unavailable(error: AudienceError) -> Unavailable:
    """The error for callers of this service. For them, a CRM that refuses our requests is unavailable too."""
    match error:
        case AudienceUnavailable(retry_after=float(seconds)):
            return Unavailable(CRM, retry_after=max(1, round(seconds)))
        case AudienceRefused():
            return Unavailable(CRM, f"The CRM refused the request of this service: {error}", retry_after=60)
        case _:
            return Unavailable(CRM)


def validate_recipients(addresses: Sequence[str]) -> list[str]:
    """The addresses of a test mail, validated, one for each mailbox. Raises InvalidInput."""
    errors: list[FieldError] = []
    found = [_address(f"to[{at}]", address, errors) for at, address in enumerate(addresses)]
    if errors:
        raise InvalidInput(*errors)
    mailboxes: dict[MailboxKey, str] = {}
    for address in found:
        if address is not None:
            mailboxes.setdefault(mailbox_key(address.normalized), address.normalized)
    return list(mailboxes.values())


def _header_text(field: str, value: str | None) -> Iterator[FieldError]:
    return _line(field, value, header_text_problem)


def _line(field: str, value: str | None, problem_of: Callable[[str], str | None]) -> Iterator[FieldError]:
    if value is None:
        return
    if (problem := problem_of(value)) is not None:
        yield FieldError(field, problem, "header-text")
    elif not value.strip():
        yield FieldError(field, "must not be empty.", "required")


def _address(field: str, value: str, errors: list[FieldError]) -> ValidatedEmail | None:
    """The parsed address; None if it is not valid, and then the reason is added to `errors`."""
    try:
        # Few relays and receivers support SMTPUTF8 (RFC 6531), so the local part must be ASCII.
        found = validate_email(value, check_deliverability=False, allow_smtputf8=False, test_environment=True)
        ascii_address(found.normalized)
    except (EmailNotValidError, NotRenderable) as error:
        errors.append(FieldError(field, f"is not a usable email address: {error}", "email"))
        return None
    return found


def _sender(sender: ValidatedEmail, org_id: str, rules: SenderRules) -> Iterator[FieldError]:
    spellings = {sender.domain, sender.ascii_domain or sender.domain}
    if not any(rules.may_send_from(org_id, domain) for domain in spellings):
        yield FieldError(
            "fromEmail",
            f"has the domain {sender.domain}, which your organisation may not send from. Use one of its own domains.",
            "from-domain",
        )


def _templates(content: Content, fields: Collection[str]) -> Iterator[FieldError]:
    for field, names in _TEMPLATES.items():
        source: str | None = getattr(content, field)
        if field not in fields or source is None:
            continue
        name = WRITABLE[field]
        if field in _BODIES:
            if len(source.encode()) > MAX_BODY_BYTES:
                yield FieldError(name, f"is longer than {MAX_BODY_BYTES:,} bytes.", "too-long")
                continue
            if (found := _CONTROL.search(source)) is not None:
                where = f"U+{ord(found.group()):04X} at position {found.start()}"
                yield FieldError(name, f"contains a control character ({where}). Remove it.", "control-character")
                continue
        try:
            validate_template(source, html=field == "html_body", names=names)
        except TemplateTooCostly as error:
            yield FieldError(name, str(error), TOO_COSTLY)
        except TemplateError as error:
            yield FieldError(name, str(error), "template")
