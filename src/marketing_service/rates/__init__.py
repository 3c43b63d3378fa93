"""Rate limits for messages to the relay, shared by all workers through Redis."""

from marketing_service.rates.window import SharedRates

__all__ = ["SharedRates"]
