"""Redis over TLS: certificates of an own authority, certificates of clients, and the cause if they do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from marketing_service.devstack.process import free_port
from marketing_service.errors import Unavailable
from marketing_service.ports import Limit, Rate
from marketing_service.queue import ArqJobQueue, connect
from marketing_service.rates import RequestRates, limiter_redis
from tests.support.certificate import certificate
from tests.support.redis_server import WITH_TLS, missing_tls, redis_server
from tests.support.world import open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from marketing_service.db import Database

pytestmark = pytest.mark.skipif(missing_tls() is not None, reason=f"needs a Redis with TLS: {missing_tls()}")


class Ports(NamedTuple):
    """Of one server that asks for a client's certificate, and of one that does not."""

    strict: int
    lenient: int


def files() -> list[str]:
    """The options of a server with the certificate of the tests."""
    return [
        "--tls-cert-file", str(certificate().path), "--tls-key-file", str(certificate().key),
        "--tls-ca-cert-file", str(certificate().path),
    ]  # fmt: skip


@pytest.fixture(scope="module")
async def ports(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ports]:
    found = Ports(free_port(), free_port())
    strict = ["--tls-port", str(found.strict), *files(), "--tls-auth-clients", "yes"]
    lenient = [
        "--tls-port",
        str(found.lenient),
        *files(),
        "--tls-auth-clients",
        "no",
        "--bind",
        "127.0.0.1",
        "127.0.0.2",
    ]
    async with (
        redis_server(tmp_path_factory.mktemp("strict"), *strict, program=WITH_TLS),
        redis_server(tmp_path_factory.mktemp("lenient"), *lenient, program=WITH_TLS),
    ):
        yield found


async def pinged(url: str) -> str | None:
    """Why the queue at this URL cannot be used; None if it can."""
    redis = connect(url)
    try:
        await ArqJobQueue(redis).ping()
    except Unavailable as outage:
        return f"{outage.detail} {outage.cause}"
    finally:
        await redis.aclose(close_connection_pool=True)
    return None


async def test_a_campaign_is_sent_over_tls_with_a_client_certificate(
    owner: Database, database_url: str, ports: Ports
) -> None:
    ca, key = certificate().path, certificate().key
    url = f"rediss://127.0.0.1:{ports.strict}/0?ssl_ca_certs={ca}&ssl_certfile={ca}&ssl_keyfile={key}"
    async with open_world(owner, database_url, url, rate_relay="1000/second") as world, world.working():
        campaign_id = await world.launch()
        await world.until_status(campaign_id, "SENT")
    redis = limiter_redis(url)
    limiter = RequestRates(redis, {Limit.TOKEN: [Rate(100_000, 60)]}, timeout=5)

    async def shared() -> bool:  # a handshake may take longer than a request waits
        return (await limiter.take(Limit.TOKEN, "somebody")).allowed and not limiter.local

    await until(shared)
    await limiter.aclose()
    await redis.aclose(close_connection_pool=True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("?ssl_ca_certs={ca}", None),
        ("?ssl_cert_reqs=none", None),
        ("", "cannot be reached over TLS"),  # the machine's authorities did not sign it
    ],
)
async def test_the_certificate_of_the_server_is_checked(ports: Ports, options: str, problem: str | None) -> None:
    said = await pinged(f"rediss://127.0.0.1:{ports.lenient}/0{options.format(ca=certificate().path)}")
    assert (said is None) if problem is None else (said is not None and problem in said)


async def test_the_name_of_the_server_is_checked(ports: Ports) -> None:
    """The certificate is for 127.0.0.1 and localhost."""
    url = f"rediss://127.0.0.2:{ports.lenient}/0?ssl_ca_certs={certificate().path}"
    refused = await pinged(url)
    assert refused is not None
    assert "cannot be reached over TLS" in refused
    assert await pinged(f"{url}&ssl_check_hostname=no") is None
    assert await pinged(url.replace("127.0.0.2", "localhost")) is None


async def test_a_missing_client_certificate_is_named(ports: Ports) -> None:
    """With TLS 1.3, the server says so only after the client's handshake, and it may end the connection first."""
    said = await pinged(f"rediss://127.0.0.1:{ports.strict}/0?ssl_ca_certs={certificate().path}")
    assert said is not None
    assert "cannot be reached over TLS" in said or "has ended the connection" in said


async def test_a_sentinel_and_its_server_are_reached_over_tls(ports: Ports, tmp_path: Path) -> None:
    """With a client certificate at the server, which the Sentinel also needs."""
    ca, key = certificate().path, certificate().key
    port = free_port()
    file = tmp_path / "sentinel.conf"
    file.write_text(f"sentinel monitor marketing 127.0.0.1 {ports.strict} 1\n")
    options = ["--sentinel", "--tls-port", str(port), *files(), "--tls-replication", "yes"]
    url = f"rediss+sentinel://127.0.0.1:{port}/marketing?ssl_ca_certs={ca}&ssl_certfile={ca}&ssl_keyfile={key}"
    async with redis_server(tmp_path, *options, program=WITH_TLS, file=file):

        async def reached() -> bool:
            return await pinged(url) is None

        await until(reached)
