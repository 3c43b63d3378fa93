"""Contacts from the CRM's HTTP API, which `openapi/crm.yaml` describes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import httpx

from marketing_service.addresses import mailbox_key, search_forms
from marketing_service.audience.crm_json import read_contact, read_count, read_detail, read_page, read_statuses
from marketing_service.audience.crm_path import crm_path, is_one_segment
from marketing_service.audience.limits import validate_number_with_email
from marketing_service.audience.retry import RETRY_BACKOFF, ask_with_retries, ask_within, retry_after_seconds
from marketing_service.bounded_http import AnswerTooLarge, fetch
from marketing_service.open_files import TOO_MANY_OPEN_FILES, too_many_open_files
from marketing_service.ports import AudienceRefused, AudienceType, AudienceUnavailable, ContactPage, LeftOut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from marketing_service.addresses import MailboxKey
    from marketing_service.audience.crm_json import Page
    from marketing_service.audience.retry import Result
    from marketing_service.backoff import ExponentialBackoff
    from marketing_service.bounded_http import Answer
    from marketing_service.ports import Audience, Contact, ContactStatus

MAX_PAGE_OCTETS = 4 * 1024 * 1024
"""Octets in one page of contacts, before and after decompression: 4 KB for each of at most 1,000 contacts."""
MAX_ANSWER_OCTETS = 1024 * 1024
"""Octets in any other answer."""

_LARGE = 64 * 1024
"""Octets. A larger answer is parsed in a thread, so that the event loop continues meanwhile."""

_REQUEST_TIMEOUT = 408
_TOO_MANY_REQUESTS = 429
_NOT_FOUND = 404


class CrmAudience:
    """AudienceSource over the CRM's HTTP API.

    Durations are in seconds. A request may take `timeout`. A request for a page is repeated for up to `retry_seconds`.
    A call that a person waits for takes at most `quick_timeout` in all.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        token: str,
        *,
        page_size: int = 1000,
        timeout: float = 10.0,
        retry_seconds: float = 30.0,
        quick_timeout: float = 3.0,
        backoff: ExponentialBackoff = RETRY_BACKOFF,
    ) -> None:
        self._client = client
        self._base_url = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self._page_size = page_size
        self._timeout = timeout
        self._retry_seconds = retry_seconds
        self._quick_timeout = quick_timeout
        self._backoff = backoff

    async def pages(self, org_id: str, audience: Audience) -> AsyncGenerator[ContactPage]:
        """See AudienceSource. An incomplete page is never used. A list that repeats a cursor raises
        AudienceUnavailable; a list that never ends with new cursors is for the caller to end."""
        if audience.is_empty:
            return
        filters = _filters(audience).add("limit", self._page_size)
        cursor: str | None = None
        repetition = _Repetition()
        while True:
            asked_at, page = await ask_with_retries(
                partial(self._page, org_id, filters, cursor, self._page_size),
                retry_seconds=self._retry_seconds,
                backoff=self._backoff,
            )
            yield ContactPage([contact for contact in page.items if audience.includes(contact)], asked_at)
            cursor = page.next_cursor
            if cursor is None:
                return
            if repetition.is_repeated(cursor):
                raise AudienceUnavailable("The CRM's list of contacts does not end: a cursor is repeated.")

    async def count(self, org_id: str, audience: Audience) -> int:
        """See AudienceSource."""
        if audience.is_empty:
            return 0
        return await self._count(org_id, _filters(audience))

    async def sample(self, org_id: str, audience: Audience, limit: int) -> list[Contact]:
        """See AudienceSource."""
        if audience.is_empty:
            return []
        filters = _filters(audience).add("limit", limit)
        _, page = await self._ask_within(partial(self._page, org_id, filters, None, limit))
        return [contact for contact in page.items if audience.includes(contact)]

    async def left_out(self, org_id: str, audience: Audience) -> LeftOut:
        """See AudienceSource."""
        if audience.is_empty:
            return LeftOut(0, 0)
        filters = _filters(audience)
        return LeftOut(
            opted_out=await self._count(org_id, filters.remove("hasEmail").set("marketingOptOut", value=True)),
            without_address=await self._count(org_id, filters.set("hasEmail", value=False)),
        )

    async def contact(self, org_id: str, contact_id: str) -> Contact | None:
        """See AudienceSource. An id that cannot be one segment of a path is not sent: there is no such contact."""
        if not is_one_segment(contact_id):
            return None
        return await self._ask_within(partial(self._one, "GET", org_id, contact_id))

    async def contacts_with_email(self, org_id: str, mailbox: MailboxKey) -> list[Contact]:
        """See AudienceSource. The CRM is asked for each spelling, and each answer may take `quick_timeout`."""
        found: dict[str, Contact] = {}
        for spelling in search_forms(mailbox):
            contacts = await self._ask_within(partial(self._all_with_email, org_id, spelling))
            # The contacts found here are opted out, so the CRM's filter alone is not trusted.
            found |= {one.id: one for one in contacts if one.email and mailbox_key(one.email) == mailbox}
            validate_number_with_email(found)
        return sorted(found.values(), key=lambda contact: contact.id)

    async def opt_out(self, org_id: str, contact_id: str) -> bool:
        """See AudienceSource. For an id that cannot be one segment of a path see `contact`."""
        if not is_one_segment(contact_id):
            return False
        changed = partial(self._one, "PATCH", org_id, contact_id, body={"marketingOptOut": True})
        return await self._ask_within(changed) is not None

    async def statuses(self, org_id: str) -> list[ContactStatus]:
        """See AudienceSource."""
        return await self._ask_within(partial(self._get, crm_path(org_id, "contact-statuses"), read_statuses))

    async def _count(self, org_id: str, filters: httpx.QueryParams) -> int:
        return await self._ask_within(partial(self._get, crm_path(org_id, "contacts", "count"), read_count, filters))

    async def probe(self) -> None:
        """See AudienceSource. Any response other than a server error means that the CRM is reachable."""
        try:
            async with (
                asyncio.timeout(self._quick_timeout),
                self._client.stream("GET", self._base_url, timeout=None, follow_redirects=False) as response,
            ):
                pass  # the status is enough; the body is not read
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise _no_answer(error) from error
        if response.is_server_error:
            raise AudienceUnavailable(f"The CRM responded with {response.status_code}.")

    async def _ask_within(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        return await ask_within(ask, seconds=self._quick_timeout, backoff=self._backoff)

    async def _all_with_email(self, org_id: str, email: str) -> list[Contact]:
        filters = httpx.QueryParams({"email": email, "limit": self._page_size})
        found: list[Contact] = []
        cursor: str | None = None
        while True:
            _, page = await self._page(org_id, filters, cursor, self._page_size)
            found += page.items
            validate_number_with_email(found)
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def _page(
        self, org_id: str, filters: httpx.QueryParams, cursor: str | None, limit: int
    ) -> tuple[datetime, Page]:
        """One page of at most `limit` contacts, and the time of the request."""
        asked_at = datetime.now(UTC)
        params = filters if cursor is None else filters.add("cursor", cursor)
        read = partial(read_page, limit=limit)
        return asked_at, await self._get(crm_path(org_id, "contacts"), read, params, max_octets=MAX_PAGE_OCTETS)

    async def _one(
        self, method: str, org_id: str, contact_id: str, *, body: dict[str, bool] | None = None
    ) -> Contact | None:
        """The contact in the answer; None for a 404. It must be the one that was asked for."""
        answer = await self._ask(method, crm_path(org_id, "contacts", contact_id), body=body)
        if answer is None:
            return None
        contact = read_contact(answer)
        if contact.id != contact_id:
            raise AudienceUnavailable("The CRM answered with another contact than the one that was asked for.")
        return contact

    async def _get(
        self,
        path: str,
        read: Callable[[bytes], Result],
        params: httpx.QueryParams | None = None,
        *,
        max_octets: int = MAX_ANSWER_OCTETS,
    ) -> Result:
        body = await self._ask("GET", path, params=params, max_octets=max_octets)
        if body is None:
            raise AudienceRefused("The CRM does not know this organisation.")
        return read(body) if len(body) <= _LARGE else await asyncio.to_thread(read, body)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: httpx.QueryParams | None = None,
        body: dict[str, bool] | None = None,
        max_octets: int = MAX_ANSWER_OCTETS,
    ) -> bytes | None:
        """The complete body of the response to one request; None for a 404."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await fetch(
                    self._client,
                    method,
                    self._base_url + path,
                    max_octets=max_octets,
                    params=params,
                    json=body,
                    headers=self._headers,
                )
        except TimeoutError:
            raise AudienceUnavailable(f"The CRM did not answer within {self._timeout:g} seconds.") from None
        except AnswerTooLarge:
            raise AudienceUnavailable(f"The CRM's response is larger than {max_octets // 1024} KB.") from None
        except (httpx.HTTPError, OSError) as error:
            raise _no_answer(error) from error
        if httpx.codes.is_success(answer.status):
            return answer.body
        if answer.status == _NOT_FOUND:
            return None
        raise _failure(answer)


def _no_answer(error: Exception) -> AudienceUnavailable:
    says = TOO_MANY_OPEN_FILES if too_many_open_files(error) else f"does not answer ({type(error).__name__})"
    return AudienceUnavailable(f"The CRM {says}.")


class _Repetition:
    """Finds a repeated cursor with the memory of one cursor (Brent, 1980, "An improved Monte Carlo factorization
    algorithm", §2): each is compared with the one that came at the last power of two."""

    def __init__(self) -> None:
        self._count = 0
        self._compared: str | None = None

    def is_repeated(self, cursor: str) -> bool:
        if cursor == self._compared:
            return True
        self._count += 1
        if self._count.bit_count() == 1:
            self._compared = cursor
        return False


def _failure(answer: Answer) -> AudienceUnavailable | AudienceRefused:
    """A 4xx is final, except 408 and 429. Any other status, even a redirect by a proxy, may be temporary."""
    status = answer.status
    if httpx.codes.is_client_error(status) and status not in {_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS}:
        detail = read_detail(answer.body)
        return AudienceRefused(f"The CRM refused ({status})" + (f": {detail}" if detail else "."))
    return AudienceUnavailable(
        f"The CRM responded with {status}.", retry_after_seconds(answer.headers.get("retry-after"))
    )


def _filters(audience: Audience) -> httpx.QueryParams:
    statuses = audience.statuses if audience.type is AudienceType.BY_STATUS else ()
    return httpx.QueryParams({"hasEmail": True, "marketingOptOut": False, "status": statuses})
