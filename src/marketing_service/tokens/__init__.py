"""The signed tokens in public links and in return paths. They identify a send and cannot be forged."""

from marketing_service.tokens.bounce import BounceAddresses, Bounced, Mailbox
from marketing_service.tokens.keyring import Purpose, TokenKeyring
from marketing_service.tokens.pseudonyms import Pseudonyms

__all__ = ["BounceAddresses", "Bounced", "Mailbox", "Pseudonyms", "Purpose", "TokenKeyring"]
