from __future__ import annotations

import threading

import pytest
import time_machine

from wasessionpool import RateLimitExceeded, SessionKey
from wasessionpool.limiters.budgets import Budgets
from wasessionpool.limiters.memory import CLEAR_OF_THE_EDGE
from wasessionpool.limiters.windows import WindowLimiter

pytestmark = pytest.mark.anyio
A, B = SessionKey("a"), SessionKey("b")
BOB, EVE = "79001234567@s.whatsapp.net", "79001234568@s.whatsapp.net"


@pytest.fixture
def limiter() -> WindowLimiter:
    return WindowLimiter(limit=3, recipient_limit=2, window=60)


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


async def test_the_devices_of_a_company_share_its_limit(limiter: WindowLimiter) -> None:
    with time_machine.travel(1_800_000_000.0, tick=False):
        await spend(limiter, A, BOB)
        await spend(limiter, SessionKey("a", "sales"), BOB)
        with pytest.raises(RateLimitExceeded):
            await limiter.acquire(A, BOB)
        await spend(limiter, SessionKey("a", "sales"), EVE)
        with pytest.raises(RateLimitExceeded, match=r"^company a may send again in 60\.0 s$"):
            await limiter.acquire(A, "79001234569@s.whatsapp.net")


async def test_a_company_may_have_a_limit_of_its_own() -> None:
    limiter = WindowLimiter(limit=2, recipient_limit=2, overrides={"b": 1})
    for key, most in ((A, 2), (B, 1)):
        for number in range(most):
            await spend(limiter, key, str(number))
        with pytest.raises(RateLimitExceeded):
            await limiter.acquire(key, EVE)


async def test_retry_after_holds_while_others_are_under_way(limiter: WindowLimiter) -> None:
    with time_machine.travel(1_800_000_000.0, tick=False) as now:
        reserved = []
        for to in (BOB, EVE, EVE):
            reserved.append(await limiter.acquire(A, to))
            now.shift(5)
        with pytest.raises(RateLimitExceeded) as caught:
            await limiter.acquire(A, BOB)
        assert caught.value.retry_after == pytest.approx(45, abs=0.01)
        for reservation in reserved:
            now.shift(5)
            await reservation.commit()
        now.shift(caught.value.retry_after - 15 - 2 * CLEAR_OF_THE_EDGE)
        with pytest.raises(RateLimitExceeded):
            await limiter.acquire(A, BOB)
        now.shift(2 * CLEAR_OF_THE_EDGE)
        await spend(limiter, A, BOB)


async def test_retry_after_is_that_of_the_window_that_frees_last(limiter: WindowLimiter) -> None:
    with time_machine.travel(1_800_000_000.0, tick=False) as now:
        for to in (EVE, BOB, BOB):
            await spend(limiter, A, to)
            now.shift(10)
        for to, wait in ((EVE, 30), (BOB, 40)):
            with pytest.raises(RateLimitExceeded) as caught:
                await limiter.acquire(A, to)
            assert caught.value.retry_after == pytest.approx(wait, abs=0.01)


async def test_what_is_refused_spends_nothing_of_either_window(limiter: WindowLimiter) -> None:
    for _ in range(2):
        await spend(limiter, A, BOB)
    for _ in range(10):
        with pytest.raises(RateLimitExceeded):
            await limiter.acquire(A, BOB)
    await spend(limiter, A, EVE)


async def test_a_clock_that_is_set_back_stops_nobody_for_longer_than_a_window(limiter: WindowLimiter) -> None:
    with time_machine.travel(1_800_000_000.0, tick=False) as now:
        for to in (BOB, BOB, EVE):
            await spend(limiter, A, to)
        now.move_to(1_800_000_000.0 - 86400)
        with pytest.raises(RateLimitExceeded) as caught:
            await limiter.acquire(A, EVE)
        assert caught.value.retry_after == pytest.approx(60, abs=0.01)
        now.shift(caught.value.retry_after)
        await spend(limiter, A, EVE)


async def test_recipients_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasessionpool.limiters.memory.SWEEP_EVERY", 5)
    with time_machine.travel(1_800_000_000.0, tick=False) as now:
        limiter = WindowLimiter()
        for number in range(20):
            await spend(limiter, A, str(number))
            now.shift(61)
        assert len(limiter._windows.events) <= len(limiter._windows.locks) + 2 * 5 <= 2 * 5 + 2


@pytest.mark.parametrize(("share", "part"), [(1.0, (30, 5, 3)), (0.5, (15, 2, 1)), (0.01, (1, 1, 1))])
def test_a_share_of_a_budget_is_one_message_at_least(share: float, part: tuple[int, int, int]) -> None:
    budgets = Budgets(limit=30, recipient_limit=5, overrides={"b": 3}).part(share)
    assert (*budgets.of("a"), budgets.of("b")[0]) == part


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


async def test_it_has_no_thread() -> None:
    before = set(threading.enumerate())
    limiter = WindowLimiter()
    for number in range(100):
        await spend(limiter, SessionKey(str(number)), BOB)
        assert set(threading.enumerate()) <= before
