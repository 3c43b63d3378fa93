"""Text records, asked of a real server."""

from __future__ import annotations

import dns.rcode
import pytest

from marketing_service.ports import NamesUnavailable
from marketing_service.resolver import DnsTextRecords
from marketing_service.settings import DnsServer, _dns_server
from tests.support.names import Names


def records_of(names: Names, *, timeout: float = 5.0) -> DnsTextRecords:
    server = _dns_server(names.address)
    assert isinstance(server, DnsServer)
    return DnsTextRecords(server, timeout=timeout)


async def test_gives_each_record_in_one_piece() -> None:
    async with Names({"acme.example": [[b"v=spf1 ", b"-all"], [b"other"]]}) as names:
        assert sorted(await records_of(names).texts("acme.example")) == ["other", "v=spf1 -all"]


async def test_no_such_name_and_a_name_without_texts_give_none() -> None:
    async with Names({"empty.example": []}) as names:
        assert await records_of(names).texts("nowhere.example") == []
        assert await records_of(names).texts("empty.example") == []


async def test_a_server_that_fails_or_says_nothing_is_unavailable() -> None:
    async with Names(rcode=dns.rcode.SERVFAIL) as names:
        with pytest.raises(NamesUnavailable):
            await records_of(names, timeout=1.0).texts("acme.example")
    async with Names(silent=True) as names:
        with pytest.raises(NamesUnavailable):
            await records_of(names, timeout=0.3).texts("acme.example")


async def test_a_name_that_cannot_be_one_is_unavailable() -> None:
    async with Names() as names:
        with pytest.raises(NamesUnavailable):
            await records_of(names).texts("x" * 64 + ".example")
