"""A stand-in for the portal's log-in: access tokens for anybody, by e-mail address alone.

Whoever can reach it can be anybody, so it belongs on a developer's machine and nowhere else.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import jwt
from fastapi import APIRouter, Cookie, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from marketing_service.devstack.access import ACCESS_SECONDS, ALGORITHM, TokenIssuer, person_of

_REFRESH_SECONDS = 30 * 24 * 3600
_COOKIE = "refreshToken"
# A refresh token is for the log-in alone: the API refuses its audience.
_REFRESH_AUDIENCE = "marketing-service:refresh"


class Login(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    email: Annotated[str, Field(min_length=3, max_length=254)]
    password: str = ""
    mfa_code: str = ""


class AccessToken(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    access_token: str
    expires_in: int = ACCESS_SECONDS
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme


def create_login_router(secret: str, issuer: str, audience: str) -> APIRouter:
    """`POST /api/auth/login` and `POST /api/auth/refresh`, for any password and code."""
    router = APIRouter(prefix="/api/auth", tags=["Log-in stand-in"], include_in_schema=False)
    tokens = TokenIssuer(secret, issuer, audience)

    @router.post("/login")
    async def log_in(login: Login, response: Response) -> AccessToken:
        person = person_of(login.email)
        response.set_cookie(
            _COOKIE,
            _refresh_token(secret, issuer, person.email),
            max_age=_REFRESH_SECONDS,
            path="/api/auth",
            httponly=True,
            samesite="strict",
        )
        return AccessToken(access_token=tokens.token_for(person))

    @router.post("/refresh", response_model=AccessToken)
    async def refresh(refreshed: Annotated[str, Cookie(alias=_COOKIE)] = "") -> AccessToken | Response:
        try:
            email = _refreshed(secret, issuer, refreshed)["email"]
        except jwt.InvalidTokenError:
            # An answer, because what is raised is the API's to put in words.
            return JSONResponse({"detail": "There is no good refreshToken cookie: log in again."}, 401)
        return AccessToken(access_token=tokens.token_for(person_of(email)))

    return router


def _refresh_token(secret: str, issuer: str, email: str) -> str:
    expires = int(time.time()) + _REFRESH_SECONDS
    claims = {"iss": issuer, "aud": _REFRESH_AUDIENCE, "email": email, "exp": expires}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def _refreshed(secret: str, issuer: str, token: str) -> dict[str, Any]:
    return jwt.decode(
        token,
        secret,
        algorithms=[ALGORITHM],
        issuer=issuer,
        audience=_REFRESH_AUDIENCE,
        options={"require": ["exp", "email"]},
    )
