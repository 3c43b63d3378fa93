"""Verifies tokens that are signed with the private key of a published key set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.auth.keys import ALGORITHMS
from marketing_service.auth.verify import read_header, refuse_oversized, verify
from marketing_service.errors import Unauthenticated

if TYPE_CHECKING:
    from marketing_service.auth.keys import KeySet
    from marketing_service.auth.principal import ClaimRules, Principal


class KeySetAuthenticator:
    """Verifies tokens signed with RS256, ES256 or EdDSA and a key of a published key set."""

    def __init__(self, keys: KeySet, rules: ClaimRules) -> None:
        self._keys = keys
        self._rules = rules

    async def authenticate(self, token: str) -> Principal:
        """See Authenticator."""
        refuse_oversized(token)
        header = read_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise Unauthenticated("The token is signed with an algorithm that this service does not accept.")
        key = await self._keys.find(header.get("kid"), algorithm)
        if key is None:
            raise Unauthenticated("The token is signed with an unknown key. Log in again.")
        return verify(token, key.key, key.algorithm, self._rules)
