"""Access to Redis: its URL, its connections, and what its errors mean."""

from marketing_service.redis_access.address import RedisAddress
from marketing_service.redis_access.failures import REDIS_FAILURES, redis_unavailable

__all__ = ["REDIS_FAILURES", "RedisAddress", "redis_unavailable"]
