"""Access tokens: verifies a signed JSON Web Token and returns its principal."""

from marketing_service.auth.jwks import KeySetAuthenticator
from marketing_service.auth.keys import KeySet
from marketing_service.auth.mint import mint_token
from marketing_service.auth.principal import Authenticator, ClaimRules, Principal
from marketing_service.auth.verify import SecretAuthenticator

__all__ = [
    "Authenticator",
    "ClaimRules",
    "KeySet",
    "KeySetAuthenticator",
    "Principal",
    "SecretAuthenticator",
    "mint_token",
]
