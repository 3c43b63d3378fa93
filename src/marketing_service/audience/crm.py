"""The CRM over HTTP, as `openapi/crm.yaml` describes it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from marketing_service.audience.retry import ask_patiently, ask_quickly, retry_after_seconds
from marketing_service.audience.wire import read_contact, read_count, read_detail, read_page, read_statuses
from marketing_service.ports import AudienceRefused, AudienceType, AudienceUnavailable, ContactPage, LeftOut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from marketing_service.audience.retry import Answer
    from marketing_service.audience.wire import Page
    from marketing_service.ports import Audience, Contact, ContactStatus

_REQUEST_TIMEOUT = 408
_TOO_MANY_REQUESTS = 429
_NOT_FOUND = 404


class CrmAudience:
    """AudienceSource over the CRM's HTTP API.

    Durations are in seconds. A page may take `timeout`, and is asked for again for `patience`; what somebody
    waits for takes at most `quick_timeout` in all.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        token: str,
        *,
        page_size: int = 1000,
        timeout: float = 10.0,
        patience: float = 30.0,
        quick_timeout: float = 3.0,
    ) -> None:
        self._client = client
        self._base_url = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self._page_size = page_size
        self._timeout = timeout
        self._patience = patience
        self._quick_timeout = quick_timeout

    async def pages(self, org_id: str, audience: Audience) -> AsyncGenerator[ContactPage]:
        """See AudienceSource. A page counts only whole; a list that does not end makes AudienceUnavailable."""
        if _is_nobody(audience):
            return
        filters = _filters(audience).add("limit", self._page_size)
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            asked_at, page = await ask_patiently(partial(self._page, org_id, filters, cursor), patience=self._patience)
            yield ContactPage([contact for contact in page.items if _belongs(contact, audience)], asked_at)
            cursor = page.next_cursor
            if cursor is None:
                return
            if cursor in seen:
                raise AudienceUnavailable("The CRM's list of contacts goes round in a circle.")
            seen.add(cursor)

    async def count(self, org_id: str, audience: Audience) -> int:
        """See AudienceSource."""
        if _is_nobody(audience):
            return 0
        return await self._count(org_id, _filters(audience))

    async def sample(self, org_id: str, audience: Audience, most: int) -> list[Contact]:
        """See AudienceSource."""
        if _is_nobody(audience):
            return []
        filters = _filters(audience).add("limit", most)
        _, page = await self._quickly(partial(self._page, org_id, filters, None))
        return [contact for contact in page.items if _belongs(contact, audience)]

    async def left_out(self, org_id: str, audience: Audience) -> LeftOut:
        """See AudienceSource."""
        if _is_nobody(audience):
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
        body = await self._quickly(partial(self._ask, "GET", _path(org_id, "contacts", contact_id)))
        return None if body is None else read_contact(body)

    async def contacts_with_email(self, org_id: str, email: str) -> list[Contact]:
        """See AudienceSource. The same address in another case counts too."""
        found = await self._quickly(partial(self._all_with_email, org_id, email))
        # Whoever is found is opted out: the CRM's filter alone is not trusted with that.
        return [contact for contact in found if contact.email and _is_same_address(contact.email, email)]

    async def opt_out(self, org_id: str, contact_id: str) -> bool:
        """See AudienceSource."""
        path = _path(org_id, "contacts", contact_id)
        answer = await self._quickly(partial(self._ask, "PATCH", path, body={"marketingOptOut": True}))
        return answer is not None

    async def statuses(self, org_id: str) -> list[ContactStatus]:
        """See AudienceSource."""
        return await self._quickly(partial(self._get, _path(org_id, "contact-statuses"), read_statuses))

    async def _count(self, org_id: str, filters: httpx.QueryParams) -> int:
        return await self._quickly(partial(self._get, _path(org_id, "contacts", "count"), read_count, filters))

    async def probe(self) -> None:
        """See AudienceSource. Whatever it answers, short of a failure of its own, is an answer."""
        try:
            answer = await self._client.get(self._base_url, timeout=self._quick_timeout)
        except (httpx.HTTPError, OSError) as error:
            raise AudienceUnavailable(f"The CRM does not answer ({type(error).__name__}).") from error
        if answer.is_server_error:
            raise AudienceUnavailable(f"The CRM answered {answer.status_code}.")

    async def _quickly(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        return await ask_quickly(ask, seconds=self._quick_timeout)

    async def _all_with_email(self, org_id: str, email: str) -> list[Contact]:
        filters = httpx.QueryParams({"email": email, "limit": self._page_size})
        _, page = await self._page(org_id, filters, None)
        found = list(page.items)
        while page.next_cursor is not None:
            _, page = await self._page(org_id, filters, page.next_cursor)
            found += page.items
        return found

    async def _page(self, org_id: str, filters: httpx.QueryParams, cursor: str | None) -> tuple[datetime, Page]:
        """One page, and when it was asked for."""
        asked_at = datetime.now(UTC)
        params = filters if cursor is None else filters.add("cursor", cursor)
        return asked_at, await self._get(_path(org_id, "contacts"), read_page, params)

    async def _get(self, path: str, read: Callable[[bytes], Answer], params: httpx.QueryParams | None = None) -> Answer:
        body = await self._ask("GET", path, params=params)
        if body is None:
            raise AudienceRefused("The CRM does not know this organisation.")
        return read(body)

    async def _ask(
        self, method: str, path: str, *, params: httpx.QueryParams | None = None, body: dict[str, bool] | None = None
    ) -> bytes | None:
        """What one request is answered with, whole; None where the CRM has no such thing."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._client.request(
                    method,
                    self._base_url + path,
                    params=params,
                    json=body,
                    headers=self._headers,
                    # The client's own limits hold for each read: a CRM that drips would never reach them.
                    timeout=None,
                )
        except TimeoutError:
            raise AudienceUnavailable(f"The CRM did not answer within {self._timeout:g} seconds.") from None
        except (httpx.HTTPError, OSError) as error:
            raise AudienceUnavailable(f"The CRM does not answer ({type(error).__name__}).") from error
        if answer.is_success:
            return answer.content
        if answer.status_code == _NOT_FOUND:
            return None
        raise _failure(answer)


def _failure(answer: httpx.Response) -> AudienceUnavailable | AudienceRefused:
    """A 4xx is a definite no, but for those that say to come back; a redirect may be a proxy's passing mood."""
    status = answer.status_code
    if answer.is_client_error and status not in {_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS}:
        detail = read_detail(answer.content)
        return AudienceRefused(f"The CRM refused ({status})" + (f": {detail}" if detail else "."))
    return AudienceUnavailable(f"The CRM answered {status}.", retry_after_seconds(answer.headers.get("retry-after")))


def _path(org_id: str, *segments: str) -> str:
    return "/api/crm/orgs/" + "/".join(_segment(segment) for segment in (org_id, *segments))


def _segment(text: str) -> str:
    """Any text as one segment of a path. `.` and `..` would be resolved away (RFC 3986 §5.2.4)."""
    if text in {".", ".."}:
        return text.replace(".", "%2E")
    return quote(text, safe="", errors="surrogatepass")


def _filters(audience: Audience) -> httpx.QueryParams:
    statuses = audience.statuses if audience.type is AudienceType.BY_STATUS else ()
    return httpx.QueryParams({"hasEmail": True, "marketingOptOut": False, "status": statuses})


def _is_nobody(audience: Audience) -> bool:
    """Without a status, the CRM would take the filter for none at all and give everybody."""
    return audience.type is AudienceType.BY_STATUS and not audience.statuses


def _belongs(contact: Contact, audience: Audience) -> bool:
    """Whether the contact is one we asked for: a filter that the CRM overlooks must not mail anybody."""
    return (
        bool(contact.email)
        and not contact.marketing_opt_out
        and (audience.type is AudienceType.ALL or contact.status in audience.statuses)
    )


def _is_same_address(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()
