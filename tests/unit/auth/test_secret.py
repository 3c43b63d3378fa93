"""Tokens signed with the shared secret: which are valid, and which are refused."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.auth import Principal, SecretAuthenticator
from marketing_service.auth.verify import MAX_TOKEN_LENGTH
from marketing_service.errors import Forbidden, Unauthenticated
from tests.unit.auth.tokens import EC_KEY, MISSING, RSA_KEY, RULES, SECRET, claims, segment, sign

authenticator = SecretAuthenticator(SECRET, RULES)
# The time of the collection of the tests. They may run minutes later.
NOW = int(time.time())


async def test_a_valid_token_returns_its_principal() -> None:
    expires_at = NOW + 24 * 3600
    assert await authenticator.authenticate(sign(exp=expires_at)) == Principal(
        subject="user-1",
        org_id="org-1",
        roles=frozenset({"ADMIN"}),
        features=frozenset({"crm", "marketing"}),
        may_write=True,
        expires_at=expires_at + RULES.leeway,
    )


@pytest.mark.parametrize(
    ("roles", "may_write"),
    [
        (["ADMIN"], True),
        (["VIEWER", "MANAGER"], True),
        (["SUPER_ADMIN"], True),
        (["admin"], False),
        (["ADMIN "], False),
        (["VIEWER"], False),
        ([], False),
        (None, False),
        (MISSING, False),
    ],
)
async def test_writing_needs_one_of_the_roles_in_its_exact_case(roles: Any, may_write: bool) -> None:
    principal = await authenticator.authenticate(sign(roles=roles))
    assert principal.may_write is may_write


async def test_a_token_without_features_is_fine() -> None:
    assert (await authenticator.authenticate(sign(features=MISSING))).features is None


@pytest.mark.parametrize(
    "features", [[], ["crm"], ["Marketing"], None, "marketing", {"marketing": True}, [["marketing"]]]
)
async def test_features_without_marketing_are_forbidden(features: Any) -> None:
    with pytest.raises(Forbidden) as refusal:
        await authenticator.authenticate(sign(features=features))
    assert refusal.value.code == "feature"


@pytest.mark.parametrize(
    "org_id",
    [MISSING, None, "", 7, True, ["org-1"], {"id": "org-1"}, "o" * 65, "org\x001", "org\n1", "org\ud800", "\u202eorg"],
)
async def test_no_organisation_is_forbidden(org_id: Any) -> None:
    with pytest.raises(Forbidden) as refusal:
        await authenticator.authenticate(sign(orgId=org_id))
    assert refusal.value.code == "no-organisation"


async def test_an_organisation_of_64_characters_in_any_script_is_fine() -> None:
    assert (await authenticator.authenticate(sign(orgId="é" * 64))).org_id == "é" * 64


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"exp": NOW - 31}, "has expired"),
        ({"nbf": NOW + 36_000}, "not valid yet"),
        ({"iat": NOW + 36_000}, "not valid yet"),
        ({"iss": "somebody"}, "another issuer"),
        ({"iss": ["portal"]}, "another issuer"),
        ({"aud": "billing"}, "another audience"),
        ({"aud": ["billing"]}, "another audience"),
        ({"aud": {"marketing": 1}}, "another audience"),
        ({"exp": MISSING}, "has no claim exp"),
        ({"iss": MISSING}, "has no claim iss"),
        ({"aud": MISSING}, "has no claim aud"),
        ({"sub": MISSING}, "has no claim sub"),
        ({"sub": None}, "has no claim sub"),
        ({"sub": ""}, "sub must be"),
        ({"sub": "a\x00b"}, "sub must be"),
        ({"sub": "s" * 256}, "sub must be"),
        ({"roles": "ADMIN"}, "array of strings"),
        ({"roles": ["ADMIN", 1]}, "array of strings"),
        ({"roles": {"ADMIN": True}}, "array of strings"),
    ],
)
async def test_claims_that_are_wrong_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Unauthenticated, match=sentence):
        await authenticator.authenticate(sign(**changes))


@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "sub", "iss", "aud"])
@pytest.mark.parametrize("value", [[], {}, "", float("inf"), float("nan"), True, [[[]]]])
async def test_claims_of_wrong_types_are_refused(name: str, value: Any) -> None:
    if value is True and name in {"nbf", "iat"}:
        value = {"since": True}  # `true` counts as 1, long past
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(sign(**{name: value}))


async def test_a_very_large_time_is_accepted() -> None:
    assert (await authenticator.authenticate(sign(exp=10**400))).subject == "user-1"


async def test_clocks_may_differ_by_thirty_seconds() -> None:
    now = int(time.time())
    token = sign(exp=now - 15, iat=now + 15, nbf=now + 15)
    assert (await authenticator.authenticate(token)).subject == "user-1"


async def test_the_names_of_the_claims_are_settings() -> None:
    rules = replace(RULES, org_claim="https://x/tenant", roles_claim="groups", features_claim="plan", feature="mail")
    named: dict[str, Any] = {"https://x/tenant": "org-9", "groups": ["MANAGER"], "plan": ["mail"], "orgId": MISSING}
    token = sign(**named)
    principal = await SecretAuthenticator(SECRET, rules).authenticate(token)
    assert (principal.org_id, principal.roles, principal.may_write) == ("org-9", frozenset({"MANAGER"}), True)


def _hs256(signed: str) -> bytes:
    signature: bytes = jwt.get_algorithm_by_name("HS256").sign(signed.encode(), SECRET)
    return signature


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS512", "RS256", "hs256"])
async def test_a_header_that_names_another_algorithm_is_refused(algorithm: str) -> None:
    signed = f"{segment({'alg': algorithm, 'typ': 'JWT'})}.{segment(claims())}"
    for signature in ("", segment(_hs256(signed))):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(f"{signed}.{signature}")


@pytest.mark.parametrize("header", [{}, {"alg": None}, {"alg": ["HS256"]}, {"alg": "HS256", "crit": ["x"], "x": 1}])
async def test_malformed_headers_are_refused(header: dict[str, Any]) -> None:
    signed = f"{segment(header)}.{segment(claims())}"
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(f"{signed}.{segment(_hs256(signed))}")


@pytest.mark.parametrize(
    "token",
    [
        sign(key=b"x" * 32),
        sign(key=b"x" * 64, algorithm="HS512"),
        sign(key=SECRET * 2, algorithm="HS512"),
        sign(key=RSA_KEY, algorithm="RS256"),
        sign(key=EC_KEY, algorithm="ES256"),
        sign()[:-4] + "AAAA",
        sign().rsplit(".", 1)[0] + ".",
        "",
        ".",
        "..",
        "a.b.c",
        "\x00",
        "\ud800.\ud800.\ud800",
        "é.é.é",
        segment(b"[" * 4000) + ".e30.e30",
        segment(b"[]") + ".e30.e30",
        segment(b"\xff\xfe") + ".e30.e30",
    ],
)
async def test_other_signatures_and_rubbish_are_refused(token: str) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(token)


async def test_a_payload_that_is_not_an_object_is_refused() -> None:
    for payload in (b"[]", b"null", b"[" * 3000, b"{", b"\xff"):
        signed = f"{segment({'alg': 'HS256'})}.{segment(payload)}"
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(f"{signed}.{segment(_hs256(signed))}")


async def test_an_oversized_token_is_refused_before_decoding() -> None:
    with pytest.raises(Unauthenticated, match="longer than"):
        await authenticator.authenticate(sign(padding="x" * MAX_TOKEN_LENGTH))


@given(st.text(max_size=200))
async def test_text_of_any_kind_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(token)


def test_a_public_key_is_refused_as_a_secret() -> None:
    with pytest.raises(jwt.InvalidKeyError):
        SecretAuthenticator(b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", RULES)
