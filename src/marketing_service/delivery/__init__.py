"""The SMTP client: a pool of connections to the relay, with pipelined mail transactions (RFC 5321, RFC 2920)."""

from marketing_service.delivery.address import Encryption, RelayAddress
from marketing_service.delivery.facts import RelayFacts, relay_facts
from marketing_service.delivery.pool import DEFAULT_TIMINGS, PoolTimings, SmtpMailer

__all__ = ["DEFAULT_TIMINGS", "Encryption", "PoolTimings", "RelayAddress", "RelayFacts", "SmtpMailer", "relay_facts"]
