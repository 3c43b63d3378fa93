"""MARKETING_REDIS_URL: what a good URL means, and one sentence for each bad one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from marketing_service.redis_access import RedisAddress
from tests.support.certificate import certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://cache", {"host": "cache", "port": 6379, "db": 0}),
        ("redis://cache:7000/3", {"host": "cache", "port": 7000, "db": 3}),
        ("redis://cache/3?db=4", {"host": "cache", "port": 6379, "db": 4}),
        ("redis://[2001:db8::1]:7000", {"host": "2001:db8::1", "port": 7000, "db": 0}),
        ("redis://us%40er:p%2Fw@h", {"host": "h", "port": 6379, "db": 0, "username": "us@er", "password": "p/w"}),
        ("redis://:pw@h?client_name=m", {"host": "h", "port": 6379, "db": 0, "password": "pw", "client_name": "m"}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
        ("unix:///r?username=u&password=p", {"path": "/r", "db": 0, "username": "u", "password": "p"}),
        ("redis+sentinel://u:p@a,b:1/main/2", {"db": 2, "username": "u", "password": "p"}),
    ],
)
def test_a_url_names_the_server(url: str, server: dict[str, object]) -> None:
    address = RedisAddress.parse(url)
    assert dict(address.server) == server
    assert "p/w" not in str(address)


def test_sentinels_have_their_own_log_in_and_the_same_certificates() -> None:
    ca = certificate().path
    address = RedisAddress.parse(
        f"rediss+sentinel://user:pw@a,[::1]:27000/main?sentinel_username=s&sentinel_password=t&ssl_ca_certs={ca}"
    )
    tls = {"ssl_ca_certs": str(ca), "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert address.sentinels == (("a", 26379), ("::1", 27000))
    assert address.service == "main"
    assert dict(address.sentinel) == {"username": "s", "password": "t", **tls}
    assert dict(address.server) == {"username": "user", "password": "pw", "db": 0, **tls}


@pytest.mark.parametrize(
    ("options", "checks"),
    [
        ("", ("required", True)),
        ("?ssl_check_hostname=no", ("required", False)),
        ("?ssl_cert_reqs=none", ("none", False)),
    ],
)
def test_the_certificate_and_its_name_are_checked_unless_the_url_says_no(
    options: str, checks: tuple[str, bool]
) -> None:
    server = RedisAddress.parse(f"rediss://host{options}").server
    assert (server["ssl_cert_reqs"], server["ssl_check_hostname"]) == checks


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://host", "redis:// or rediss:// or unix:// or redis+sentinel:// or rediss+sentinel://"),
        ("redis://", "no host"),
        ("redis://[::1/0", "brackets"),
        ("redis://[::1]x/0", "brackets"),
        ("redis://host:0", "port"),
        ("redis://host:99999", "port"),
        ("redis://user:p/secret@host", "port"),
        ("redis://host/first", "number of a database"),
        ("redis://host/0/1", "number of a database"),
        ("redis://a,b/0", "only redis+sentinel://"),
        ("unix://run/redis.sock", "three slashes"),
        ("redis+sentinel://a,b", "name of a service"),
        ("redis+sentinel://a,,b/main", "no host"),
        ("redis+sentinel://a/main/x", "number of a database"),
        ("redis://host?ssl=true", "unknown option 'ssl'"),
        ("redis://host?client_nam=x", "did you mean client_name?"),
        ("redis://host?socket_timeout=60", "socket_timeout, which this service sets itself"),
        ("redis://host?ssl_ca_certs=/x", "ssl_ca_certs, which needs TLS; write rediss://"),
        ("redis://host?sentinel_password=x", "sentinel_password, which needs redis+sentinel://"),
        ("redis://host?db=1&db=2", "twice"),
        ("redis://host?db", "cannot be read"),
        ("rediss://host?ssl_cert_reqs=optional", "required or none"),
        ("rediss://host?ssl_check_hostname=maybe", "neither yes nor no"),
        ("rediss://host?ssl_ca_certs=/none.pem", "cannot be read: No such file"),
        ("rediss://host?ssl_keyfile={key}", "ssl_keyfile without ssl_certfile"),
        ("rediss://host?ssl_ca_certs={key}", "no certificate in the form PEM"),
        ("rediss://host?ssl_certfile={certificate}", "do not belong together"),
    ],
)
def test_a_bad_url_is_refused_with_a_sentence(url: str, words: str) -> None:
    filled = url.format(key=certificate().key, certificate=certificate().path)
    with pytest.raises(ValueError, match=r".") as error:
        RedisAddress.parse(filled)
    assert words in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_one_file_may_have_the_certificate_and_its_key(tmp_path: Path) -> None:
    both = tmp_path / "client.pem"
    both.write_bytes(certificate().path.read_bytes() + certificate().key.read_bytes())
    server = RedisAddress.parse(f"rediss://host?ssl_certfile={both}").server
    assert server["ssl_certfile"] == server["ssl_keyfile"] == str(both)
