"""A session that gave up comes back with its siblings, and does not run after one that comes and goes."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from wasessionpool import DisconnectReason, Status, WhatsAppSessionPool
from wasessionpool.events import Event
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool

pytestmark = pytest.mark.anyio
SERVER = DisconnectReason.SERVER


class Far:
    """WhatsApp, which some companies reach and some do not."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.unreachable: set[str] = set()
        self.silent: set[str] = set()
        driver.script = self.answer

    async def answer(self, link: FakeLink) -> None:
        if link.record.company_id in self.silent:
            return
        if link.record.company_id in self.unreachable:
            link.end(SERVER)
        else:
            link.up()

    def lose(self, *companies: str) -> None:
        """Cut their links, and let them reach nobody."""
        self.unreachable |= set(companies)
        for company in companies:
            self.link(company).end(SERVER)

    def link(self, company: str) -> FakeLink:
        return next(link for link in reversed(self.driver.links) if link.record.company_id == company)

    def starts(self, company: str) -> int:
        return sum(link.record.company_id == company for link in self.driver.links)


@pytest.fixture
def far(driver: FakeDriver) -> Far:
    return Far(driver)


async def created(pool: WhatsAppSessionPool, clock: FakeClock, *companies: str) -> None:
    for company in companies:
        await pool.create_session(company)
    await clock.advance()


async def statuses(pool: WhatsAppSessionPool) -> list[Status]:
    return [session.status for session in await pool.get_sessions()]


async def test_those_that_gave_up_come_back_as_soon_as_one_does(
    open_pool: OpenPool, far: Far, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(max_reconnect_attempts=1) as pool:
        await created(pool, clock, "a", "b", "c")
        far.lose("a", "b", "c")
        await clock.advance(5)
        assert await statuses(pool) == [Status.FAILED] * 3
        await clock.advance(60)
        far.unreachable.clear()
        seen.clear()
        await pool.create_session("b")
        await clock.advance()
        assert await statuses(pool) == [Status.CONNECTED] * 3
        revived: dict[str, list[Any]] = {}
        for event in seen:
            revived.setdefault(event.company_id, []).append(event)
        for company in "ac":
            types = [event.type for event in revived[company]]
            assert types == ["status", "reconnecting", "status", "connected"]
            assert (revived[company][1].attempt, revived[company][1].delay) == (0, 0)


async def test_they_come_back_no_faster_than_links_may_start(
    open_pool: OpenPool, far: Far, driver: FakeDriver, clock: FakeClock
) -> None:
    companies = [str(number) for number in range(20)]
    async with open_pool(max_reconnect_attempts=0, start_rate=4) as pool:
        async with anyio.create_task_group() as tasks:
            for company in companies:
                tasks.start_soon(pool.create_session, company)
            await clock.advance(10)
        far.lose(*companies)
        await clock.advance(1)
        assert await statuses(pool) == [Status.FAILED] * 20
        far.unreachable.clear()
        async with anyio.create_task_group() as tasks:
            before = len(driver.links)
            tasks.start_soon(pool.create_session, "0")
            for started in range(1, 21):
                await clock.advance(0.25)
                assert len(driver.links) - before <= started + 1
        assert await statuses(pool) == [Status.CONNECTED] * 20


async def test_one_that_gets_through_while_another_gives_up_revives_it(
    open_pool: OpenPool, far: Far, clock: FakeClock
) -> None:
    """The comeback came after the attempt had begun: it says something new."""
    async with open_pool(max_reconnect_attempts=0) as pool:
        await created(pool, clock, "a", "b")
        far.lose("a", "b")
        await clock.advance()
        far.silent.add("a")
        await pool.restart("a")
        far.unreachable.discard("b")
        await pool.restart("b")
        await clock.advance()
        assert await statuses(pool) == [Status.CONNECTING, Status.CONNECTED]
        far.silent.discard("a")
        before = far.starts("a")
        far.link("a").end(SERVER)
        await clock.advance()
        assert far.starts("a") == before + 1


async def test_a_sibling_that_comes_and_goes_makes_nobody_try_without_an_end(
    open_pool: OpenPool, far: Far, clock: FakeClock
) -> None:
    async with open_pool(max_reconnect_attempts=0, revive_interval=10_000, reconnect_reset_after=1) as pool:
        await created(pool, clock, "a", "b")
        far.lose("a")
        await clock.advance()
        before = far.starts("a")
        for _second in range(600):
            far.link("b").lose()
            far.link("b").up()
            await clock.advance(1)
        # Between two attempts 5, 10, 20, 40, 80, 160, 300 s at the least.
        assert 5 <= far.starts("a") - before <= 8


async def test_its_own_link_revives_nobody(open_pool: OpenPool, far: Far, clock: FakeClock) -> None:
    async with open_pool(max_reconnect_attempts=0) as pool:
        await created(pool, clock, "a")
        far.lose("a")
        await clock.advance(100)
        assert far.starts("a") == 1


@pytest.mark.parametrize("reason", [DisconnectReason.STORAGE, DisconnectReason.POISONED, DisconnectReason.REPLACED])
async def test_what_has_nothing_to_do_with_the_line_waits_for_its_time(
    open_pool: OpenPool, far: Far, clock: FakeClock, reason: DisconnectReason
) -> None:
    async with open_pool() as pool:
        await created(pool, clock, "a", "b")
        far.link("a").end(reason)
        await clock.advance()
        assert await statuses(pool) == [Status.FAILED, Status.CONNECTED]
        await pool.restart("b")
        await clock.advance(100)
        assert far.starts("a") == 1
        await clock.advance(900)
        assert far.starts("a") == (1 if reason is DisconnectReason.REPLACED else 2)
