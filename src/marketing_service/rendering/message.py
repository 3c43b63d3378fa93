"""The compiled message: parts that are the same for all recipients are encoded once, the others per recipient."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.parser import BytesParser
from hashlib import sha256
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from marketing_service.languages import Language
from marketing_service.rendering.assembly import Additions, bodies_of, body_parts, clean_source, tracked_links
from marketing_service.rendering.footer import footer
from marketing_service.rendering.headers import ascii_address, date_field, mailbox_field, text_field
from marketing_service.rendering.language import Escaping
from marketing_service.rendering.masking import MARK
from marketing_service.rendering.placeholders import CLICK, PIXEL, PLACED_URL, UNSUBSCRIBE, UNSUBSCRIBE_URL
from marketing_service.rendering.template import SAMPLE, MergeFields, NotRenderable, Template, clean
from marketing_service.rendering.transfer import MAX_LINE, longest_line
from marketing_service.rendering.web_urls import public_url

_TEST = "[Test] "

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True, slots=True)
class MessageSource:
    """A campaign's message as its author wrote it. One of the two bodies may be missing.

    With `track_clicks`, the links in the HTML lead through this service. `known_links` are the links that are already
    stored for the campaign (see `CompiledMessage.links`): with them, every process gives a link the same number.
    `language` and `postal_address` are those of the footer. `preheader` is a template, for the HTML only.
    """

    campaign_id: UUID
    org_id: str
    from_name: str | None
    from_email: str
    reply_to: str | None
    subject: str
    html_body: str | None
    text_body: str | None
    track_clicks: bool = False
    known_links: tuple[str, ...] | None = None
    language: Language = Language.EN
    postal_address: str | None = None
    preheader: str | None = None

    @property
    def written(self) -> dict[str, str]:
        """What the author wrote and recipients see, by field of the API. A field that is added to the message and
        contains text belongs here, so that the check reads it."""
        fields = {
            "fromName": self.from_name,
            "subject": self.subject,
            "preheader": self.preheader,
            "htmlBody": self.html_body,
            "textBody": self.text_body,
        }
        return {name: text for name, text in fields.items() if text}


class RecipientData(NamedTuple):
    """The data of one recipient's message.

    `send_id` and `date` belong to the send, not to the attempt, so that every attempt renders the same bytes. Without
    `open_token` there is no pixel. With `test`, the subject says that it is a test. A message that tracks clicks needs
    a `click_token`.
    """

    send_id: UUID
    fields: MergeFields
    date: datetime
    unsubscribe_token: str
    open_token: str | None
    click_token: str | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """A message as a recipient sees it, but with an inactive unsubscribe link, no pixel and no click tracking."""

    subject: str
    html: str
    text: str


def one_click_possible(public_base_url: str) -> bool:
    """Whether List-Unsubscribe may use this address: RFC 8058 requires https; loopback is allowed for development."""
    parts = urlsplit(public_base_url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def compile_message(source: MessageSource, *, public_base_url: str, one_click: bool) -> CompiledMessage:
    """Compile the message. `one_click` adds List-Unsubscribe (see `one_click_possible`).

    Raises TemplateError if a template is not valid. Raises NotRenderable if there is no body, or if the sender's
    address or the public address is not valid in a header.
    """
    try:
        public_base_url = public_url(public_base_url)
    except ValueError as error:
        raise NotRenderable(f"The public address of this service {error}.") from None
    message = CompiledMessage(source, public_base_url, one_click=one_click)
    _verify(message, one_click=one_click, reply_to=bool(source.reply_to))
    return message


class CompiledMessage:
    """A message that can be rendered for many recipients at low cost: only their data is encoded each time."""

    def __init__(self, source: MessageSource, public_base_url: str, *, one_click: bool) -> None:
        self._links = f"{public_base_url}/api/marketing"
        sender = ascii_address(source.from_email)
        organisation = sha256(source.org_id.encode()).hexdigest()[:16]
        campaign = source.campaign_id.hex
        # "=_" does not occur in quoted-printable (RFC 2045 §6.7), so no body can contain the boundary.
        boundary = f"=_{campaign}"

        self.from_address = sender
        """The sender's address in ASCII, as it is used in an SMTP command."""
        self._from = mailbox_field("From", source.from_name, sender)
        reply_to = mailbox_field("Reply-To", None, ascii_address(source.reply_to)) if source.reply_to else b""
        self._after_to = b"\r\n" + reply_to
        self._domain = sender.rpartition("@")[2]
        self._one_click = one_click
        post = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if one_click else ""
        self._fixed = (
            f"{post}"
            f"List-Id: <{organisation}.marketing.{_list_domain(public_base_url)}>\r\n"
            f"Feedback-ID: {campaign}:{organisation}:campaign:marketing\r\n"
            "MIME-Version: 1.0\r\n"
            f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n'
            f"\r\n--{boundary}\r\n"
        ).encode("ascii")
        self._between = f"\r\n--{boundary}\r\n".encode("ascii")
        self._end = f"\r\n--{boundary}--\r\n".encode("ascii")

        self._subject = Template(clean_source(source.subject), Escaping.NONE)
        bodies = bodies_of(clean_source(source.text_body or ""), clean_source(source.html_body or ""))
        known = source.known_links
        tracked = tracked_links(bodies, links=self._links, known=known) if source.track_clicks else None
        own_footer = footer(source.language, source.postal_address)
        parts = body_parts(bodies, Additions(own_footer, clean_source(source.preheader or ""), tracked), boundary)
        self._text, self._html = parts.text, parts.html
        self.text_placement, self.html_placement = parts.text_placement, parts.html_placement
        """Which recipients get the unsubscribe link where the author has placed it, and so no footer."""
        self.links: tuple[str, ...] = tuple(tracked.sources) if tracked else ()
        """The tracked links; the number of the first is 1. For `link_target` and `shown_link`."""

    def render(self, recipient: RecipientData, *, eight_bit: bool = False) -> bytes:
        """The message for one recipient, with CRLF after every line and no line over 998 octets.

        It is 7-bit. If `eight_bit` is true it may be 8-bit, which needs 8BITMIME (RFC 6152). Raises NotRenderable.
        """
        values = self._values(recipient)
        subject = (_TEST if recipient.test else "") + self._subject.fill(values)
        list_unsubscribe = f"List-Unsubscribe: <{values[UNSUBSCRIBE]}>\r\n" if self._one_click else ""
        own = f"Message-ID: <{recipient.send_id.hex}@{self._domain}>\r\n{list_unsubscribe}"
        return b"".join(
            (
                self._from,
                b"To: ",
                ascii_address(recipient.fields.email or "").encode("ascii"),
                self._after_to,
                text_field("Subject", subject),
                date_field(recipient.date),
                own.encode("ascii"),
                self._fixed,
                self._text.entity(values, eight_bit=eight_bit),
                self._between,
                self._html.entity(values, eight_bit=eight_bit),
                self._end,
            )
        )

    def preview(self, fields: MergeFields) -> Preview:
        """The message for a contact with these fields. Raises NotRenderable."""
        values = fields.cleaned() | _unsubscribe_values("#") | {PIXEL: "", CLICK: "#"}
        return Preview(
            subject=clean(self._subject.fill(values)), html=self._html.text(values), text=self._text.text(values)
        )

    def bodies(self, recipient: RecipientData) -> list[str]:
        """The decoded text and HTML of `render`. Raises NotRenderable."""
        values = self._values(recipient)
        return [self._text.text(values), self._html.text(values)]

    def _values(self, recipient: RecipientData) -> dict[str, str]:
        values = recipient.fields.cleaned()
        values |= _unsubscribe_values(self._link("unsubscribe", recipient.unsubscribe_token))
        values[PIXEL] = self._pixel(recipient.open_token)
        if self.links:
            values[CLICK] = self._link("click", recipient.click_token or "")
        return values

    def _link(self, page: str, token: str) -> str:
        if not _TOKEN.fullmatch(token):
            raise NotRenderable("A link's token must be base64url.")
        return f"{self._links}/{page}/{token}"

    def _pixel(self, token: str | None) -> str:
        if token is None:
            return ""
        return f'<img src="{self._link("pixel", token)}.gif" width="1" height="1" alt="">\n'


def _unsubscribe_values(address: str) -> dict[str, str]:
    return {UNSUBSCRIBE: address, UNSUBSCRIBE_URL: address, PLACED_URL: address + MARK}


def _list_domain(public_base_url: str) -> str:
    """The domain for List-Id (RFC 2919 §3): the host of the public address, or `localhost` for an IPv6 address."""
    host = urlsplit(public_base_url).hostname or ""
    return "localhost" if ":" in host else host


def _verify(message: CompiledMessage, *, one_click: bool, reply_to: bool) -> None:
    """Render and parse the message for the sample contact. Raises NotRenderable if the result differs.

    This is the only check of the bytes: the messages to the recipients are not parsed again.
    """
    names = ["From", "To", "Reply-To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post"]
    names += ["List-Id", "Feedback-ID", "MIME-Version", "Content-Type"]
    absent = set() if one_click else {"List-Unsubscribe", "List-Unsubscribe-Post"}
    absent |= set() if reply_to else {"Reply-To"}
    recipient = RecipientData(UUID(int=0), SAMPLE, datetime.fromtimestamp(0, UTC), "sample", "sample", "sample")
    for eight_bit in (False, True):
        rendered = message.render(recipient, eight_bit=eight_bit)
        parsed = BytesParser(policy=policy.default).parsebytes(rendered)
        bodies = [part.get_content().replace("\r\n", "\n") for part in parsed.iter_parts()]
        if (
            parsed.keys() != [n for n in names if n not in absent]
            or bodies != message.bodies(recipient)
            or longest_line(rendered) > MAX_LINE
        ):
            raise NotRenderable("The message does not read back as it was written.")
