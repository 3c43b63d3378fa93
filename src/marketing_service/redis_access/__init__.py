"""Access to Redis: what its errors mean."""

from marketing_service.redis_access.failures import REDIS_FAILURES, redis_unavailable

__all__ = ["REDIS_FAILURES", "redis_unavailable"]
