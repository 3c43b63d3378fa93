"""Sliding-window rate limits in Redis: one round trip checks and updates all limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.ports import Allowance
from marketing_service.redis_access import REDIS_FAILURES, redis_unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from marketing_service.ports import Rate

SLICES = 32
"""Number of slices in a window. Messages (or requests) are counted per slice, so each counts for up to one slice longer
than the window. Therefore no period as long as the window, wherever it starts, contains more than the limit allows."""

TAKE = """
-- KEYS: one hash (slice → count) per limit. ARGV: the number of slices, the count wanted, the least count that is of
-- use, then for each limit the count it allows and the length of its slices in microseconds.
-- Returns the count granted and the microseconds to wait for more. Then for each limit what is left of it, and the
-- microseconds until more of it is left. The script uses the clock of Redis, because all processes share it.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local slices, wanted, least = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local granted, ready = wanted, now
local left, first = {}, {}
for i, key in ipairs(KEYS) do
  local limit, length = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
  local current = math.floor(now / length)
  local counts = redis.call('HGETALL', key)
  local used, kept = 0, {}
  for n = 1, #counts, 2 do
    local slice = tonumber(counts[n])
    -- A slice later than now means that the clock was set back. Its count is dropped.
    if slice < current - slices or slice > current then
      redis.call('HDEL', key, counts[n])
    else
      used = used + tonumber(counts[n + 1])
      kept[#kept + 1] = {slice, tonumber(counts[n + 1])}
    end
  end
  table.sort(kept, function(a, b) return a[1] < b[1] end)
  left[i] = math.max(0, limit - used)
  first[i] = ((kept[1] or {current})[1] + slices + 1) * length - now
  if left[i] < wanted then
    granted = math.min(granted, left[i])
    local free, enough, freed_at = limit - used, math.max(least, left[i] + 1), now
    for _, slice in ipairs(kept) do
      if free >= enough then break end
      free = free + slice[2]
      freed_at = (slice[1] + slices + 1) * length
    end
    ready = math.max(ready, freed_at)
  end
end
if granted < least then granted = 0 end
local reply = {granted, ready - now}
for i, key in ipairs(KEYS) do
  local length = tonumber(ARGV[2 * i + 3])
  if granted > 0 then
    redis.call('HINCRBY', key, string.format('%.0f', math.floor(now / length)), granted)
    redis.call('PEXPIRE', key, math.ceil(length * (slices + 2) / 1000))
  end
  reply[#reply + 1] = left[i] - granted
  reply[#reply + 1] = first[i]
end
return reply
"""


def arguments(rates: Sequence[Rate], wanted: int, *, least: int) -> list[int]:
    """The ARGV of the script. It grants up to `wanted`, and nothing rather than fewer than `least`."""
    numbers = [SLICES, wanted, least]
    for rate in rates:
        numbers += (rate.messages, rate.seconds * 1_000_000 // SLICES)
    return numbers


class SharedRates:
    """RateLimiter with limits for the whole relay and for each organisation, shared by all users of this Redis.

    A changed limit takes effect at once and includes the messages already counted.
    """

    def __init__(self, redis: Redis, *, relay: Sequence[Rate], organisation: Sequence[Rate]) -> None:
        self._take = redis.register_script(TAKE)
        self._relay = relay
        self._organisation = organisation

    async def take(self, org_id: str, wanted: int) -> Allowance:
        """See RateLimiter. Raises Unavailable if Redis does not answer."""
        limits = [(f"marketing:rate:relay:{rate.seconds}", rate) for rate in self._relay]
        limits += [(f"marketing:rate:org:{rate.seconds}:{org_id}", rate) for rate in self._organisation]
        numbers = arguments([rate for _, rate in limits], wanted, least=1)
        try:
            granted, wait, *_ = await self._take(keys=[key for key, _ in limits], args=numbers)
        except REDIS_FAILURES as error:
            raise redis_unavailable(error) from error
        return Allowance(granted, wait / 1_000_000)
