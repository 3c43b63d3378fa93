"""Access to Redis: its URL, its connections, what its errors mean, and whether the server can be used."""

from marketing_service.redis_access.address import RedisAddress
from marketing_service.redis_access.failures import REDIS_FAILURES, WrongRedis, redis_unavailable
from marketing_service.redis_access.server_check import ServerCheck

__all__ = ["REDIS_FAILURES", "RedisAddress", "ServerCheck", "WrongRedis", "redis_unavailable"]
