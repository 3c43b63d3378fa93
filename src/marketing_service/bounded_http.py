"""HTTP requests to another system whose answer has a limit, before and after decompression.

httpx reads a whole body, and decompresses each part of it without a limit: 64 KB of gzip can become 64 MB. Here the
body is read as it came, and decompressed only up to the limit.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_GZIP = 16 + zlib.MAX_WBITS
"""The window size that makes zlib read the gzip format (RFC 1952)."""


class AnswerTooLarge(ValueError):
    """The answer is larger than the limit, before or after decompression. The rest of it is not read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of at most the requested size."""

    status: int
    headers: httpx.Headers
    body: bytes


def open_client() -> httpx.AsyncClient:
    """A client that follows no redirect and keeps no cookie: another system cannot make it send more headers."""
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(cookies=cookies, follow_redirects=False, verify=_tls_context())


@cache
def _tls_context() -> ssl.SSLContext:
    """Trusts the authorities that httpx trusts. To load them takes longer than all else that a client needs."""
    return httpx.create_ssl_context()


async def fetch(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    max_octets: int,
    headers: Mapping[str, str],
    params: httpx.QueryParams | None = None,
    json: object = None,
) -> Answer:
    """The answer to one request. The caller limits the time of the whole call.

    Its headers have at most 100 KB, a limit of httpcore. A redirect (RFC 9110 §15.4) is returned, not followed.
    Raises AnswerTooLarge if the body has more than `max_octets`, and httpx.HTTPError or OSError if there is no complete
    answer.
    """
    async with client.stream(
        method,
        url,
        params=params,
        json=json,
        headers={**headers, "accept-encoding": "gzip"},
        # httpx limits each read, so a server that sends one byte at a time would never reach its limits.
        timeout=None,
        follow_redirects=False,
    ) as response:
        body = await _read(response, max_octets)
    return Answer(response.status_code, response.headers, body)


async def _read(response: httpx.Response, max_octets: int) -> bytes:
    decoder = _Decoder(response.headers.get("content-encoding", ""), max_octets)
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) > len(str(max_octets)):
        raise AnswerTooLarge(f"the answer has more than {max_octets} bytes")
    received = 0
    parts = []
    async for part in response.aiter_raw():
        received += len(part)
        if received > max_octets:
            raise AnswerTooLarge(f"the answer has more than {max_octets} bytes")
        parts.append(decoder.decode(part))
    decoder.finish()
    return b"".join(parts)


class _Decoder:
    """Decodes one body with the coding of its Content-Encoding (RFC 9110 §8.4): none or gzip, the one asked for."""

    def __init__(self, coding: str, max_octets: int) -> None:
        name = coding.strip().lower()
        if name not in {"", "identity", "gzip", "x-gzip"}:
            raise httpx.DecodingError(f"the answer has a content coding that was not asked for: {name[:40]!a}")
        self._gzip = zlib.decompressobj(_GZIP) if name.endswith("gzip") else None
        self._left = max_octets

    def decode(self, part: bytes) -> bytes:
        if self._gzip is None:
            return part
        try:
            # One more than is allowed tells a body of exactly the limit from a larger one. 0 would mean no limit.
            decoded = self._gzip.decompress(part, self._left + 1)
        except zlib.error as error:
            raise httpx.DecodingError(f"the answer is not gzip: {error}") from error
        self._left -= len(decoded)
        if self._left < 0:
            raise AnswerTooLarge("the decompressed answer is larger than the limit")
        if self._gzip.unused_data:
            raise httpx.DecodingError("the answer continues after the end of its gzip data")
        return decoded

    def finish(self) -> None:
        if self._gzip is not None and not self._gzip.eof:
            raise httpx.DecodingError("the gzip data of the answer was cut short")
