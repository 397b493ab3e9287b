"""Whether a link that counts as connected lives: who is doubted, when it is asked, and what follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from wasessionpool import DisconnectReason, DriverError, PoolSettings, SendTimeout, Status, WhatsAppSessionPool
from wasessionpool.events import Event
from wasessionpool.health import Health
from wasessionpool.links import KeepAliveMissed, KeepAliveRestored, LinkDoubted, LinkLost, PresenceChanged
from wasessionpool.models import Contact, Presence
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool, told

pytestmark = pytest.mark.anyio
COMPANY = "962302"
MISSED = KeepAliveMissed(failures=1)


async def up(link: FakeLink) -> None:
    link.up()


async def connected(pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock) -> FakeLink:
    driver.script = up
    await pool.create_session(COMPANY)
    await clock.advance()
    return driver.link


async def status(pool: WhatsAppSessionPool) -> Any:
    return await pool.get_session_status(COMPANY)


def checks(seen: list[Event]) -> list[Any]:
    return [event for event in seen if event.type == "health_check_failed"]


async def never() -> None:
    await anyio.sleep_forever()


async def hang(*_message: object) -> None:
    await anyio.sleep_forever()


async def send_in_vain(pool: WhatsAppSessionPool) -> None:
    with pytest.raises(SendTimeout):
        await pool.send_message(COMPANY, "79001234567", "hi")


async def refuse() -> None:
    raise DriverError("websocket not connected")


async def break_down() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("doubt", [MISSED, KeepAliveMissed(failures=7), LinkDoubted(detail="its worker is silent")])
async def test_a_link_in_doubt_is_probed_at_once_and_its_answer_is_enough(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], doubt: Any
) -> None:
    async with open_pool() as pool:
        link = await connected(pool, driver, clock)
        for probes in (1, 2, 3):
            link.report(doubt)
            await clock.advance()
            assert link.probes == probes
            now = await status(pool)
            assert (now.status, now.health) == (Status.CONNECTED, "ok")
        assert checks(seen) == []
        assert (await pool.get_metrics()).false_connected_seconds == 0


@pytest.mark.parametrize(
    ("probe", "takes", "error"),
    [
        (never, 10, "no answer within 10 s"),
        (refuse, 0, "websocket not connected"),
        (break_down, 0, "the driver failed with ZeroDivisionError"),
    ],
)
async def test_one_failure_is_a_suspicion_and_two_in_a_row_end_the_link(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    seen: list[Event],
    probe: Callable[[], Awaitable[None]],
    takes: float,
    error: str,
) -> None:
    async with open_pool() as pool:
        link = await connected(pool, driver, clock)
        await clock.advance(100)
        await pool.send_message(COMPANY, "79001234567", "hi")
        await clock.advance(20)
        seen.clear()
        link.on_probe = probe
        link.report(MISSED)
        await clock.advance(takes)
        now = await status(pool)
        assert (now.status, now.health) == (Status.CONNECTED, "suspect")
        [check] = checks(seen)
        assert (check.failures, check.probe_error, check.last_ack_age) == (1, error, 20 + takes)
        await clock.advance(10 + takes)
        now = await status(pool)
        assert (now.status, now.disconnect_reason) == (Status.RECONNECTING, DisconnectReason.KEEPALIVE)
        assert now.health == "ok"
        assert [check.failures for check in checks(seen)] == [1, 2]
        lost = ["health_check_failed", "health_check_failed", "disconnected", "reconnecting"]
        assert told(seen, "status", "message", "message_sent") == lost
        await clock.advance(5)
        assert (await status(pool)).status is Status.CONNECTED


async def test_an_answer_after_a_failure_restores_the_trust(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(health_failures=2) as pool:
        link = await connected(pool, driver, clock)
        for _time in range(3):
            link.on_probe = refuse
            link.report(MISSED)
            await clock.advance()
            assert (await status(pool)).health == "suspect"
            link.on_probe = None
            await clock.advance(10)
            now = await status(pool)
            assert (now.status, now.health) == (Status.CONNECTED, "ok")
        assert [check.failures for check in checks(seen)] == [1, 1, 1]


async def test_a_keep_alive_that_is_answered_again_restores_the_trust(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        link = await connected(pool, driver, clock)
        link.on_probe = refuse
        link.report(MISSED)
        await clock.advance()
        link.report(KeepAliveRestored())
        await clock.advance()
        assert (await status(pool)).health == "ok"


async def test_how_many_failures_end_a_link_is_a_setting(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(health_failures=4, health_check_interval=3) as pool:
        link = await connected(pool, driver, clock)
        link.on_probe = refuse
        link.report(MISSED)
        await clock.advance(8.9)
        assert (await status(pool)).status is Status.CONNECTED
        await clock.advance(0.1)
        assert (await status(pool)).status is Status.RECONNECTING
        assert [check.failures for check in checks(seen)] == [1, 2, 3, 4]


async def test_ages_are_of_what_came_and_went_over_this_link(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    someone = Presence(contact=Contact(id="79001234567@s.whatsapp.net"), available=True)
    async with open_pool(health_failures=9) as pool:
        link = await connected(pool, driver, clock)
        link.on_probe = refuse
        link.report(MISSED)
        await clock.advance(3)
        link.report(PresenceChanged(presence=someone))
        await clock.advance(7)
        assert [(check.last_inbound_age, check.last_ack_age) for check in checks(seen)] == [(None, None), (7, None)]


async def test_what_hung_while_the_line_was_lost_is_no_verdict(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await connected(pool, driver, clock)
        link.on_probe = never
        link.report(MISSED)
        await clock.advance(8)
        link.report(LinkLost())
        await clock.advance(1)
        link.up()
        await clock.advance(60)
        now = await status(pool)
        assert (now.status, now.health) == (Status.CONNECTED, "ok")
        assert checks(seen) == []


async def test_an_idle_healthy_link_is_hardly_ever_probed(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasessionpool.health.SPREAD", 0.0)
    async with open_pool(health_check_interval=30) as pool:
        link = await connected(pool, driver, clock)
        for probes in range(3):
            assert link.probes == probes
            await clock.advance(20 * 30 - 1)
            assert link.probes == probes
            await clock.advance(1)


async def test_idle_links_are_not_probed_all_at_once(clock: FakeClock) -> None:
    health = Health(PoolSettings(), clock)
    patience = [health.watch(None, None, print).patience for _ in range(100)]  # type: ignore[arg-type]
    assert all(450 <= seconds <= 750 for seconds in patience)
    assert len(set(patience)) > 50


async def test_a_link_with_traffic_is_never_probed(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool(health_check_interval=30) as pool:
        link = await connected(pool, driver, clock)
        for _minutes in range(20):
            await clock.advance(120)
            await pool.send_message(COMPANY, "79001234567", "hi")
        assert link.probes == 0


async def test_a_send_that_is_not_answered_makes_the_link_suspect_before_it_is_given_up(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(send_timeout=60) as pool:
        link = await connected(pool, driver, clock)
        link.on_send, link.on_probe = hang, never
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_in_vain, pool)
            await clock.advance(30)
            assert (await status(pool)).health == "suspect"
            await clock.advance(12)
            assert (await status(pool)).disconnect_reason is DisconnectReason.KEEPALIVE
        assert [check.failures for check in checks(seen)] == [1, 2]


@pytest.mark.parametrize("after", [0, 1, 7, 14, 22, 29])
async def test_a_link_that_dies_under_a_send_is_suspect_before_the_send_gives_it_up(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], after: float
) -> None:
    """With the times of a pool that was told nothing else, whenever the watch looked last."""
    async with open_pool() as pool:
        link = await connected(pool, driver, clock)
        await clock.advance(120 + after)
        link.on_send, link.on_probe = hang, never
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_in_vain, pool)
            await clock.advance(30)
        await clock.advance()
        assert "disconnected" in told(seen)
        assert [check.failures for check in checks(seen)] == [1]
        assert (await pool.get_metrics()).false_connected_seconds >= 30


@pytest.mark.parametrize(("known", "since"), [(True, 35.0), (False, 40.0)])
async def test_the_time_for_which_a_dead_link_was_called_connected_is_counted(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, known: bool, since: float
) -> None:
    """From the last keep-alive that was answered; where nobody says when that was, it cannot be long ago."""
    async with open_pool() as pool:
        link = await connected(pool, driver, clock)
        await clock.advance(400)
        link.on_probe = never
        answered_at = clock.now() - timedelta(seconds=35) if known else None
        link.report(KeepAliveMissed(failures=1, answered_at=answered_at))
        await clock.advance(10)
        assert (await pool.get_metrics()).false_connected_seconds == 0
        await clock.advance(20)
        assert (await status(pool)).status is Status.RECONNECTING
        assert (await pool.get_metrics()).false_connected_seconds == since + 30
        await clock.advance(3600)
        assert (await pool.get_metrics()).false_connected_seconds == since + 30


async def test_a_message_proves_life_when_whatsapp_had_it_not_when_it_is_read(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await connected(pool, driver, clock)
        await clock.advance(100)
        link.receive("hello")
        [item] = link.inbox.items
        link.inbox._items[item.number] = item.model_copy(
            update={"message": item.message.model_copy(update={"timestamp": clock.now() - timedelta(seconds=60)})}
        )
        link.on_probe = refuse
        await clock.advance()
        link.report(MISSED)
        await clock.advance()
        [check] = checks(seen)
        assert check.last_inbound_age == 60


async def test_one_task_serves_all_links_and_one_that_hangs_delays_no_other(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        driver.script = up
        for number in range(50):
            await pool.create_session(str(number))
        await clock.advance(100)
        assert len(await pool.get_active_sessions()) == 50
        for link in driver.links[:40]:
            link.on_probe = never
        for link in driver.links:
            link.report(MISSED)
        await clock.advance()
        assert [link.probes for link in driver.links] == [1] * 50
        await clock.advance(30)
        assert [(await pool.get_session_status(str(number))).status for number in range(40, 50)] == (
            [Status.CONNECTED] * 10
        )
        reasons = {(await pool.get_session_status(str(number))).disconnect_reason for number in range(40)}
        assert reasons == {DisconnectReason.KEEPALIVE}
