"""Rate limits, shared by all processes through Redis: of messages to the relay, and of requests to the API."""

from marketing_service.rates.requests import RequestRates, limiter_redis
from marketing_service.rates.window import SharedRates

__all__ = ["RequestRates", "SharedRates", "limiter_redis"]
