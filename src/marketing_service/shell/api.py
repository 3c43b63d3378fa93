"""The client of the API for the commands of a shell."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from marketing_service.errors import SettingsError
from marketing_service.shell.errors import CommandFailed, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

URL, TOKEN = "MARKETING_API_URL", "MARKETING_API_TOKEN"
_BASE = "/api/marketing"
_PROBLEM = "application/problem+json"
_SECONDS = 30.0
_SILENCE_SECONDS = 60.0
"""The API sends something at least every 15 seconds."""


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    data: dict[str, Any]


class ConnectionBroken(CommandFailed):
    """The API cannot be reached, or a response has no end. The same request may succeed later."""


class Api:
    """One connection to the API. Every method raises CommandFailed."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    @staticmethod
    @contextmanager
    def open(environment: Mapping[str, str]) -> Iterator[Api]:
        """The API that the environment names. Raises SettingsError."""
        url, token = environment.get(URL, "").rstrip("/"), environment.get(TOKEN, "").strip()
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
            raise SettingsError(f"{URL} must be the address of the API, such as https://marketing.example.com")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise SettingsError(f"{TOKEN} must be an access token of the portal, without `Bearer`")
        headers = {"Authorization": f"Bearer {token}"}
        try:
            client = httpx.Client(base_url=url + _BASE, headers=headers, timeout=_SECONDS)
        except httpx.InvalidURL as error:
            raise SettingsError(f"{URL} is no address: {error}") from error
        with client:
            yield Api(client)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._json("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._json("POST", path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})

    def events(self, path: str) -> Iterator[Event]:
        """The events until the stream ends. Raises ConnectionBroken if it breaks."""
        with self._stream(path) as response:
            name = ""
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield Event(name, json.loads(value))

    def download(self, path: str, **query: Any) -> Iterator[bytes]:
        """The octets of a file. Raises ConnectionBroken if it breaks: then what was given is not all of it."""
        with self._stream(path, **query) as response:
            yield from response.iter_bytes()

    @contextmanager
    def _stream(self, path: str, **query: Any) -> Iterator[httpx.Response]:
        with (
            _one_line_errors(self._client),
            self._client.stream(
                "GET", path, params=query, timeout=httpx.Timeout(_SECONDS, read=_SILENCE_SECONDS)
            ) as response,
        ):
            if response.is_error:
                response.read()
                raise _refused(response)
            yield response

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        with _one_line_errors(self._client):
            response = self._client.request(method, path, **options)
        if response.is_error:
            raise _refused(response)
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise CommandFailed(f"{URL} does not lead to the API: the response is no JSON object.", os.EX_CONFIG)
        return found


@contextmanager
def _one_line_errors(client: httpx.Client) -> Iterator[None]:
    try:
        yield
    except httpx.ConnectError as error:
        detail = f"The API at {client.base_url} cannot be reached ({error}). Check {URL}, and whether the service runs."
        raise ConnectionBroken(detail, os.EX_UNAVAILABLE) from error
    except httpx.HTTPError as error:
        detail = f"The connection to the API broke ({error or type(error).__name__}). Try again."
        raise ConnectionBroken(detail, os.EX_TEMPFAIL) from error


def _refused(response: httpx.Response) -> CommandFailed:
    """The error of a problem response, in its own words."""
    status = response.status_code
    if response.headers.get("content-type", "").startswith(_PROBLEM):
        detail = str(response.json()["detail"])
    else:
        detail = f"{URL} does not lead to the API, or a proxy refuses the request: the status is {status}."
    if status == httpx.codes.UNAUTHORIZED:
        detail += f" Then set {TOKEN} to the new token."
    return CommandFailed(detail, exit_code_of(status))
