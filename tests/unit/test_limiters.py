from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import pytest
import time_machine

from wasessionpool import RateLimitExceeded, SessionKey
from wasessionpool.limiters.windows import WindowLimiter

pytestmark = pytest.mark.anyio
A, B = SessionKey("a"), SessionKey("b")
BOB, EVE = "79001234567@s.whatsapp.net", "79001234568@s.whatsapp.net"


@pytest.fixture
async def limiter() -> AsyncIterator[WindowLimiter]:
    async with WindowLimiter(limit=3, recipient_limit=2, window=60) as limiter:
        yield limiter


async def spend(limiter: WindowLimiter, key: SessionKey, to: str) -> None:
    await (await limiter.acquire(key, to)).commit()


async def test_the_window_slides_and_retry_after_is_exact(limiter: WindowLimiter) -> None:
    with time_machine.travel(1_800_000_000.0, tick=False) as now:
        for at in (0, 10, 10):
            now.move_to(1_800_000_000.0 + at)
            await spend(limiter, A, BOB if at else EVE)
        now.move_to(1_800_000_020.0)
        for _ in range(2):
            with pytest.raises(RateLimitExceeded) as caught:
                await limiter.acquire(A, EVE)
            assert caught.value.retry_after == pytest.approx(40, abs=0.01)
            now.shift(caught.value.retry_after - 0.1)
            with pytest.raises(RateLimitExceeded):
                await limiter.acquire(A, EVE)
            now.move_to(1_800_000_020.0)
        now.shift(caught.value.retry_after)
        await spend(limiter, A, EVE)
        with pytest.raises(RateLimitExceeded) as caught:
            await limiter.acquire(A, EVE)
        assert caught.value.retry_after == pytest.approx(10, abs=0.01)


async def test_a_recipient_has_a_limit_of_its_own(limiter: WindowLimiter) -> None:
    await spend(limiter, A, BOB)
    await spend(limiter, A, BOB)
    with pytest.raises(RateLimitExceeded):
        await limiter.acquire(A, BOB)
    await spend(limiter, A, EVE)


async def test_one_company_never_spends_for_another(limiter: WindowLimiter) -> None:
    for to in (BOB, BOB, EVE):
        await spend(limiter, A, to)
        await spend(limiter, B, to)
    with pytest.raises(RateLimitExceeded):
        await limiter.acquire(A, EVE)


async def test_what_is_reserved_occupies_and_what_is_given_back_is_free(limiter: WindowLimiter) -> None:
    reserved = [await limiter.acquire(A, to) for to in (BOB, BOB, EVE)]
    with pytest.raises(RateLimitExceeded):
        await limiter.acquire(A, EVE)
    await reserved[0].release()
    await reserved[0].release()
    await reserved[0].commit()
    await spend(limiter, A, BOB)
    with pytest.raises(RateLimitExceeded):
        await limiter.acquire(A, EVE)


async def test_no_thread_outlives_the_limiter() -> None:
    before = set(threading.enumerate())
    async with WindowLimiter() as limiter:
        await spend(limiter, A, BOB)
    assert set(threading.enumerate()) <= before
