"""Compresses a response while it is made (RFC 9110 §8.4.1.3), for callers that accept gzip."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENCODING = "gzip"
VARY = {"Vary": "Accept-Encoding"}
"""Every response that would be another one with another `Accept-Encoding` has this header."""
_LEVEL = 6
_WITH_GZIP_HEADER = zlib.MAX_WBITS | 16


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the value of `Accept-Encoding` (empty without one) allows gzip (RFC 9110 §12.5.3)."""
    weights: dict[str, bool] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.partition(";")
        weights[coding.strip()] = _is_above_zero(parameters)
    return weights.get(ENCODING, weights.get("x-gzip", weights.get("*", False)))


def _is_above_zero(parameters: str) -> bool:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return True
    try:
        return float(value) > 0
    except ValueError:
        return False


async def compressed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks as one gzip stream. Each chunk can be read as soon as it has arrived, also if the stream breaks
    later. An error of `chunks` is raised unchanged, and then the stream has no end: a reader sees that it is
    incomplete."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WITH_GZIP_HEADER)
    async for chunk in chunks:
        yield compressor.compress(chunk) + compressor.flush(zlib.Z_SYNC_FLUSH)
    yield compressor.flush()
