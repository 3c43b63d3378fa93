"""The tokens in a mail's public links and in its return path: they say which send is meant, and cannot be made up."""

from marketing_service.tokens.bounce import BounceAddresses, Bounced, Mailbox
from marketing_service.tokens.keyring import Purpose, TokenKeyring

__all__ = ["BounceAddresses", "Bounced", "Mailbox", "Purpose", "TokenKeyring"]
