"""Who the stand-in knows, and the access tokens the API believes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from marketing_service.auth import mint_token
from marketing_service.devstack.contacts import ORG_ID, OTHER_ORG_ID

ACCESS_SECONDS = 15 * 60
ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Person:
    """Who somebody is by their address. The subject is an id made from it, because it ends up in records."""

    email: str
    org_id: str
    roles: tuple[str, ...]

    @property
    def subject(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{self.email}"))


ADMIN = Person("you@example.com", ORG_ID, ("ADMIN",))
VIEWER = Person("viewer@example.com", ORG_ID, ("VIEWER",))
OTHER_ORG_ADMIN = Person("other@example.org", OTHER_ORG_ID, ("ADMIN",))
_KNOWN = {person.email: person for person in (ADMIN, VIEWER, OTHER_ORG_ADMIN)}


def person_of(email: str) -> Person:
    """The administrator, the one of the other organisation, or else somebody who may only read."""
    email = email.lower()
    return _KNOWN.get(email) or Person(email, ORG_ID, VIEWER.roles)


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Makes the tokens the API believes: HS256, signed with the secret the two share."""

    secret: str
    issuer: str
    audience: str

    def token_for(self, person: Person, lifetime_seconds: float = ACCESS_SECONDS) -> str:
        return mint_token(
            self.secret,
            self.issuer,
            self.audience,
            subject=person.subject,
            org_id=person.org_id,
            roles=person.roles,
            features=("marketing",),
            lifetime_seconds=lifetime_seconds,
        )
