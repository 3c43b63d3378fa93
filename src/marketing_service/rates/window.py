"""Sliding-window rate limits in Redis: one round trip checks and updates all limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from marketing_service.errors import Unavailable
from marketing_service.ports import Allowance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from marketing_service.ports import Rate

SLICES = 32
"""Number of slices in a window. Messages are counted per slice, so a message counts for up to one slice longer than the
window. Therefore no period as long as the window, wherever it starts, contains more messages than the limit."""

# KEYS: one hash (slice → messages) per limit. ARGV: the number of slices, the number of messages wanted, then for each
# limit the messages it allows and the length of its slices in microseconds. The script uses the clock of Redis, because
# all workers share it.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local slices = tonumber(ARGV[1])
local wanted = tonumber(ARGV[2])
local granted, ready = wanted, now
for i, key in ipairs(KEYS) do
  local limit, length = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local current = math.floor(now / length)
  local counts = redis.call('HGETALL', key)
  local used, first = 0, current
  for n = 1, #counts, 2 do
    local slice = tonumber(counts[n])
    -- A slice later than now means that the clock was set back. Its count is dropped.
    if slice < current - slices or slice > current then
      redis.call('HDEL', key, counts[n])
    else
      used = used + tonumber(counts[n + 1])
      first = math.min(first, slice)
    end
  end
  local free = math.max(0, limit - used)
  if free < wanted then
    granted = math.min(granted, free)
    ready = math.max(ready, (first + slices + 1) * length)
  end
end
if granted > 0 then
  for i, key in ipairs(KEYS) do
    local length = tonumber(ARGV[2 * i + 2])
    redis.call('HINCRBY', key, string.format('%.0f', math.floor(now / length)), granted)
    redis.call('PEXPIRE', key, math.ceil(length * (slices + 2) / 1000))
  end
end
return {granted, ready - now}
"""


class SharedRates:
    """RateLimiter with limits for the whole relay and for each organisation, shared by all users of this Redis.

    A changed limit takes effect at once and includes the messages already counted.
    """

    def __init__(self, redis: Redis, *, relay: Sequence[Rate], organisation: Sequence[Rate]) -> None:
        self._take = redis.register_script(_TAKE)
        self._relay = relay
        self._organisation = organisation

    async def take(self, org_id: str, wanted: int) -> Allowance:
        """See RateLimiter. Raises Unavailable if Redis does not answer."""
        limits = [(f"marketing:rate:relay:{rate.seconds}", rate) for rate in self._relay]
        limits += [(f"marketing:rate:org:{rate.seconds}:{org_id}", rate) for rate in self._organisation]
        numbers: list[int] = [SLICES, wanted]
        for _, rate in limits:
            numbers += (rate.messages, rate.seconds * 1_000_000 // SLICES)
        try:
            granted, wait = await self._take(keys=[key for key, _ in limits], args=numbers)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable("Redis") from error
        return Allowance(granted, wait / 1_000_000)
