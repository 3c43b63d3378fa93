import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from fastapi import FastAPI

from marketing_service.auth import mint_token
from marketing_service.devstack.login import create_login_router

SECRET = "s" * 32


@pytest.fixture
async def portal() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(create_login_router(SECRET, "portal", "marketing"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://portal.localhost") as client:
        yield client


def claims_of(response: httpx.Response) -> dict[str, Any]:
    token = response.json()["accessToken"]
    return jwt.decode(token, SECRET, algorithms=["HS256"], issuer="portal", audience="marketing")


@pytest.mark.parametrize(
    ("email", "org_id", "roles"),
    [
        ("you@example.com", "acme", ["ADMIN"]),
        ("You@Example.com", "acme", ["ADMIN"]),
        ("viewer@example.com", "acme", ["VIEWER"]),
        ("other@example.org", "globex", ["ADMIN"]),
        ("anybody@example.net", "acme", ["VIEWER"]),
    ],
)
async def test_any_password_logs_in_as_the_user_with_that_address(
    portal: httpx.AsyncClient, email: str, org_id: str, roles: list[str]
) -> None:
    response = await portal.post("/api/auth/login", json={"email": email, "password": "...", "mfaCode": "123456"})
    assert (response.status_code, response.json()["expiresIn"], response.json()["tokenType"]) == (200, 900, "Bearer")
    claims = claims_of(response)
    assert (claims["orgId"], claims["roles"], claims["features"]) == (org_id, roles, ["marketing"])
    assert claims["exp"] - claims["iat"] == 900
    assert "@" not in claims["sub"]


async def test_the_cookie_gives_a_new_token_for_the_same_user(portal: httpx.AsyncClient) -> None:
    logged_in = await portal.post("/api/auth/login", json={"email": "other@example.org"})
    cookie = logged_in.headers["set-cookie"]
    assert cookie.startswith("refreshToken=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()

    refreshed = await portal.post("/api/auth/refresh")
    assert claims_of(refreshed)["sub"] == claims_of(logged_in)["sub"]
    assert claims_of(refreshed)["orgId"] == "globex"


async def test_after_a_log_out_neither_the_cookie_nor_a_copy_of_it_gives_a_token(portal: httpx.AsyncClient) -> None:
    await portal.post("/api/auth/login", json={"email": "you@example.com"})
    copy = portal.cookies["refreshToken"]
    ended = await portal.post("/api/auth/logout")
    assert (ended.status_code, ended.content) == (204, b"")
    assert "refreshToken" not in portal.cookies
    assert (await portal.post("/api/auth/refresh")).status_code == 401
    portal.cookies.set("refreshToken", copy, domain="portal.localhost", path="/api/auth")
    assert (await portal.post("/api/auth/refresh")).status_code == 401


async def test_a_log_out_ends_only_its_own_session(portal: httpx.AsyncClient) -> None:
    await portal.post("/api/auth/login", json={"email": "you@example.com"})
    other_device = portal.cookies["refreshToken"]
    await portal.post("/api/auth/login", json={"email": "you@example.com"})
    await portal.post("/api/auth/logout")
    portal.cookies.set("refreshToken", other_device, domain="portal.localhost", path="/api/auth")
    assert (await portal.post("/api/auth/refresh")).status_code == 200


@pytest.mark.parametrize("cookie", ["", "nonsense"])
async def test_a_log_out_without_a_session_does_nothing(portal: httpx.AsyncClient, cookie: str) -> None:
    headers = {"cookie": f"refreshToken={cookie}"} if cookie else {}
    assert (await portal.post("/api/auth/logout", headers=headers)).status_code == 204


async def test_a_refresh_token_is_not_an_access_token_and_vice_versa(portal: httpx.AsyncClient) -> None:
    logged_in = await portal.post("/api/auth/login", json={"email": "you@example.com"})
    cookie = portal.cookies["refreshToken"]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(cookie, SECRET, algorithms=["HS256"], audience="marketing")
    portal.cookies.clear()
    portal.cookies.set("refreshToken", logged_in.json()["accessToken"])
    assert (await portal.post("/api/auth/refresh")).status_code == 401
    portal.cookies.clear()
    assert (await portal.post("/api/auth/refresh")).status_code == 401


async def test_a_login_without_an_address_is_refused(portal: httpx.AsyncClient) -> None:
    assert (await portal.post("/api/auth/login", json={"password": "..."})).status_code == 422


def test_a_token_is_valid_from_the_given_time_for_the_given_lifetime() -> None:
    def token(now: float) -> str:
        return mint_token(
            SECRET,
            "portal",
            "marketing",
            subject="me",
            org_id="acme",
            roles=["ADMIN"],
            features=["marketing"],
            lifetime_seconds=60,
            now=now,
        )

    decoding: Any = {"algorithms": ["HS256"], "issuer": "portal", "audience": "marketing"}
    assert jwt.decode(token(time.time()), SECRET, **decoding)["sub"] == "me"
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(token(time.time() - 61), SECRET, **decoding)
