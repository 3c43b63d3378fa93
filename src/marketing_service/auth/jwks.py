"""Tokens signed with the private half of a published key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.auth.keys import ALGORITHMS
from marketing_service.auth.verify import prove, read_header, refuse_oversized
from marketing_service.errors import Unauthenticated

if TYPE_CHECKING:
    from marketing_service.auth.keys import KeySet
    from marketing_service.auth.principal import ClaimRules, Principal


class KeySetAuthenticator:
    """Proves tokens signed by RS256, ES256 or EdDSA with a key of a published set."""

    def __init__(self, keys: KeySet, rules: ClaimRules) -> None:
        self._keys = keys
        self._rules = rules

    async def authenticate(self, token: str) -> Principal:
        """See Authenticator."""
        refuse_oversized(token)
        header = read_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise Unauthenticated("The token is not signed with an algorithm that is accepted here.")
        key = await self._keys.find(header.get("kid"), algorithm)
        if key is None:
            raise Unauthenticated("The token is signed with a key that is not known here.")
        return prove(token, key.key, key.algorithm, self._rules)
