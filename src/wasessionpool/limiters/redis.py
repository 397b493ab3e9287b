"""Sliding windows on Redis or Valkey, one for all processes; asyncio only.

The windows are a script of ours, since those of ``limits`` cannot do three things that a pool needs: give a place
back, take it in both windows or in none, and go by the server's clock instead of that of each host.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import anyio
from ulid import ULID

from ..errors import ConfigurationError, StorageError
from ..models import SessionKey
from .address import FAILURES, RedisAddress, refusal
from .budgets import Budgets
from .memory import CLEAR_OF_THE_EDGE
from .windows import exceeded

DEADLINE = 1.0
"""Seconds that Redis may take to answer."""

CONNECTIONS = 32
"""Connections of one limiter at most; further calls wait for one, within their deadline."""

CLEAN = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function clean(key)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - window))
    -- The server's clock was set back, or another server took over: nobody has to wait for longer than a window.
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', now), '+inf')) do
        redis.call('ZADD', key, string.format('%.0f', now), id)
    end
end
local function add(key, id, age)
    redis.call('ZADD', key, 'NX', string.format('%.0f', now - age), id)
    redis.call('PEXPIRE', key, math.ceil(window / 1000))
end
"""

TAKE = f"""
local id, window, wait = ARGV[1], tonumber(ARGV[2]), 0
{CLEAN}
if redis.call('ZSCORE', KEYS[1], id) then return {{0, redis.call('ZCARD', KEYS[1])}} end
for i, key in ipairs(KEYS) do
    clean(key)
    local over = redis.call('ZCARD', key) - tonumber(ARGV[2 + i])
    if over >= 0 then
        local frees = redis.call('ZRANGE', key, over, over, 'WITHSCORES')
        wait = math.max(wait, tonumber(frees[2]) + window - now)
    end
end
if wait > 0 then return {{wait, 0}} end
for _, key in ipairs(KEYS) do add(key, id, 0) end
return {{0, redis.call('ZCARD', KEYS[1])}}
"""
"""Takes a place in all windows, or says how long none is free (microseconds); and how many are taken by now.

It may be asked twice for the same one."""

GIVE_BACK = "for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end"

REMEMBER = f"""
local id, window, age = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
{CLEAN}
if age < window then for _, key in ipairs(KEYS) do add(key, id, age) end end
"""
"""Puts back what Redis ought to know, unless it does."""


@dataclass(frozen=True, slots=True)
class Place:
    """A message's place in the windows; when it was asked for, and when it was ours, is monotonic, of this process."""

    id: str
    company_id: str
    recipient: str
    asked_at: float
    taken_at: float

    @property
    def windows(self) -> tuple[str, str]:
        """Name both windows; a cluster keeps those of a company on one node."""
        company = f"wasessionpool:limit:{{{self.company_id}}}"
        return company, f"{company}:{self.recipient}"


class RedisLimiter:
    """At most ``limit`` messages a company, and ``recipient_limit`` a company and recipient, in any ``window`` seconds.

    Shared by all processes that use the same ``url``: ``redis://``, ``rediss://``, ``redis+cluster://host,host``.
    A ``url`` of another kind, or another event loop than asyncio's, raises ``ConfigurationError``. ``StorageError``:
    Redis did not do within a second what it was asked.
    """

    def __init__(
        self,
        url: str,
        *,
        limit: int = 30,
        recipient_limit: int = 30,
        window: float = 60.0,
        overrides: Mapping[str, int] | None = None,
    ) -> None:
        self.budgets = Budgets(limit, recipient_limit, window, overrides or {})
        self._address = RedisAddress.parse(url)
        self._client = self._address.client(DEADLINE)
        self._lines = anyio.CapacityLimiter(CONNECTIONS)
        self._take, self._give_back, self._remember = map(self._client.register_script, (TAKE, GIVE_BACK, REMEMBER))

    def __repr__(self) -> str:
        return f"<RedisLimiter {self._address}>"

    async def __aenter__(self) -> Self:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError("redis_url works on asyncio only: its client knows no other event loop") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with anyio.move_on_after(DEADLINE, shield=True):
            await self._client.aclose()

    async def acquire(self, key: SessionKey, recipient: str) -> RedisReservation:
        place, _ = await self.take(new_place(key.company_id, recipient))
        return RedisReservation(self, place)

    async def check(self) -> None:
        """Ask for a sign of life.

        Raises ``ConfigurationError`` where the password or the rights are not enough, or a cluster is none.
        """
        try:
            await self._ask(self._give_back, new_place("check", "none"))
        except StorageError as error:
            if reason := refusal(error.__cause__):
                raise ConfigurationError(f"redis_url: {self._failed(reason)}") from None
            raise

    async def take(self, place: Place) -> tuple[Place, int]:
        """Take a place in both windows; return it, and how many the company has taken by now."""
        try:
            wait, taken = await self._ask(self._take, place, *self.budgets.of(place.company_id))
        except StorageError:
            raise
        except BaseException:
            # Who was cancelled does not know whether it was taken.
            with anyio.CancelScope(shield=True), suppress(StorageError):
                await self.give_back(place)
            raise
        if wait:
            raise exceeded(place.company_id, wait / 1_000_000 + CLEAR_OF_THE_EDGE)
        return replace(place, taken_at=time.monotonic()), taken

    async def give_back(self, place: Place) -> None:
        """Free a place; one that is not taken is no error."""
        await self._ask(self._give_back, place)

    async def remember(self, place: Place) -> None:
        """Take a place that was taken already, whatever the limit; one that Redis knows, or that is past, is left."""
        await self._ask(self._remember, place, round((time.monotonic() - place.taken_at) * 1_000_000))

    async def _ask(self, script: Any, place: Place, *arguments: int) -> Any:
        window = round(self.budgets.window * 1_000_000)
        try:
            with anyio.fail_after(DEADLINE):
                async with self._lines:
                    return await script(keys=place.windows, args=(place.id, window, *arguments))
        except FAILURES as error:
            raise StorageError(self._failed(type(error).__name__)) from error

    def _failed(self, reason: str) -> str:
        return f"Redis at {self._address} cannot be asked ({reason})"


class RedisReservation:
    """A place in both windows."""

    def __init__(self, limiter: RedisLimiter, place: Place) -> None:
        self._limiter = limiter
        self._place: Place | None = place

    async def commit(self) -> None:
        self._place = None

    async def release(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            # Where Redis cannot be asked, the place is free after a window.
            with suppress(StorageError):
                await self._limiter.give_back(place)


def new_place(company_id: str, recipient: str) -> Place:
    """Return a place that nobody has taken yet."""
    now = time.monotonic()
    return Place(str(ULID()), company_id, recipient, now, now)
