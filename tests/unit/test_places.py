"""Who waits for the limits gets a place in the order in which they came, and no company waits for another."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from wasessionpool import PoolSettings, RateLimitExceeded, SentMessage, WhatsAppPoolError, WhatsAppSessionPool
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing import FakeClock, FakeCoordinator, FakeDriver, FakeLink

pytestmark = pytest.mark.anyio
COMPANIES = ("962302", "962303", "962304")
WINDOW = 10


@dataclass(frozen=True)
class Ask:
    """A call of ``send_message`` at a time; ``timeout`` is of one that waits, ``None``: it does not wait."""

    at: float
    company: str
    to: str = "79001234567"
    timeout: float | None = math.inf


@dataclass(frozen=True)
class Told:
    """What became of it, and when."""

    ask: Ask
    at: float
    outcome: SentMessage | WhatsAppPoolError


async def linked(link: FakeLink) -> None:
    link.up()


@asynccontextmanager
async def opened(
    clock: FakeClock, driver: FakeDriver, *, shelf: Any = None, store: Any = None, **settings: Any
) -> AsyncIterator[WhatsAppSessionPool]:
    """Open a pool on a clock that the windows of ``limits`` go by as well."""
    settings = {"session_path": "/nonexistent", "start_rate": math.inf, "rate_limit_window": WINDOW} | settings
    with pytest.MonkeyPatch.context() as patch:
        time = SimpleNamespace(time=lambda: clock.now().timestamp())
        patch.setattr("limits.storage.memory.time", time)
        patch.setattr("wasessionpool.limiters.memory.time", time)
        async with MemoryStore() as memory:
            pool = WhatsAppSessionPool(
                PoolSettings(**settings),
                driver=driver,
                store=store or memory,
                coordinator=FakeCoordinator(),
                shelf=shelf or MemoryShelf(now=clock.now),
                clock=clock,
            )
            async with pool:
                for company in COMPANIES:
                    await pool.create_session(company)
                    await clock.advance()
                yield pool


async def run(asks: Sequence[Ask], **settings: Any) -> list[Told]:
    """Make these calls, and return what became of them in the order in which it did."""
    clock, told = FakeClock(), list[Told]()

    async def ask(pool: WhatsAppSessionPool, ask: Ask) -> None:
        await clock.sleep(ask.at)
        wait, timeout = ask.timeout is not None, None if ask.timeout in (None, math.inf) else ask.timeout
        try:
            outcome: Any = await pool.send_message(ask.company, ask.to, "hi", wait=wait, timeout=timeout)
        except WhatsAppPoolError as error:
            outcome = error
        told.append(Told(ask, clock.monotonic(), outcome))

    async with opened(clock, FakeDriver(linked), **settings) as pool, anyio.create_task_group() as tasks:
        for each in asks:
            tasks.start_soon(ask, pool, each)
        await clock.advance(1000)
    return told


ASKS = st.lists(
    st.builds(
        Ask,
        at=st.integers(0, 400).map(lambda tenths: tenths / 10),
        company=st.sampled_from(COMPANIES),
        to=st.sampled_from(("79001234567", "79001234568")),
        timeout=st.sampled_from((math.inf, math.inf, None, 3.0, 15.0)),
    ),
    max_size=25,
    unique_by=lambda ask: ask.at,
).map(lambda asks: sorted(asks, key=lambda ask: ask.at))


@given(asks=ASKS, company=st.sampled_from(COMPANIES))
@hypothesis_settings(max_examples=20, deadline=None)
def test_first_come_first_served_and_no_company_waits_for_another(asks: list[Ask], company: str) -> None:
    limits = {"rate_limit_max": 3, "rate_limit_recipient_max": 2}
    of_company = [ask for ask in asks if ask.company == company]

    async def both() -> tuple[list[Told], list[Told]]:
        return await run(asks, **limits), await run(of_company, **limits)

    # On trio, where it costs least to wait until all tasks wait.
    together, alone = anyio.run(both, backend="trio")
    told = [each for each in together if each.ask.company == company]
    # What a company's sends wait for is its own limit, to the moment.
    assert [(each.ask, each.at, type(each.outcome)) for each in told] == [
        (each.ask, each.at, type(each.outcome)) for each in alone
    ]
    assert len(told) == len(of_company)
    assert {type(each.outcome) for each in told} <= {SentMessage, RateLimitExceeded}
    sent = [each for each in told if isinstance(each.outcome, SentMessage)]
    assert [each.ask for each in sent if each.ask.timeout == math.inf] == [
        ask for ask in of_company if ask.timeout == math.inf
    ]
    for to, most in ((None, 3), ("79001234567", 2), ("79001234568", 2)):
        times = [each.at for each in sent if to in (None, each.ask.to)]
        assert all(sum(begin <= at < begin + WINDOW for at in times) <= most for begin in times)
    for each in told:
        if isinstance(each.outcome, RateLimitExceeded):
            assert each.at <= each.ask.at + (each.ask.timeout or 0) + 0.01


async def test_who_cannot_be_served_in_time_is_told_at_once() -> None:
    asks = [Ask(0, "962302"), Ask(1, "962302"), Ask(2, "962302", timeout=5), Ask(2, "962302", timeout=9)]
    told = await run(asks, rate_limit_max=1)
    became = {each.ask: (round(each.at, 1), type(each.outcome)) for each in told}
    assert became == {
        asks[0]: (0, SentMessage),
        asks[1]: (10, SentMessage),
        asks[2]: (2, RateLimitExceeded),
        asks[3]: (10, RateLimitExceeded),
    }


async def test_a_place_that_is_given_back_goes_to_who_waits_longest() -> None:
    clock, driver = FakeClock(), FakeDriver(linked)
    done: list[str] = []

    async def send(pool: WhatsAppSessionPool, to: str) -> None:
        try:
            await pool.send_message("962302", to, "hi", wait=True)
        except WhatsAppPoolError as error:
            to = error.code
        done.append(to)

    async with opened(clock, driver, rate_limit_max=1) as pool, anyio.create_task_group() as tasks:
        [link] = [link for link in driver.links if link.record.company_id == "962302"]
        refusal = anyio.Event()

        async def refuse(*_: object) -> None:
            link.on_send = None
            await refusal.wait()
            raise RateLimitExceeded("of WhatsApp", retry_after=1)

        link.on_send = refuse
        for to in ("79001234561", "79001234562", "79001234563"):
            tasks.start_soon(send, pool, to)
            await clock.advance(1)
        refusal.set()
        await clock.advance()
        assert done == ["rate_limit_exceeded", "79001234562"]
        await clock.advance(WINDOW + 1)
        assert done[2:] == ["79001234563"]


async def test_who_comes_the_moment_another_is_due_does_not_overtake() -> None:
    asks = [Ask(0, "962302"), Ask(1, "962302"), *(Ask(at / 1000, "962302", timeout=None) for at in range(9995, 10010))]
    told = await run(asks, rate_limit_max=1)
    assert [each.ask for each in told if isinstance(each.outcome, SentMessage)] == asks[:2]


async def test_who_is_cancelled_leaves_the_line() -> None:
    clock, scope, done = FakeClock(), anyio.CancelScope(), list[str]()

    async def send(pool: WhatsAppSessionPool, to: str) -> None:
        with scope if to == "79001234562" else anyio.CancelScope():
            await pool.send_message("962302", to, "hi", wait=True)
            done.append(to)

    async with opened(clock, FakeDriver(linked), rate_limit_max=1) as pool, anyio.create_task_group() as tasks:
        for to in ("79001234561", "79001234562", "79001234563"):
            tasks.start_soon(send, pool, to)
            await clock.advance(1)
        scope.cancel()
        await clock.advance(WINDOW)
        assert done == ["79001234561", "79001234563"]
