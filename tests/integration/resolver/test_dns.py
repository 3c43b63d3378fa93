"""Lookups of TXT records at a real server."""

from __future__ import annotations

from ipaddress import ip_address

import dns.rcode
import pytest

from marketing_service.ports import DnsUnavailable
from marketing_service.resolver import DnsTextRecords
from tests.support.names import Names


def records_of(names: Names, *, timeout: float = 5.0) -> DnsTextRecords:
    host, _, port = names.address.rpartition(":")
    return DnsTextRecords((ip_address(host), int(port)), timeout=timeout)


async def test_returns_each_record_as_one_string() -> None:
    async with Names({"acme.example": [[b"v=spf1 ", b"-all"], [b"other"]]}) as names:
        assert sorted(await records_of(names).texts("acme.example")) == ["other", "v=spf1 -all"]


async def test_an_unknown_name_and_a_name_without_records_return_nothing() -> None:
    async with Names({"empty.example": []}) as names:
        assert await records_of(names).texts("nowhere.example") == []
        assert await records_of(names).texts("empty.example") == []


async def test_a_server_that_fails_or_does_not_answer_is_unavailable() -> None:
    async with Names(rcode=dns.rcode.SERVFAIL) as names:
        with pytest.raises(DnsUnavailable):
            await records_of(names, timeout=1.0).texts("acme.example")
    async with Names(silent=True) as names:
        with pytest.raises(DnsUnavailable):
            await records_of(names, timeout=0.3).texts("acme.example")


async def test_an_invalid_name_is_unavailable() -> None:
    async with Names() as names:
        with pytest.raises(DnsUnavailable):
            await records_of(names).texts("x" * 64 + ".example")
