"""When a pool starts links: not too fast, not in vain, and at once no grace where many lines broke together."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest

from wasessionpool import ClientOutdated, DisconnectReason, SessionKey, Status, WhatsAppSessionPool
from wasessionpool.drops import Drops
from wasessionpool.events import Event
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool, told

pytestmark = pytest.mark.anyio


async def up(link: FakeLink) -> None:
    link.up()


async def connect(pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock, count: int) -> None:
    """Create sessions and connect them all."""
    driver.script = up
    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(pool.create_session, str(number))
        await clock.advance(100)
    assert len(await pool.get_active_sessions()) == count


@pytest.mark.parametrize(
    ("sessions", "dropped", "apart", "many"),
    [(12, 10, 0.0, True), (12, 9, 0.0, False), (50, 10, 0.0, True), (51, 10, 0.0, False), (12, 12, 0.125, False)],
)
async def test_how_many_lines_that_break_are_many(
    clock: FakeClock, sessions: int, dropped: int, apart: float, many: bool
) -> None:
    drops = Drops(clock, lambda: sessions)
    for _again in range(2):
        for number in range(dropped):
            drops.note(SessionKey(str(number)))
            await clock.advance(apart)
    assert drops.many_since(0) is many


async def test_a_pool_that_drops_as_a_whole_has_a_second_and_comes_back_no_faster_than_it_may(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    started: list[float] = []

    async def note(link: FakeLink) -> None:
        started.append(clock.monotonic())
        link.up()

    async with open_pool(start_rate=4) as pool:
        await connect(pool, driver, clock, 10)
        driver.script = note
        mended, *lost = driver.links
        for link in driver.links:
            link.lose()
        mended.up()
        await clock.advance(0.875)
        assert not any(link.closed.is_set() for link in lost)
        await clock.advance(0.125)
        assert all(link.closed.is_set() for link in lost)
        await clock.advance(100)
        assert len(await pool.get_active_sessions()) == 10
        assert not mended.closed.is_set()
    assert [later - earlier for earlier, later in pairwise(started)] == [0.25] * 8


async def test_an_outdated_client_is_told_once_and_starts_no_session(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with MemoryStore() as store:
        async with open_pool(store) as pool:
            await connect(pool, driver, clock, 3)
            seen.clear()
            first, second, third = driver.links
            for link in (first, second):
                link.end(DisconnectReason.OUTDATED)
                await clock.advance(10_000)
            third.lose()
            for company_id in (first.record.company_id, "new"):
                with pytest.raises(ClientOutdated):
                    await pool.create_session(company_id)
            await clock.advance(10_000)
            for status in await pool.get_sessions():
                assert (status.status, status.disconnect_reason) == (Status.FAILED, DisconnectReason.OUTDATED)
            assert [e.code for e in seen if e.type == "error"] == ["client_outdated"]
            assert told(seen, "status", "error") == ["disconnected", "reconnecting"]
        assert len(driver.links) == 3
        async with open_pool(store) as pool:
            await clock.advance(100)
            assert len(await pool.get_active_sessions()) == 3


async def test_a_live_session_outlasts_the_refusal_of_another(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        await connect(pool, driver, clock, 2)
        refused, live = driver.links
        refused.end(DisconnectReason.OUTDATED)
        await clock.advance()
        assert (await pool.create_session(live.record.company_id)).status is Status.CONNECTED
        with pytest.raises(ClientOutdated):
            await pool.restart(live.record.company_id)
        assert not live.closed.is_set()


async def test_a_pool_that_opens_starts_what_ran_no_faster_than_it_may(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    started: list[float] = []

    async def note(link: FakeLink) -> None:
        started.append(clock.monotonic())
        link.up()

    async with MemoryStore() as store:
        async with open_pool(store) as pool:
            await connect(pool, driver, clock, 20)
            await pool.disconnect("7")
        driver.script = note
        async with open_pool(store, start_rate=4) as pool:
            await clock.advance(10)
            assert len(await pool.get_active_sessions()) == 19
    assert all(later - earlier == pytest.approx(0.25) for earlier, later in pairwise(started))
