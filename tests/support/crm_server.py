"""A CRM on a loopback socket that follows its contract and can be told to misbehave."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from marketing_service.ports import Contact, ContactStatus

TOKEN = "crm-service-token"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)

    def encoded(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} X", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


if TYPE_CHECKING:
    Fault = Callable[[asyncio.StreamWriter, Reply], Awaitable[None]]


class CrmServer:
    """Contacts by organisation. Each of the `faults` replaces one good response, in order; `always` replaces all.

    With `ignores_filters`, it returns contacts that the request filters out.
    """

    def __init__(self) -> None:
        self.contacts: dict[str, list[Contact]] = {}
        self.statuses: Sequence[ContactStatus] = ()
        self.faults: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.ignores_filters = False
        self.requests: list[Request] = []

    async def __aenter__(self) -> Self:
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
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
            while (request := await read_request(reader)) is not None and not writer.is_closing():
                self.requests.append(request)
                fault = self.always or (self.faults.popleft() if self.faults else None)
                reply = self._reply(request)
                if fault is None:
                    writer.write(reply.encoded())
                    await writer.drain()
                else:
                    await fault(writer, reply)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _reply(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "Unknown token.")
        prefix, org, rest = request.path.removeprefix("/api/crm/orgs/").partition("/")
        org_id, path = (unquote(prefix), rest) if org else ("", "")
        if org_id not in self.contacts:
            return problem(404, "No such organisation.")
        if path == "contact-statuses":
            items = [{"value": status.value, "label": status.label} for status in self.statuses]
            return found({"items": items})
        if path == "contacts":
            return self._page(org_id, request.query)
        if path == "contacts/count":
            return found({"count": len(self._matching(org_id, request.query))})
        return self._one(org_id, unquote(path.removeprefix("contacts/")), request)

    def _matching(self, org_id: str, query: dict[str, list[str]]) -> list[Contact]:
        found = sorted(self.contacts[org_id], key=lambda contact: contact.id)
        if self.ignores_filters:
            return found
        if "hasEmail" in query:
            found = [contact for contact in found if bool(contact.email) is (query["hasEmail"] == ["true"])]
        if "marketingOptOut" in query:
            wanted = query["marketingOptOut"] == ["true"]
            found = [contact for contact in found if contact.marketing_opt_out is wanted]
        if "status" in query:
            found = [contact for contact in found if contact.status in query["status"]]
        if "email" in query:
            address = query["email"][0].lower()
            found = [contact for contact in found if (contact.email or "").lower() == address]
        return found

    def _page(self, org_id: str, query: dict[str, list[str]]) -> Reply:
        limit, after = int(query["limit"][0]), query.get("cursor", [""])[0]
        rest = [contact for contact in self._matching(org_id, query) if contact.id > after]
        cursor = rest[limit - 1].id if len(rest) > limit else None
        return found({"items": [as_json(contact) for contact in rest[:limit]], "nextCursor": cursor})

    def _one(self, org_id: str, contact_id: str, request: Request) -> Reply:
        contacts = self.contacts[org_id]
        position = next((i for i, contact in enumerate(contacts) if contact.id == contact_id), None)
        if position is None:
            return problem(404, "No such contact.")
        if request.method == "PATCH":
            flag = json.loads(request.body)["marketingOptOut"]
            contacts[position] = replace(contacts[position], marketing_opt_out=flag)
        return found(as_json(contacts[position]))


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request on a connection, or None at its end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Request(method, parts.path, parse_qs(parts.query), headers, body)


def as_json(contact: Contact) -> dict[str, Any]:
    return {
        "id": contact.id,
        "email": contact.email,
        "firstName": contact.first_name,
        "lastName": contact.last_name,
        "companyName": contact.company_name,
        "status": contact.status,
        "marketingOptOut": contact.marketing_opt_out,
    }


def found(body: dict[str, Any]) -> Reply:
    return Reply(200, json.dumps(body).encode())


def problem(status: int, detail: str) -> Reply:
    return Reply(status, json.dumps({"title": "Refused", "detail": detail}).encode())


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────


def answers(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Another response instead of the good one."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())

    async def fault(writer: asyncio.StreamWriter, _: Reply) -> None:
        writer.write(Reply(status, body, named).encoded())
        await writer.drain()

    return fault


def changes(change: Callable[[Any], Any]) -> Fault:
    """The good response with changed JSON."""

    async def fault(writer: asyncio.StreamWriter, reply: Reply) -> None:
        writer.write(replace(reply, body=json.dumps(change(json.loads(reply.body))).encode()).encoded())
        await writer.drain()

    return fault


async def hangs_up(writer: asyncio.StreamWriter, _: Reply) -> None:
    writer.close()


async def stops_halfway(writer: asyncio.StreamWriter, reply: Reply) -> None:
    encoded = reply.encoded()
    writer.write(encoded[: len(encoded) - len(reply.body) // 2])
    await writer.drain()
    writer.close()


async def cuts_short(writer: asyncio.StreamWriter, reply: Reply) -> None:
    """Half of the JSON in a complete HTTP response."""
    writer.write(replace(reply, body=reply.body[: len(reply.body) // 2]).encoded())
    await writer.drain()


async def says_nothing(_: asyncio.StreamWriter, __: Reply) -> None:
    await asyncio.sleep(60)


async def drips(writer: asyncio.StreamWriter, reply: Reply) -> None:
    """One byte at a time, each within any timeout of a single read."""
    for byte in reply.encoded():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)
