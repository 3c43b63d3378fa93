"""What the API and the worker are told under `marketing-service dev`, and what is told about them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marketing_service.devstack.access import ADMIN, OTHER_ORG_ADMIN, VIEWER, TokenIssuer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marketing_service.devstack.home import Secrets

_ISSUER = "marketing-service-dev"
_AUDIENCE = "marketing"
_TOKEN_SECONDS = 24 * 3600

# A developer does not wait for minutes, and looks at it; set in the environment, these are as they are there.
_IN_A_HURRY = {
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
    """Where the parts are, as URLs."""

    api: str
    crm: str
    inbox: str
    smtp: str
    database: str
    redis: str


def inherited_environment() -> dict[str, str]:
    """Our environment, without what would speak against the log-in stand-in."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MARKETING_JWT_")}


def service_settings(addresses: Addresses, secrets: Secrets) -> dict[str, str]:
    """Every `MARKETING_*` setting of the API and the worker."""
    given = {name: value for name, value in inherited_environment().items() if name.startswith("MARKETING_") and value}
    ours = {
        "MARKETING_DATABASE_URL": addresses.database,
        "MARKETING_REDIS_URL": addresses.redis,
        "MARKETING_SMTP_URL": addresses.smtp,
        "MARKETING_CRM_URL": addresses.crm,
        "MARKETING_CRM_TOKEN": secrets.crm_token,
        "MARKETING_JWT_SECRET": secrets.jwt_secret,
        "MARKETING_JWT_ISSUER": _ISSUER,
        "MARKETING_JWT_AUDIENCE": _AUDIENCE,
        # All have to be gone within ten seconds, so a worker's batch may not take longer to end.
        "MARKETING_DRAIN_SECONDS": "3",
        # The stand-in's, on the API's own origin.
        "MARKETING_CONSOLE_LOGIN_URL": "",
    }
    about_links = {"MARKETING_PUBLIC_BASE_URL": addresses.api, "MARKETING_TOKEN_KEYS": secrets.token_key}
    return _IN_A_HURRY | about_links | given | ours


def ready_facts(addresses: Addresses, secrets: Secrets, settings: Mapping[str, str]) -> dict[str, Any]:
    """The contents of `ready.json`; its tokens are good for a day."""
    tokens = TokenIssuer(secrets.jwt_secret, _ISSUER, _AUDIENCE)
    people = {"admin": ADMIN, "viewer": VIEWER, "otherOrg": OTHER_ORG_ADMIN}
    return {
        "api": addresses.api,
        "crm": addresses.crm,
        "inbox": addresses.inbox,
        "smtp": addresses.smtp,
        "databaseUrl": addresses.database,
        "redisUrl": addresses.redis,
        "crmToken": secrets.crm_token,
        "tokens": {name: tokens.token_for(person, _TOKEN_SECONDS) for name, person in people.items()},
        "env": dict(settings),
    }
