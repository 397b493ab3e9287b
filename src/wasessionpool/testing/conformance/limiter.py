"""What a ``RateLimiter`` has to keep."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import anyio

from ...abc import RateLimiter, Reservation
from ...errors import RateLimitExceeded
from ...models import SessionKey
from .requirement import Make, refused, require, run_all

KEY = SessionKey("962302")
NEIGHBOURS = (SessionKey("962303"), SessionKey("96230"))
A_MOMENT = 0.1
"""Seconds before ``retry_after`` at which a limiter still refuses."""


async def check_limiter(
    make_limiter: Make[RateLimiter],
    *,
    limit: int,
    recipient_limit: int | None = None,
    pass_time: Callable[[float], Awaitable[None]] | None = None,
) -> None:
    """Check a ``RateLimiter``; ``make_limiter`` gives one at each call of which nothing is spent.

    It lets a company send ``limit`` messages, of which ``recipient_limit`` to one recipient (``None``: any number), in
    a window that is longer than the check takes, such as a minute. ``pass_time`` lets seconds pass for it, where that
    is possible; then what it says of the time is checked, too. Raises ``AssertionError``.
    """
    await run_all("RateLimiter", make_limiter, _Requirements(limit, recipient_limit, pass_time).all())


class _Requirements:
    def __init__(
        self, limit: int, recipient_limit: int | None, pass_time: Callable[[float], Awaitable[None]] | None
    ) -> None:
        self.limit = limit
        self.recipient_limit = recipient_limit
        self.pass_time = pass_time

    def all(self) -> Sequence[Callable[[RateLimiter], Awaitable[None]]]:
        requirements = [
            self._a_company_has_its_limit,
            self._a_place_that_is_reserved_is_taken,
            self._companies_do_not_spend_for_each_other,
            self._places_are_not_given_twice,
        ]
        if self.recipient_limit is not None:
            requirements.append(self._a_recipient_has_its_limit)
        if self.pass_time is not None:
            requirements.append(self._retry_after_is_exact)
        return requirements

    async def _a_company_has_its_limit(self, limiter: RateLimiter) -> None:
        for reservation in await self._fill(limiter):
            await reservation.commit()
        await self._refuses(limiter)

    async def _a_place_that_is_reserved_is_taken(self, limiter: RateLimiter) -> None:
        reservations = await self._fill(limiter)
        await self._refuses(limiter)
        await self._refuses(limiter)
        await reservations[0].release()
        await reservations[0].release()
        await reservations[0].commit()
        again = await _acquire(limiter, KEY, _recipient(0), "a place that was released must be free again")
        await self._refuses(limiter, "a reservation must be settled once: what follows release() must do nothing")
        await again.commit()
        await again.release()
        await self._refuses(limiter, "a place that was committed must stay spent, also after release()")

    async def _companies_do_not_spend_for_each_other(self, limiter: RateLimiter) -> None:
        await self._fill(limiter)
        for key in NEIGHBOURS:
            await _acquire(limiter, key, _recipient(0), "another company must have a limit of its own")

    async def _places_are_not_given_twice(self, limiter: RateLimiter) -> None:
        granted = 0

        async def ask(number: int) -> None:
            nonlocal granted
            try:
                await limiter.acquire(KEY, _recipient(number))
            except RateLimitExceeded:
                return
            granted += 1

        async with anyio.create_task_group() as tasks:
            for number in range(2 * self.limit):
                tasks.start_soon(ask, number)
        require(granted == self.limit, f"of {2 * self.limit} at the same time {self.limit} must pass, not {granted}")

    async def _a_recipient_has_its_limit(self, limiter: RateLimiter) -> None:
        most = cast("int", self.recipient_limit)
        require(most < self.limit, "recipient_limit has to be below limit, or it cannot be checked")
        for _ in range(most):
            await _acquire(limiter, KEY, _recipient(0), f"{most} messages to one recipient must pass")
        with refused(RateLimitExceeded, "acquire() must refuse a recipient that had its share"):
            await limiter.acquire(KEY, _recipient(0))
        await _acquire(limiter, KEY, _recipient(1), "another recipient must have a limit of its own")

    async def _retry_after_is_exact(self, limiter: RateLimiter) -> None:
        pass_time = cast("Callable[[float], Awaitable[None]]", self.pass_time)
        for reservation in await self._fill(limiter):
            await reservation.commit()
        retry_after = await self._refuses(limiter)
        await pass_time(retry_after - A_MOMENT)
        await self._refuses(limiter, "a place must not be free before retry_after is over")
        await pass_time(A_MOMENT)
        await _acquire(limiter, KEY, _recipient(0), "a place must be free as soon as retry_after is over")

    async def _fill(self, limiter: RateLimiter) -> list[Reservation]:
        return [
            await _acquire(limiter, KEY, _recipient(number), f"{self.limit} messages must pass")
            for number in range(self.limit)
        ]

    async def _refuses(self, limiter: RateLimiter, requirement: str = "acquire() must refuse what is over") -> float:
        with refused(RateLimitExceeded, f"{requirement}, with RateLimitExceeded") as refusal:
            await limiter.acquire(KEY, _recipient(self.limit))
        retry_after = cast("RateLimitExceeded", refusal.error).retry_after
        require(
            0 < retry_after < math.inf, f"retry_after must be the seconds until a place is free, not {retry_after!r}"
        )
        return retry_after


async def _acquire(limiter: RateLimiter, key: SessionKey, recipient: str, requirement: str) -> Reservation:
    try:
        return await limiter.acquire(key, recipient)
    except RateLimitExceeded as error:
        raise AssertionError(f"{requirement}; acquire() refused: {error}") from error


def _recipient(number: int) -> str:
    return f"7900{number:07}@s.whatsapp.net"
