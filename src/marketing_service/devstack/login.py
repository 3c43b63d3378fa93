"""The development log-in, in place of the portal's: an access token for any email address and any password.

Anyone who can reach it can log in as anyone. Use it on a developer's machine only.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import Annotated, Any

import jwt
from fastapi import APIRouter, Cookie, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from marketing_service.devstack.access import ACCESS_SECONDS, ALGORITHM, TokenIssuer, person_for

_REFRESH_SECONDS = 30 * 24 * 3600
_COOKIE = "refreshToken"
# Only the log-in accepts a refresh token: the API refuses its audience.
_REFRESH_AUDIENCE = "marketing-service:refresh"
_MAX_ENDED = 10_000
"""The number of ended sessions that the process remembers."""


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
    """`POST /api/auth/login`, `/refresh` and `/logout`. Any password and any code are accepted."""
    router = APIRouter(prefix="/api/auth", tags=["development log-in"], include_in_schema=False)
    tokens = TokenIssuer(secret, issuer, audience)
    ended: dict[str, None] = {}  # the ids of the sessions that were ended here, oldest first

    @router.post("/login")
    async def log_in(login: Login, response: Response) -> AccessToken:
        person = person_for(login.email)
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
            session = _refreshed(secret, issuer, refreshed)
        except jwt.InvalidTokenError:
            # Returned, not raised: the API would turn an exception into its own problem response.
            return JSONResponse({"detail": "The refreshToken cookie is missing or not valid. Log in again."}, 401)
        if session["jti"] in ended:
            return JSONResponse({"detail": "The session was ended. Log in again."}, 401)
        return AccessToken(access_token=tokens.token_for(person_for(session["email"])))

    @router.post("/logout", status_code=204)
    async def log_out(response: Response, refreshed: Annotated[str, Cookie(alias=_COOKIE)] = "") -> None:
        """End the session of the cookie, also for a copy of the cookie. Without a session there is nothing to do."""
        with suppress(jwt.InvalidTokenError):
            ended[_refreshed(secret, issuer, refreshed)["jti"]] = None
        while len(ended) > _MAX_ENDED:
            del ended[next(iter(ended))]
        response.delete_cookie(_COOKIE, path="/api/auth", httponly=True, samesite="strict")

    return router


def _refresh_token(secret: str, issuer: str, email: str) -> str:
    expires = int(time.time()) + _REFRESH_SECONDS
    claims = {"iss": issuer, "aud": _REFRESH_AUDIENCE, "email": email, "exp": expires, "jti": uuid.uuid4().hex}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def _refreshed(secret: str, issuer: str, token: str) -> dict[str, Any]:
    return jwt.decode(
        token,
        secret,
        algorithms=[ALGORITHM],
        issuer=issuer,
        audience=_REFRESH_AUDIENCE,
        options={"require": ["exp", "email", "jti"]},
    )
