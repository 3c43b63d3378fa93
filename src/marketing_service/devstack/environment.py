"""The settings of the API and the worker under `marketing-service dev`, and the contents of `ready.json`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marketing_service.devstack.access import ADMIN, OTHER_ORG_ADMIN, VIEWER, TokenIssuer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marketing_service.devstack.data_dir import Secrets

_ISSUER = "marketing-service-dev"
_AUDIENCE = "marketing"
_TOKEN_SECONDS = 24 * 3600

# Short delays, because a developer waits for the result, and readable logs. The environment overrides these.
_DEFAULTS = {
    "MARKETING_CONSOLE": "true",
    "MARKETING_DEFAULT_FROM_EMAIL": "news@example.com",
    "MARKETING_RETRY_DELAYS": "2,3,5,10",
    "MARKETING_SWEEP_SECONDS": "1",
    "MARKETING_LEASE_SECONDS": "15",
    "MARKETING_LOG_FORMAT": "console",
    "MARKETING_LOG_LEVEL": "WARNING",
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """The URLs of all servers."""

    api: str
    internal: str
    crm: str
    inbox: str
    smtp: str
    database: str
    redis: str


def inherited_environment() -> dict[str, str]:
    """Our environment without the `MARKETING_JWT_*` settings, which would contradict the development log-in."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MARKETING_JWT_")}


def service_settings(addresses: Addresses, secrets: Secrets) -> dict[str, str]:
    """Every `MARKETING_*` setting of the API and the worker."""
    overrides = {
        name: value for name, value in inherited_environment().items() if name.startswith("MARKETING_") and value
    }
    fixed = {
        "MARKETING_DATABASE_URL": addresses.database,
        "MARKETING_REDIS_URL": addresses.redis,
        "MARKETING_SMTP_URL": addresses.smtp,
        "MARKETING_CRM_URL": addresses.crm,
        "MARKETING_CRM_TOKEN": secrets.crm_token,
        "MARKETING_JWT_SECRET": secrets.jwt_secret,
        "MARKETING_JWT_ISSUER": _ISSUER,
        "MARKETING_JWT_AUDIENCE": _AUDIENCE,
        # Everything must stop within ten seconds, so a worker gets three to finish its batch.
        "MARKETING_DRAIN_SECONDS": "3",
        # Empty: the development log-in, on the API's own origin.
        "MARKETING_CONSOLE_LOGIN_URL": "",
        "MARKETING_CONSOLE_LOGOUT_URL": "",
    }
    link_settings = {"MARKETING_PUBLIC_BASE_URL": addresses.api, "MARKETING_TOKEN_KEYS": secrets.token_key}
    return _DEFAULTS | link_settings | overrides | fixed


def ready_content(addresses: Addresses, secrets: Secrets, settings: Mapping[str, str]) -> dict[str, Any]:
    """The contents of `ready.json`. Its tokens are valid for one day."""
    tokens = TokenIssuer(secrets.jwt_secret, _ISSUER, _AUDIENCE)
    people = {"admin": ADMIN, "viewer": VIEWER, "otherOrg": OTHER_ORG_ADMIN}
    return {
        "api": addresses.api,
        "internal": addresses.internal,
        "crm": addresses.crm,
        "inbox": addresses.inbox,
        "smtp": addresses.smtp,
        "databaseUrl": addresses.database,
        "redisUrl": addresses.redis,
        "crmToken": secrets.crm_token,
        "tokens": {name: tokens.token_for(person, _TOKEN_SECONDS) for name, person in people.items()},
        "env": dict(settings),
    }
