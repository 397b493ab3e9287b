"""Limits while Redis goes and comes back, on a real Valkey."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from wasessionpool import ConfigurationError, PoolSettings, RateLimitExceeded, SessionKey
from wasessionpool.abc import Reservation
from wasessionpool.defaults import make_limiter
from wasessionpool.limiters.fallback import FallbackLimiter
from wasessionpool.limiters.redis import RedisLimiter
from wasessionpool.testing import FakeClock, check_limiter

from .valkey import PASSWORD, Valkey, free_port

pytestmark = pytest.mark.anyio
A, B = SessionKey("a"), SessionKey("b")
BOB = "79001234567@s.whatsapp.net"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasessionpool.limiters.fallback.PROBE_EVERY", 0.05)


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What was logged, with no password in it."""
    caplog.set_level(logging.DEBUG, logger="wasessionpool")
    yield caplog
    assert PASSWORD not in caplog.text


@asynccontextmanager
async def opened(valkey: Valkey, *, limit: int = 4, window: float = 60) -> AsyncIterator[FallbackLimiter]:
    async with FallbackLimiter(RedisLimiter(valkey.url, limit=limit, recipient_limit=99, window=window)) as limiter:
        yield limiter


async def spend(limiter: FallbackLimiter, key: SessionKey, times: int = 1) -> list[Reservation]:
    reservations = [await limiter.acquire(key, BOB) for _ in range(times)]
    for reservation in reservations:
        await reservation.commit()
    return list(reservations)


async def refused(limiter: FallbackLimiter, key: SessionKey) -> float:
    with pytest.raises(RateLimitExceeded) as caught:
        await limiter.acquire(key, BOB)
    return caught.value.retry_after


async def fallen(limiter: FallbackLimiter) -> None:
    with anyio.fail_after(20):
        while not limiter.degraded:  # noqa: ASYNC110 - it says so nowhere else
            await anyio.sleep(0.01)


async def back(limiter: FallbackLimiter) -> None:
    with anyio.fail_after(20):
        while limiter.degraded:  # noqa: ASYNC110 - it says so nowhere else
            await anyio.sleep(0.01)


async def test_with_redis_it_is_a_limiter(valkey: Valkey, pass_time: Callable[[float], Awaitable[None]]) -> None:
    def make() -> FallbackLimiter:
        valkey.forget_limits()
        return FallbackLimiter(RedisLimiter(valkey.url, limit=3, recipient_limit=2, window=60))

    await check_limiter(make, limit=3, recipient_limit=2, pass_time=pass_time)


async def test_without_redis_it_is_a_limiter_of_its_share(valkey: Valkey, clock: FakeClock) -> None:
    valkey.kill()
    await check_limiter(
        lambda: FallbackLimiter(RedisLimiter(valkey.url, limit=6, recipient_limit=4, window=60), share=0.5),
        limit=3,
        recipient_limit=2,
        pass_time=clock.advance,
    )


@pytest.mark.parametrize(
    ("either", "broken"),
    [("valkey", "killed"), ("valkey", "frozen"), ("cluster", "killed"), ("cluster", "frozen, then killed")],
    indirect=["either"],
)
async def test_memory_takes_over_and_redis_again(either: Valkey, said: pytest.LogCaptureFixture, broken: str) -> None:
    async with opened(either) as limiter, opened(either) as other:
        begin = anyio.current_time()
        await spend(limiter, A)
        assert (limiter.degraded, limiter.fallbacks) == (False, 0)
        either.kill() if broken == "killed" else either.freeze()
        with anyio.fail_after(5):
            await spend(limiter, A)
            assert (limiter.degraded, limiter.fallbacks) == (True, 1)
            if broken == "frozen, then killed":
                either.kill()
                either.on_frozen(False)
            # What the client raises may differ by now, and the probe meets it.
            await anyio.sleep(0.2)
            # Its share is 2, and what went by Redis counts.
            wait = await refused(limiter, A)
            assert 60 - (anyio.current_time() - begin) <= wait <= 60.01
            await spend(limiter, B, 2)
            await refused(limiter, B)
        either.thaw() if broken == "frozen" else either.start()
        await back(limiter)
        # Redis knows what was sent meanwhile, and what it has forgotten: the other process finds 2 places.
        await spend(other, A, 2)
        await refused(limiter, A)
        await refused(other, A)
        await spend(other, B, 2)
        await refused(limiter, B)
        assert (limiter.degraded, limiter.fallbacks) == (False, 1)
    texts = [record.getMessage() for record in said.records if record.name.endswith("fallback")]
    assert sum("kept in memory" in text for text in texts) <= 2
    assert texts[-1] == "Redis is back: limits are shared again"


async def test_what_nobody_foresaw_does_not_end_the_probing(
    valkey: Valkey, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RedisLimiter] = []

    async def fail(limiter: RedisLimiter) -> None:
        asked.append(limiter)
        raise RuntimeError("a bug")

    async with opened(valkey) as limiter:
        valkey.kill()
        await spend(limiter, A)
        with monkeypatch.context() as patch, anyio.fail_after(20):
            patch.setattr(RedisLimiter, "check", fail)
            while len(asked) < 3:  # noqa: ASYNC110 - it says so nowhere else
                await anyio.sleep(0.01)
        valkey.start()
        await back(limiter)
    assert [record.getMessage() for record in said.records if record.exc_info] == [
        "it cannot be told whether Redis is back; it is asked again"
    ]


async def test_a_redis_that_was_emptied_unnoticed_learns_what_was_sent(valkey: Valkey) -> None:
    async with opened(valkey) as limiter, opened(valkey) as other:
        await spend(limiter, A, 4)
        valkey.kill()
        valkey.start()
        await refused(limiter, A)
        assert (limiter.degraded, limiter.fallbacks) == (False, 0)
        await refused(other, A)
        await spend(limiter, B, 4)
        await refused(other, B)


async def test_what_is_given_back_is_free_on_both_sides_of_a_fall(valkey: Valkey) -> None:
    async with opened(valkey) as limiter, opened(valkey) as other:
        by_redis = [await limiter.acquire(A, BOB) for _ in range(3)]
        valkey.freeze()
        await by_redis[0].release()
        await by_redis[1].release()
        assert limiter.degraded
        in_memory = await limiter.acquire(A, BOB)
        await refused(limiter, A)
        valkey.thaw()
        await back(limiter)
        await in_memory.release()
        await in_memory.release()
        # One of the first three is left.
        await spend(other, A, 3)
        await refused(other, A)
        await by_redis[2].release()
        await spend(other, A)
        await refused(other, A)


async def test_a_place_that_redis_took_too_late_is_given_back(valkey: Valkey) -> None:
    async with opened(valkey) as limiter, opened(valkey) as other:
        valkey.freeze()
        await spend(limiter, A)
        valkey.thaw()
        await back(limiter)
        await spend(other, A, 3)
        await refused(other, A)


async def test_what_is_past_is_not_told(valkey: Valkey, clock: FakeClock) -> None:
    async with opened(valkey) as limiter, opened(valkey) as other:
        valkey.kill()
        await spend(limiter, A, 2)
        await clock.advance(await refused(limiter, A))
        await spend(limiter, A)
        valkey.start()
        await back(limiter)
        await spend(other, A, 2)
        await spend(limiter, B, 4)


async def test_redis_that_comes_and_goes(valkey: Valkey) -> None:
    """A process alone never exceeds the budget, however often Redis is killed, frozen and emptied meanwhile."""
    limit, window, granted = 6, 1.0, []

    async def hammer(limiter: FallbackLimiter) -> None:
        while True:
            begin = anyio.current_time()
            try:
                await (await limiter.acquire(A, BOB)).commit()
            except RateLimitExceeded as error:
                await anyio.sleep(min(error.retry_after, 0.02))
            else:
                granted.append((begin, anyio.current_time()))

    async with opened(valkey, limit=limit, window=window) as limiter, anyio.create_task_group() as tasks:
        tasks.start_soon(hammer, limiter)
        tasks.start_soon(hammer, limiter)
        for kill in (True, False, True):
            await anyio.sleep(0.3)
            valkey.kill() if kill else valkey.freeze()
            await anyio.sleep(1.2)
            await fallen(limiter)
            valkey.start() if kill else valkey.thaw()
            await back(limiter)
            valkey.kill()
            valkey.start()
        await anyio.sleep(0.3)
        with anyio.fail_after(60):
            while len(granted) <= 2 * limit:  # noqa: ASYNC110 - it says so nowhere else
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert limiter.fallbacks >= 3
    for begin, _ in granted:
        assert sum(begin <= asked and answered < begin + window for asked, answered in granted) <= limit


async def test_a_pool_opens_without_redis_but_not_with_a_wrong_password(valkey: Valkey) -> None:
    settings = PoolSettings(redis_url=valkey.url, rate_limit_max=4, rate_limit_overrides={"b": 2})
    valkey.kill()
    limiter = make_limiter(settings)
    assert isinstance(limiter, FallbackLimiter)
    async with limiter:
        assert limiter.degraded
        await spend(limiter, A, 2)
        await refused(limiter, A)
        await spend(limiter, B)
        await refused(limiter, B)
        valkey.start()
        await back(limiter)
        await spend(limiter, A, 2)
        await spend(limiter, B)
        await refused(limiter, A)
        await refused(limiter, B)
    wrong = make_limiter(PoolSettings(redis_url=valkey.url.replace(PASSWORD, "wrong")))
    assert isinstance(wrong, FallbackLimiter)
    with pytest.raises(ConfigurationError, match=r"^redis_url: .*Authentication"):
        async with wrong:
            pass


async def test_a_pool_opens_without_a_cluster() -> None:
    async with FallbackLimiter(RedisLimiter(f"redis+cluster://127.0.0.1:{free_port()}", limit=4)) as limiter:
        assert limiter.degraded
        await spend(limiter, A, 2)
        await refused(limiter, A)
