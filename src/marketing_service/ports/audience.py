"""The source of contacts: the CRM, over HTTP or through its database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from marketing_service.addresses import MailboxKey


class AudienceType(StrEnum):
    """How an audience selects contacts."""

    ALL = "ALL"
    BY_STATUS = "BY_STATUS"


@dataclass(frozen=True, slots=True)
class Audience:
    """All contacts, or the contacts that have one of some CRM statuses. Contacts who opted out never belong to it."""

    type: AudienceType = AudienceType.ALL
    statuses: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it selects by status and names none. The CRM would read a filter without a status as no filter."""
        return self.type is AudienceType.BY_STATUS and not self.statuses

    def includes(self, contact: Contact) -> bool:
        """Whether the contact has an address, has not opted out, and has one of the statuses."""
        return (
            bool(contact.email)
            and not contact.marketing_opt_out
            and (self.type is AudienceType.ALL or contact.status in self.statuses)
        )


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact as the CRM returns it, not normalised or validated."""

    id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    company_name: str | None
    status: str | None
    marketing_opt_out: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Numbers of contacts that the CRM's data excludes from an audience. Each contact is counted once."""

    opted_out: int
    without_address: int
    """Contacts without an address that have not opted out."""


@dataclass(frozen=True, slots=True)
class ContactStatus:
    """A status that a contact can have in the CRM, and its label for users."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class ContactPage:
    """Some contacts of an audience, and the time of the request: an opt-out that is newer has priority over them."""

    contacts: Sequence[Contact]
    asked_at: datetime


class AudienceError(Exception):
    """The audience cannot be read."""


class AudienceUnavailable(AudienceError):
    """The CRM does not answer, or has a temporary problem. Another try may succeed.

    `retry_after`: the seconds of its Retry-After, if it sent one.
    """

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class AudienceRefused(AudienceError):
    """The CRM refused for good (a 4xx other than 408 and 429): another try would not succeed."""


class AudienceSource(Protocol):
    """A source of contacts. Every call can raise AudienceUnavailable or AudienceRefused."""

    def pages(self, org_id: str, audience: Audience) -> AsyncGenerator[ContactPage]:
        """The contacts of the audience (see `Audience.includes`), page by page.

        A page that fails is requested again for a short time. A contact may come twice if the CRM changes while it is
        read. A caller that stops early must close the generator (`aclosing`).
        """
        ...

    async def count(self, org_id: str, audience: Audience) -> int:
        """Number of contacts that `pages` would return now."""
        ...

    async def sample(self, org_id: str, audience: Audience, limit: int) -> list[Contact]:
        """Up to `limit` (at most 1,000) of the contacts that `pages` would return. Fast: a person waits for it."""
        ...

    async def left_out(self, org_id: str, audience: Audience) -> LeftOut:
        """Numbers of contacts with the audience's statuses that `pages` does not return, by reason."""
        ...

    async def contact(self, org_id: str, contact_id: str) -> Contact | None:
        """One contact; None if it does not exist."""
        ...

    async def contacts_with_email(self, org_id: str, mailbox: MailboxKey) -> list[Contact]:
        """All contacts whose address is this mailbox in one of its `search_forms`, and perhaps in other spellings,
        including those who opted out. Each contact once, by id."""
        ...

    async def opt_out(self, org_id: str, contact_id: str) -> bool:
        """Set the contact's marketingOptOut. False if the contact does not exist."""
        ...

    async def statuses(self, org_id: str) -> list[ContactStatus]:
        """The statuses that a contact can have, in the CRM's order."""
        ...

    async def probe(self) -> None:
        """Check that the source answers."""
        ...
