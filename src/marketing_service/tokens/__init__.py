"""The tokens in a mail's public links: they say which send is meant, and cannot be made up."""

from marketing_service.tokens.ring import Purpose, TokenRing

__all__ = ["Purpose", "TokenRing"]
