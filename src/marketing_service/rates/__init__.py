"""How many messages may go to the relay: limits that all workers share through Redis."""

from marketing_service.rates.window import SharedRates

__all__ = ["SharedRates"]
