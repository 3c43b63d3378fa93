"""The signed tokens in public links and in return paths. They identify a send and cannot be forged."""

from marketing_service.tokens.bounce import BounceAddresses, Bounced, Mailbox
from marketing_service.tokens.damaged import MAX_CANDIDATES, MAX_TEXT, DamagedText, FoundToken
from marketing_service.tokens.keyring import TOKEN_PATTERN, Purpose, TokenKeyring
from marketing_service.tokens.pseudonyms import Pseudonyms

__all__ = [
    "MAX_CANDIDATES",
    "MAX_TEXT",
    "TOKEN_PATTERN",
    "BounceAddresses",
    "Bounced",
    "DamagedText",
    "FoundToken",
    "Mailbox",
    "Pseudonyms",
    "Purpose",
    "TokenKeyring",
]
