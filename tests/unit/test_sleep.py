"""A session that is idle sleeps, and wakes when it is needed or when something may wait for it."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from wasessionpool import DisconnectReason, PacingPolicy, SessionNotConnected, Status, WhatsAppSessionPool
from wasessionpool.events import Event
from wasessionpool.links import PresenceChanged
from wasessionpool.messages import to_message
from wasessionpool.models import Contact, Presence
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.coordinator import FakeCoordinator
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool, told

pytestmark = pytest.mark.anyio
COMPANY, BOB = "962302", "79001234567"
HOUR = 3600.0
SOMEONE = Presence(contact=Contact(id=f"{BOB}@s.whatsapp.net"), available=True)


async def up(link: FakeLink) -> None:
    link.up()


async def connected(pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock) -> FakeLink:
    driver.script = up
    await pool.create_session(COMPANY)
    await clock.advance()
    return driver.link


async def asleep(pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock) -> None:
    await connected(pool, driver, clock)
    await clock.advance(HOUR)
    assert (await status(pool)).status is Status.SLEEPING


async def status(pool: WhatsAppSessionPool) -> Any:
    return await pool.get_session_status(COMPANY)


async def test_by_default_no_session_sleeps(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        await connected(pool, driver, clock)
        await clock.advance(3 * HOUR)
        assert (await status(pool)).status is Status.CONNECTED


async def test_an_idle_session_sleeps_and_keeps_what_it_has(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, coordinator: FakeCoordinator, seen: list[Event]
) -> None:
    async with open_pool(session_timeout=HOUR) as pool:
        link = await connected(pool, driver, clock)
        await clock.advance(HOUR - 1)
        assert (await status(pool)).status is Status.CONNECTED
        seen.clear()
        await clock.advance(1)
        now = await status(pool)
        assert (now.status, now.disconnect_reason) == (Status.SLEEPING, DisconnectReason.IDLE)
        assert (now.next_retry_at - clock.now()).total_seconds() == 6 * HOUR
        assert told(seen) == ["status", "disconnected"]
        assert link.closed.is_set()
        assert driver.open_links == 0
        assert coordinator.owned
        assert "It wakes in 6 h" in await pool.explain(COMPANY)
        metrics = await pool.get_metrics()
        assert (metrics.total_sessions, metrics.active_connections) == (1, 0)


async def test_messages_and_sends_keep_it_awake_and_presence_does_not(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(session_timeout=HOUR) as pool:
        link = await connected(pool, driver, clock)
        await clock.advance(HOUR - 1)
        link.receive("hello")
        await clock.advance(HOUR - 1)
        await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance(HOUR - 1)
        link.report(PresenceChanged(presence=SOMEONE))
        assert (await status(pool)).status is Status.CONNECTED
        await clock.advance(1)
        assert (await status(pool)).status is Status.SLEEPING


async def test_it_does_not_sleep_over_a_send_that_is_under_way(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(session_timeout=10) as pool:
        link = await connected(pool, driver, clock)
        acknowledged = anyio.Event()

        async def wait(*_message: object) -> None:
            await acknowledged.wait()

        link.on_send = wait
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.send_message, COMPANY, BOB, "hi")
            await clock.advance(25)
            assert (await status(pool)).status is Status.CONNECTED
            acknowledged.set()
        await clock.advance(9)
        assert (await status(pool)).status is Status.CONNECTED
        await clock.advance(2)
        assert (await status(pool)).status is Status.SLEEPING


async def test_sends_wake_it_all_by_one_link(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(session_timeout=HOUR) as pool:
        await asleep(pool, driver, clock)
        seen.clear()
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(pool.send_message, COMPANY, BOB, f"hi {number}")
        assert len(driver.links) == 2
        assert len(driver.link.sent) == 3
        now = await status(pool)
        assert (now.status, now.next_retry_at) == (Status.CONNECTED, None)
        await clock.advance(HOUR - 1)
        assert (await status(pool)).status is Status.CONNECTED
        await clock.advance(1)
        assert (await status(pool)).status is Status.SLEEPING
        assert (await pool.get_metrics()).reconnects == 0
    assert told(seen, "message_sent")[:4] == ["status", "status", "connected", "status"]


async def test_a_send_that_cannot_wake_it_says_so_in_time(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(session_timeout=HOUR) as pool:
        await asleep(pool, driver, clock)

        async def silent(link: FakeLink) -> None:
            pass

        driver.script = silent
        said: list[SessionNotConnected] = []

        async def send(timeout: float | None) -> None:
            with pytest.raises(SessionNotConnected) as caught:
                await pool.send_message(COMPANY, BOB, "hi", timeout=timeout)
            said.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, 5.0)
            tasks.start_soon(send, None)
            await clock.advance(5)
            assert [error.status for error in said] == [Status.CONNECTING]
            await clock.advance(25)
        assert len(said) == 2
        assert (await status(pool)).status is Status.RECONNECTING
        assert driver.link.sent == []


async def test_a_send_at_the_moment_of_falling_asleep_is_sent(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(session_timeout=HOUR) as pool:
        await connected(pool, driver, clock)
        supervisor = pool._sessions[next(iter(pool._sessions))]
        assert supervisor._link is not None
        from wasessionpool.links import LinkEnded

        supervisor._link.give_up(LinkEnded(reason=DisconnectReason.IDLE))
        await pool.send_message(COMPANY, BOB, "hi")
        assert len(driver.links) == 2
        assert len(driver.link.sent) == 1


@pytest.mark.parametrize("call", ["create_session", "wait_until_connected", "restart", "operation", "logout"])
async def test_whatever_needs_its_link_wakes_it(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, call: str
) -> None:
    async with open_pool(session_timeout=HOUR) as pool:
        await asleep(pool, driver, clock)
        if call == "operation":
            await pool.session(COMPANY).typing(BOB)
        else:
            await getattr(pool, call)(COMPANY)
        await clock.advance()
        assert len(driver.links) == 2
        assert (await status(pool)).status is (Status.LOGGED_OUT if call == "logout" else Status.CONNECTED)


async def test_a_send_that_waits_for_its_turn_keeps_it_awake(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    pacing = PacingPolicy(min_gap=HOUR, gap_jitter=0, typing_speed=0, reconnect_ramp=0)
    async with open_pool(session_timeout=HOUR / 2, pacing=pacing) as pool:
        link = await connected(pool, driver, clock)
        async with anyio.create_task_group() as tasks:
            for text in ("first", "second"):
                tasks.start_soon(partial(pool.send_message, COMPANY, BOB, text, wait=True))
                await clock.advance()
            await clock.advance(HOUR - 1)
            assert (await status(pool)).status is Status.CONNECTED
            await clock.advance(2)
        assert [message for _, message in link.sent] == [to_message("first"), to_message("second")]
        await clock.advance(HOUR / 2)
        assert (await status(pool)).status is Status.SLEEPING


async def test_a_send_whose_key_is_looked_up_keeps_it_awake(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    class Slow(MemoryShelf):
        async def get(self, key: str) -> bytes | None:
            await clock.sleep(3 if key.startswith("send/") else 0)
            return await super().get(key)

    async with open_pool(shelf=Slow(now=clock.now), session_timeout=HOUR) as pool:
        link = await connected(pool, driver, clock)
        await clock.advance(HOUR - 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(pool.send_message, COMPANY, BOB, "hi", idempotency_key="order 1"))
            await clock.advance(3)
        assert len(link.sent) == 1


async def test_it_wakes_by_itself_to_collect_what_waits_then_sleeps_on(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(session_timeout=HOUR, idle_wake_interval=6 * HOUR) as pool:
        await asleep(pool, driver, clock)
        await clock.advance(6 * HOUR)
        assert (await status(pool)).status is Status.CONNECTED
        await clock.advance(20)
        driver.link.receive("are you there?")
        await clock.advance(29)
        assert (await status(pool)).status is Status.CONNECTED
        assert [event.text for event in seen if event.type == "message"] == ["are you there?"]
        await clock.advance(1)
        assert (await status(pool)).status is Status.SLEEPING
        await clock.advance(6 * HOUR)
        await pool.send_message(COMPANY, BOB, "I am")
        await clock.advance(HOUR - 1)
        assert (await status(pool)).status is Status.CONNECTED
        await clock.advance(1)
        assert (await status(pool)).status is Status.SLEEPING
        assert len(driver.links) == 3


async def test_what_is_asked_of_a_session_that_sleeps_ends_its_sleep(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(session_timeout=HOUR) as pool:
        await asleep(pool, driver, clock)
        await pool.disconnect(COMPANY)
        now = await status(pool)
        assert (now.status, now.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.REQUESTED)
        await clock.advance(10 * HOUR)
        assert len(driver.links) == 1
        with pytest.raises(SessionNotConnected):
            await pool.send_message(COMPANY, BOB, "hi")


async def test_the_next_pool_starts_a_session_that_slept(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with MemoryStore() as store:
        async with open_pool(store, session_timeout=HOUR) as pool:
            await asleep(pool, driver, clock)
        async with open_pool(store, session_timeout=HOUR) as pool:
            await clock.advance()
            assert (await status(pool)).status is Status.CONNECTED
