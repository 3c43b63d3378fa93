"""The compression of a response: who gets it, and what a reader of an incomplete one has."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest

from marketing_service.api.gzip_stream import accepts_gzip, compressed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("br, gzip;q=0.5", True),
        ("deflate, br", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*", True),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("gzip, *;q=0", True),
        ("gzip;q=nonsense", False),
        ("gzip;other=1", True),
        ("gzipped", False),
        (",,;;", False),
    ],
)
def test_gzip_is_used_only_where_it_is_accepted(accept_encoding: str, accepted: bool) -> None:
    assert accepts_gzip(accept_encoding) is accepted


async def chunks(*octets: bytes, error: bool = False) -> AsyncIterator[bytes]:
    for chunk in octets:
        yield chunk
    if error:
        raise LookupError


async def test_every_chunk_can_be_read_when_it_has_arrived() -> None:
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    stream = compressed(chunks(b"one", b"two" * 1000, b"three"))
    assert reader.decompress(await anext(stream)) == b"one"
    assert reader.decompress(await anext(stream)) == b"two" * 1000
    assert reader.decompress(await anext(stream)) == b"three"
    assert not reader.eof
    assert reader.decompress(await anext(stream)) == b""
    assert reader.eof


async def test_an_error_leaves_the_stream_without_its_end() -> None:
    stream = compressed(chunks(b"one", error=True))
    octets = await anext(stream)
    with pytest.raises(LookupError):
        await anext(stream)
    with pytest.raises(EOFError):
        gzip.decompress(octets)


async def test_an_empty_response_is_a_complete_stream() -> None:
    assert gzip.decompress(b"".join([piece async for piece in compressed(chunks())])) == b""
