"""The relay: a pool of connections, and pipelined mail transactions on them (RFC 5321, RFC 2920)."""

from marketing_service.delivery.address import Encryption, RelayAddress
from marketing_service.delivery.pool import SmtpMailer

__all__ = ["Encryption", "RelayAddress", "SmtpMailer"]
