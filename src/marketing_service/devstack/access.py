"""The users of the development log-in, and the access tokens that the API accepts."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from marketing_service.auth import mint_token
from marketing_service.devstack.contacts import ORG_ID, OTHER_ORG_ID

ACCESS_SECONDS = 15 * 60
ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Person:
    """A user. The token's subject is an id made from the email address, because audit records contain the subject."""

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


def person_for(email: str) -> Person:
    """The user with this address. An unknown address gives a user who may only read."""
    email = email.lower()
    return _KNOWN.get(email) or Person(email, ORG_ID, VIEWER.roles)


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Makes access tokens that the API accepts: HS256, signed with the secret that both share."""

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
