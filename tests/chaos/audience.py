"""A CRM of any size with every special case, and the rows that an expansion must create from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.support.crm_server import found, read_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_EVERY = 50
_DUPLICATE, _MALFORMED, _OPTED_OUT = 7, 11, 13


def opted_out_addresses(contacts: int) -> list[str]:
    """The addresses that opted out in the service; the CRM does not know of them."""
    return [_email(number) for number in range(_OPTED_OUT, contacts, _EVERY)]


def expected_rows(contacts: int) -> dict[str, tuple[str, str | None]]:
    """The only correct result of an expansion: for each contact id the first status of its row and the reason."""
    outcomes: dict[int, tuple[str, str | None]] = {
        _DUPLICATE: ("SKIPPED", "DUPLICATE"),
        _MALFORMED: ("FAILED", "MALFORMED_ADDRESS"),
        _OPTED_OUT: ("SKIPPED", "OPTED_OUT"),
    }
    return {_id(number): outcomes.get(number % _EVERY, ("QUEUED", None)) for number in range(contacts)}


def _id(number: int) -> str:
    return f"c{number:07}"


def _email(number: int) -> str:
    if number % _EVERY == _DUPLICATE:
        return f"PERSON{number - 1}@example.com"
    return f"person{number} at example.com" if number % _EVERY == _MALFORMED else f"person{number}@example.com"


def _contact(number: int) -> dict[str, Any]:
    return {
        "id": _id(number),
        "email": _email(number),
        "firstName": "Zoë",
        "lastName": None,
        "companyName": "Example",
        "status": "CUSTOMER",
        "marketingOptOut": False,
    }


@dataclass
class LargeCrm:
    """Generates the contacts of each page on request. Every page begins with the last contact of the page before it.
    `before_page` is called with the number of a page before the response with that page."""

    contacts: int
    page_size: int
    before_page: Callable[[int], Awaitable[None]] | None = None
    url: str = ""
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def last_page(self) -> int:
        return (self.contacts - 1) // self._new_per_page

    @property
    def _new_per_page(self) -> int:
        """A page has at most `page_size` contacts, with the repeated one."""
        return self.page_size - 1

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                page = int(request.query.get("cursor", ["0"])[0])
                if self.before_page is not None:
                    await self.before_page(page)
                first = page * self._new_per_page
                numbers = range(max(first - 1, 0), min(first + self._new_per_page, self.contacts))
                cursor = str(page + 1) if page < self.last_page else None
                writer.write(found({"items": [_contact(n) for n in numbers], "nextCursor": cursor}).encoded())
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
