"""Contacts from the CRM's HTTP API, which `openapi/crm.yaml` describes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from marketing_service.addresses import normal_form
from marketing_service.audience.crm_json import read_contact, read_count, read_detail, read_page, read_statuses
from marketing_service.audience.retry import RETRY_BACKOFF, ask_with_retries, ask_within, retry_after_seconds
from marketing_service.ports import AudienceRefused, AudienceType, AudienceUnavailable, ContactPage, LeftOut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from marketing_service.audience.crm_json import Page
    from marketing_service.audience.retry import Result
    from marketing_service.backoff import ExponentialBackoff
    from marketing_service.ports import Audience, Contact, ContactStatus

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
        """See AudienceSource. An incomplete page is never used. A list without an end raises AudienceUnavailable."""
        if audience.is_empty:
            return
        filters = _filters(audience).add("limit", self._page_size)
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            asked_at, page = await ask_with_retries(
                partial(self._page, org_id, filters, cursor), retry_seconds=self._retry_seconds, backoff=self._backoff
            )
            yield ContactPage([contact for contact in page.items if audience.includes(contact)], asked_at)
            cursor = page.next_cursor
            if cursor is None:
                return
            if cursor in seen:
                raise AudienceUnavailable("The CRM's list of contacts does not end: a cursor is repeated.")
            seen.add(cursor)

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
        _, page = await self._ask_within(partial(self._page, org_id, filters, None))
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
        """See AudienceSource."""
        if not contact_id:
            return None
        body = await self._ask_within(partial(self._ask, "GET", _path(org_id, "contacts", contact_id)))
        return None if body is None else read_contact(body)

    async def contacts_with_email(self, org_id: str, email: str) -> list[Contact]:
        """See AudienceSource. The comparison ignores case."""
        found = await self._ask_within(partial(self._all_with_email, org_id, email))
        # The contacts found here are opted out, so the CRM's filter alone is not trusted.
        return [contact for contact in found if contact.email and normal_form(contact.email) == normal_form(email)]

    async def opt_out(self, org_id: str, contact_id: str) -> bool:
        """See AudienceSource."""
        path = _path(org_id, "contacts", contact_id)
        body = await self._ask_within(partial(self._ask, "PATCH", path, body={"marketingOptOut": True}))
        return body is not None

    async def statuses(self, org_id: str) -> list[ContactStatus]:
        """See AudienceSource."""
        return await self._ask_within(partial(self._get, _path(org_id, "contact-statuses"), read_statuses))

    async def _count(self, org_id: str, filters: httpx.QueryParams) -> int:
        return await self._ask_within(partial(self._get, _path(org_id, "contacts", "count"), read_count, filters))

    async def probe(self) -> None:
        """See AudienceSource. Any response other than a server error means that the CRM is reachable."""
        try:
            response = await self._client.get(self._base_url, timeout=self._quick_timeout)
        except (httpx.HTTPError, OSError) as error:
            raise AudienceUnavailable(f"The CRM does not answer ({type(error).__name__}).") from error
        if response.is_server_error:
            raise AudienceUnavailable(f"The CRM responded with {response.status_code}.")

    async def _ask_within(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        return await ask_within(ask, seconds=self._quick_timeout, backoff=self._backoff)

    async def _all_with_email(self, org_id: str, email: str) -> list[Contact]:
        filters = httpx.QueryParams({"email": email, "limit": self._page_size})
        _, page = await self._page(org_id, filters, None)
        found = list(page.items)
        while page.next_cursor is not None:
            _, page = await self._page(org_id, filters, page.next_cursor)
            found += page.items
        return found

    async def _page(self, org_id: str, filters: httpx.QueryParams, cursor: str | None) -> tuple[datetime, Page]:
        """One page, and the time of the request."""
        asked_at = datetime.now(UTC)
        params = filters if cursor is None else filters.add("cursor", cursor)
        return asked_at, await self._get(_path(org_id, "contacts"), read_page, params)

    async def _get(self, path: str, read: Callable[[bytes], Result], params: httpx.QueryParams | None = None) -> Result:
        body = await self._ask("GET", path, params=params)
        if body is None:
            raise AudienceRefused("The CRM does not know this organisation.")
        return read(body)

    async def _ask(
        self, method: str, path: str, *, params: httpx.QueryParams | None = None, body: dict[str, bool] | None = None
    ) -> bytes | None:
        """The complete body of the response to one request; None for a 404."""
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.request(
                    method,
                    self._base_url + path,
                    params=params,
                    json=body,
                    headers=self._headers,
                    # httpx limits each read, so a CRM that sends one byte at a time would never reach its limits.
                    timeout=None,
                )
        except TimeoutError:
            raise AudienceUnavailable(f"The CRM did not answer within {self._timeout:g} seconds.") from None
        except (httpx.HTTPError, OSError) as error:
            raise AudienceUnavailable(f"The CRM does not answer ({type(error).__name__}).") from error
        if response.is_success:
            return response.content
        if response.status_code == _NOT_FOUND:
            return None
        raise _failure(response)


def _failure(response: httpx.Response) -> AudienceUnavailable | AudienceRefused:
    """A 4xx is final, except 408 and 429. Any other status, even a redirect by a proxy, may be temporary."""
    status = response.status_code
    if response.is_client_error and status not in {_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS}:
        detail = read_detail(response.content)
        return AudienceRefused(f"The CRM refused ({status})" + (f": {detail}" if detail else "."))
    return AudienceUnavailable(
        f"The CRM responded with {status}.", retry_after_seconds(response.headers.get("retry-after"))
    )


def _path(org_id: str, *segments: str) -> str:
    return "/api/crm/orgs/" + "/".join(_segment(segment) for segment in (org_id, *segments))


def _segment(text: str) -> str:
    """The text as one segment of a path. `.` and `..` are encoded, because they would be removed (RFC 3986 §5.2.4)."""
    if text in {".", ".."}:
        return text.replace(".", "%2E")
    return quote(text, safe="", errors="surrogatepass")


def _filters(audience: Audience) -> httpx.QueryParams:
    statuses = audience.statuses if audience.type is AudienceType.BY_STATUS else ()
    return httpx.QueryParams({"hasEmail": True, "marketingOptOut": False, "status": statuses})
