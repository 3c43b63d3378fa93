"""Tokens signed with a published key: which keys are used, and when they are fetched."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hmac
import json
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from marketing_service.auth import KeySet, KeySetAuthenticator
from marketing_service.auth.keys import read_key_set
from marketing_service.errors import Forbidden, Unauthenticated, Unavailable
from tests.support.clock import Clock
from tests.unit.auth.tokens import MISSING, PRIVATE_KEYS, RSA_KEY, RULES, SECRET, claims, jwk, segment, sign

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

URL = "https://keys.example.org/jwks.json"


class KeyServer:
    """Sends its keys, counts the calls, and fails on demand."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.body: Any = {"keys": list(keys)}
        self.calls = 0
        self.failure: Callable[[], Awaitable[httpx.Response]] | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == URL
        self.calls += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            return await self.failure()
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return httpx.Response(200, stream=httpx.ByteStream(body))


class Scene:
    """A key server, a clock, and an authenticator between them."""

    def __init__(self, *keys: dict[str, Any], timeout: float = 3.0) -> None:
        self.server = KeyServer(*keys)
        self.clock = Clock()
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.server))
        keyset = KeySet(client, URL, lifetime=300, cooldown=30, pause=5, timeout=timeout, clock=self.clock)
        self.authenticate = KeySetAuthenticator(keyset, RULES).authenticate


async def refuse() -> httpx.Response:
    return httpx.Response(503, stream=httpx.ByteStream(b""))


async def drop() -> httpx.Response:
    raise httpx.ConnectError("refused")


async def hang() -> httpx.Response:
    await asyncio.sleep(60)
    raise AssertionError


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_each_algorithm_needs_its_own_type_of_key(algorithm: str) -> None:
    scene = Scene(*(jwk(name, kid=name) for name in PRIVATE_KEYS))
    principal = await scene.authenticate(sign(PRIVATE_KEYS[algorithm], algorithm, kid=algorithm))
    assert principal.subject == "user-1"
    for other in {"RS256", "ES256", "EdDSA"} - {algorithm}:
        with pytest.raises(Unauthenticated):
            await scene.authenticate(sign(PRIVATE_KEYS[algorithm], algorithm, kid=other))
    assert scene.server.calls == 1


async def test_claims_are_verified_by_the_same_rules() -> None:
    scene = Scene(jwk("RS256", kid="k"))
    with pytest.raises(Unauthenticated, match="expired"):
        await scene.authenticate(sign(RSA_KEY, "RS256", kid="k", exp=1))
    with pytest.raises(Forbidden):
        await scene.authenticate(sign(RSA_KEY, "RS256", kid="k", orgId=MISSING))


async def test_a_public_key_used_as_a_shared_secret_is_refused() -> None:
    scene = Scene(jwk("RS256", kid="k"), {"kty": "oct", "k": segment(SECRET), "kid": "s"})
    pem = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = f"{segment({'alg': 'HS256', 'kid': 'k'})}.{segment(claims())}"
    forged = f"{signed}.{segment(hmac.digest(pem, signed.encode(), 'sha256'))}"
    for token in (forged, sign(SECRET, kid="s"), sign(SECRET, kid="k")):
        with pytest.raises(Unauthenticated, match="algorithm"):
            await scene.authenticate(token)
    assert scene.server.calls == 0


@pytest.mark.parametrize("algorithm", ["none", "PS256", "RS512", "ES384", "HS256", None, ["RS256"], {}])
async def test_other_algorithms_are_refused_before_any_key_is_fetched(algorithm: Any) -> None:
    scene = Scene(jwk("RS256"))
    with pytest.raises(Unauthenticated):
        await scene.authenticate(f"{segment({'alg': algorithm})}.{segment(claims())}.AAAA")
    with pytest.raises(Unauthenticated):
        await scene.authenticate("x" * 9000)
    assert scene.server.calls == 0


@pytest.mark.parametrize("kid", [7, None, [], {"a": 1}])
async def test_a_malformed_key_id_is_refused(kid: Any) -> None:
    scene = Scene(jwk("RS256", kid="k"))
    with pytest.raises(Unauthenticated):
        await scene.authenticate(f"{segment({'alg': 'RS256', 'kid': kid})}.{segment(claims())}.AAAA")


async def test_without_a_key_id_the_only_key_of_the_algorithm_is_used() -> None:
    token = sign(RSA_KEY, "RS256")
    assert (await Scene(jwk("RS256", kid="a"), jwk("ES256", kid="b")).authenticate(token)).subject == "user-1"
    with pytest.raises(Unauthenticated, match="unknown key"):
        await Scene(jwk("RS256", kid="a"), jwk("RS256", kid="b")).authenticate(token)


async def test_concurrent_callers_share_one_fetch() -> None:
    scene = Scene(jwk("RS256", kid="k"))
    token = sign(RSA_KEY, "RS256", kid="k")
    await asyncio.gather(*(scene.authenticate(token) for _ in range(50)))
    assert scene.server.calls == 1


async def test_a_cancelled_caller_does_not_cancel_the_fetch() -> None:
    scene = Scene(jwk("RS256", kid="k"))
    token = sign(RSA_KEY, "RS256", kid="k")
    first = asyncio.create_task(scene.authenticate(token))
    second = asyncio.create_task(scene.authenticate(token))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).subject == "user-1"
    assert scene.server.calls == 1


async def test_old_keys_are_fetched_again_and_removed_ones_are_dropped() -> None:
    scene = Scene(jwk("RS256", kid="old"))
    token = sign(RSA_KEY, "RS256", kid="old")
    await scene.authenticate(token)
    scene.server.body = {"keys": [jwk("RS256", kid="new")]}
    scene.clock.now += 299
    await scene.authenticate(token)
    scene.clock.now += 1
    with pytest.raises(Unauthenticated, match="unknown key"):
        await scene.authenticate(token)
    assert (await scene.authenticate(sign(RSA_KEY, "RS256", kid="new"))).subject == "user-1"
    assert scene.server.calls == 2


@pytest.mark.parametrize("failure", [refuse, drop, hang])
async def test_old_keys_stay_in_use_while_the_key_server_is_down(failure: Any) -> None:
    scene = Scene(jwk("RS256", kid="k"), timeout=0.05)
    token = sign(RSA_KEY, "RS256", kid="k")
    await scene.authenticate(token)
    scene.server.failure = failure
    scene.clock.now += 3600
    for _ in range(3):
        assert (await scene.authenticate(token)).subject == "user-1"
    assert scene.server.calls == 2, "one try, then a pause"
    scene.clock.now += 5
    await scene.authenticate(token)
    assert scene.server.calls == 3


@pytest.mark.parametrize("failure", [refuse, drop, hang])
async def test_without_any_key_the_key_server_is_named_as_unavailable(failure: Any) -> None:
    scene = Scene(jwk("RS256", kid="k"), timeout=0.05)
    scene.server.failure = failure
    token = sign(RSA_KEY, "RS256", kid="k")
    for _ in range(2):
        with pytest.raises(Unavailable) as outage:
            await scene.authenticate(token)
        assert outage.value.part == "The key server"
    assert scene.server.calls == 1, "one try, then a pause"
    scene.server.failure = None
    scene.clock.now += 5
    assert (await scene.authenticate(token)).subject == "user-1"


async def test_unknown_key_ids_cause_one_fetch_per_cooldown() -> None:
    scene = Scene(jwk("RS256", kid="k"))
    await scene.authenticate(sign(RSA_KEY, "RS256", kid="k"))
    scene.clock.now += 30
    for kid in ("x", "y", "z"):
        with pytest.raises(Unauthenticated, match="unknown key"):
            await scene.authenticate(sign(RSA_KEY, "RS256", kid=kid))
    assert scene.server.calls == 2
    scene.server.body = {"keys": [jwk("RS256", kid="k"), jwk("ES256", kid="x")]}
    scene.clock.now += 30
    assert (await scene.authenticate(sign(PRIVATE_KEYS["ES256"], "ES256", kid="x"))).subject == "user-1"
    assert scene.server.calls == 3


async def test_an_unknown_key_id_while_the_key_server_is_down_is_unavailable() -> None:
    scene = Scene(jwk("RS256", kid="k"))
    await scene.authenticate(sign(RSA_KEY, "RS256", kid="k"))
    scene.server.failure = drop
    scene.clock.now += 60
    with pytest.raises(Unavailable):
        await scene.authenticate(sign(RSA_KEY, "RS256", kid="new"))
    assert (await scene.authenticate(sign(RSA_KEY, "RS256", kid="k"))).subject == "user-1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"[" * 200_000,
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [null, 7, {}, {"kty": "oct", "k": "AAAA"}]}',
        b"\xff\xfe",
    ],
)
async def test_a_response_that_is_not_a_key_set_is_a_failure(body: bytes) -> None:
    scene = Scene()
    scene.server.body = body
    with pytest.raises(Unavailable):
        await scene.authenticate(sign(RSA_KEY, "RS256", kid="k"))


def test_a_key_set_has_at_most_a_hundred_keys() -> None:
    entries = [jwk("ES256", kid=str(number)) for number in range(101)]
    assert len(read_key_set(json.dumps({"keys": entries[:100]}).encode())) == 100
    with pytest.raises(ValueError, match="101 keys; 100 are allowed"):
        read_key_set(json.dumps({"keys": entries}).encode())


@pytest.mark.parametrize("bits", [8193, 16384, 200_000])
def test_an_rsa_key_has_at_most_8192_bits(bits: int) -> None:
    def key(size: int, exponent: int) -> dict[str, str]:
        # No real key: nothing is verified with it.
        number = ((1 << size) - 1).to_bytes((size + 7) // 8)
        power = exponent.to_bytes((exponent.bit_length() + 7) // 8)
        return {"kty": "RSA", "kid": str(size), "n": encoded(number), "e": encoded(power)}

    good = jwk("RS256", kid="good")
    entries = [good, key(8192, 65537), key(bits, 65537), key(4096, (1 << 4095) + 1)]
    assert [found.kid for found in read_key_set(json.dumps({"keys": entries}).encode())] == ["good", "8192"]


def encoded(number: bytes) -> str:
    return base64.urlsafe_b64encode(number).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "response",
    [
        lambda: httpx.Response(200, stream=httpx.ByteStream(b'{"keys": [' + b" " * 300_000 + b"]}")),
        lambda: httpx.Response(
            200,
            headers={"content-encoding": "gzip"},
            stream=httpx.ByteStream(gzip.compress(json.dumps({"keys": [jwk("RS256"), " " * 300_000]}).encode())),
        ),
        lambda: httpx.Response(302, headers={"location": "https://other.example/"}, stream=httpx.ByteStream(b"")),
    ],
    ids=["large", "gzip-bomb", "redirect"],
)
async def test_a_key_set_that_is_too_large_or_elsewhere_is_a_failure(response: Callable[[], httpx.Response]) -> None:
    scene = Scene(jwk("RS256", kid="k"))

    async def respond() -> httpx.Response:
        return response()

    scene.server.failure = respond
    with pytest.raises(Unavailable):
        await scene.authenticate(sign(RSA_KEY, "RS256", kid="k"))


def test_keys_for_other_uses_and_algorithms_are_left_out() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    other_curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    algorithms: Any = jwt.get_algorithm_by_name
    entries = [
        jwk("RS256", kid="good"),
        jwk("ES256", kid="good-too", use="sig", alg="ES256", key_ops=["verify"]),
        jwk("RS256", kid="encrypts", use="enc"),
        jwk("RS256", kid="another-algorithm", alg="RS512"),
        jwk("RS256", kid="signs", key_ops=["sign"]),
        jwk("RS256", kid="odd-operations", key_ops="verify"),
        {**jwk("RS256"), "kid": 7},
        jwk("RS256", kid="broken", n="!"),
        jwk("RS256", kid="half", e=None),
        {**algorithms("RS256").to_jwk(weak, as_dict=True), "key_ops": ["verify"], "kid": "weak"},
        {**algorithms("ES384").to_jwk(other_curve, as_dict=True), "kid": "other-curve"},
        jwk("EdDSA", kid="other-okp", crv="X25519"),
        jwk("EdDSA", kid="not-a-point", x="AAAA"),
    ]
    keys = read_key_set(json.dumps({"keys": entries}).encode())
    assert [(key.kid, key.algorithm) for key in keys] == [("good", "RS256"), ("good-too", "ES256")]


def test_a_private_key_in_the_set_is_used_as_a_public_one() -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    entry: dict[str, Any] = jwt.get_algorithm_by_name("EdDSA").to_jwk(private, as_dict=True)
    (key,) = read_key_set(json.dumps({"keys": [{**entry, "key_ops": ["sign", "verify"]}]}).encode())
    assert isinstance(key.key, ed25519.Ed25519PublicKey)
