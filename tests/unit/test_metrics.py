"""What a pool counts: everything once, from the first moment, and nothing is forgotten with its session."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from wasessionpool import (
    DisconnectReason,
    Histogram,
    MessageRejected,
    PoolMetrics,
    QueueDepths,
    RateLimitExceeded,
    SendTimeout,
    SessionNotConnected,
    Status,
    WhatsAppSessionPool,
)
from wasessionpool.counts import Distribution
from wasessionpool.links import KeepAliveMissed, ReceiptsReceived
from wasessionpool.models import Contact, InboundReceipt
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool

pytestmark = pytest.mark.anyio
COMPANY, OTHER = "962302", "962303"
BOB = "79001234567"


async def linked(
    pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock, company_id: str = COMPANY
) -> FakeLink:
    await pool.create_session(company_id)
    driver.link.up()
    await clock.advance()
    return driver.link


def took(*seconds: float) -> Histogram:
    distribution = Distribution()
    for each in seconds:
        distribution.observe(each)
    return distribution.histogram()


def test_a_duration_is_counted_below_the_first_bound_that_it_does_not_pass() -> None:
    histogram = took(0.0, 0.01, 0.011, 60.0, 60.1)
    assert (histogram.counts[0], histogram.counts[1], histogram.counts[-2], histogram.counts[-1]) == (2, 1, 1, 1)
    assert (histogram.count, histogram.sum) == (5, pytest.approx(120.121))
    assert list(histogram.bounds) == sorted(set(histogram.bounds))
    assert took() == Histogram()


async def test_a_pool_without_sessions_has_zeros(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        assert await pool.get_metrics() == PoolMetrics(
            total_sessions=0, active_connections=0, sessions=dict.fromkeys(Status, 0), health={"ok": 0, "suspect": 0}
        )


async def test_sessions_are_counted_by_status_and_health(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        await linked(pool, driver, clock, OTHER)
        await pool.create_session("962304")
        link.on_probe = anyio.sleep_forever
        link.report(KeepAliveMissed(failures=1))
        await clock.advance(10)
        metrics = await pool.get_metrics()
        assert {status: n for status, n in metrics.sessions.items() if n} == {Status.CONNECTED: 2, Status.PAIRING: 1}
        assert (metrics.total_sessions, metrics.active_connections) == (3, 2)
        assert metrics.health == {"ok": 1, "suspect": 1}


async def test_a_send_is_timed_from_the_handing_over_and_not_while_it_waits(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def answer(*_: object) -> None:
        await clock.sleep(2)

    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = answer
        for _ in range(3):
            tasks.start_soon(pool.send_message, COMPANY, BOB, "hi")
        await clock.advance(1)
        assert (await pool.get_metrics()).queue_depths == QueueDepths(sends_waiting=2, sends_in_flight=1)
        await clock.advance(9)
        metrics = await pool.get_metrics()
        assert metrics.queue_depths == QueueDepths()
        assert metrics.send_latency == took(2, 2, 2)


async def test_a_failed_send_is_counted_by_its_code_and_once(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def refuse(*_: object) -> None:
        raise MessageRejected("no", server_code=479)

    async def refuse_late(*_: object) -> None:
        await clock.sleep(20)
        await refuse()

    async with open_pool(rate_limit_max=2, send_timeout=10) as pool:
        link = await linked(pool, driver, clock)
        link.on_send = refuse
        with pytest.raises(MessageRejected):
            await pool.send_message(COMPANY, BOB, "hi")
        link.on_send = None
        for _ in range(2):
            await pool.send_message(COMPANY, BOB, "hi")
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, BOB, "hi")
        link.lose()
        await clock.advance()
        with pytest.raises(SessionNotConnected):
            await pool.send_message(COMPANY, BOB, "hi")
        metrics = await pool.get_metrics()
        assert metrics.sends_failed == {"message_rejected": 1, "rate_limit_exceeded": 1, "session_not_connected": 1}
        assert (metrics.rate_limited, metrics.messages_sent, metrics.send_latency.count) == (1, 2, 2)
        assert metrics.errors_by_code == {"message_rejected": 1}

    async with open_pool(send_timeout=10) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = refuse_late

        async def send() -> None:
            with pytest.raises(SendTimeout):
                await pool.send_message(COMPANY, BOB, "hi")

        tasks.start_soon(send)
        await clock.advance(30)
        assert (await pool.get_metrics()).sends_failed == {"send_timeout": 1}


async def test_a_start_is_timed_until_the_link_is_live_but_for_pairings_and_blips(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def silent(_: FakeLink) -> None:
        await clock.sleep(1)

    async with open_pool(reconnect_base_delay=5, reconnect_grace=2) as pool:
        link = await linked(pool, driver, clock)
        assert (await pool.get_metrics()).time_to_connect == Histogram()
        driver.script = silent
        link.lose()
        link.up()
        await clock.advance(1)
        link.end(DisconnectReason.NETWORK)
        await clock.advance(5 + 1 + 3)
        driver.link.end(DisconnectReason.SERVER)
        await clock.advance(10 + 1 + 4)
        driver.link.up()
        await clock.advance()
        metrics = await pool.get_metrics()
        assert metrics.time_to_connect == took(1 + 4)
        assert (metrics.reconnects, metrics.reconnects_by_reason) == (1, {DisconnectReason.NETWORK: 1})


async def test_the_time_connected_leaves_out_what_is_lost(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(reconnect_grace=5) as pool:
        link = await linked(pool, driver, clock)
        await clock.advance(10)
        link.lose()
        await clock.advance(3)
        link.up()
        await clock.advance(4)
        assert (await pool.get_metrics()).connected_seconds == 14
        await clock.advance(6)
        await pool.disconnect(COMPANY)
        await clock.advance(100)
        assert (await pool.get_metrics()).connected_seconds == 20


async def test_what_waits_for_handlers_and_streams_is_shown(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    gate = anyio.Event()

    async def busy(_: Any) -> None:
        await gate.wait()

    async with open_pool() as pool, pool.events("message"):
        await linked(pool, driver, clock)
        pool.on("message", durable=True)(busy)
        for number in range(3):
            driver.link.receive(str(number))
        await clock.advance()
        assert (await pool.get_metrics()).queue_depths == QueueDepths(
            handler_events=2, stream_events=3, messages_in_flight=3
        )
        gate.set()
        await clock.advance()
        metrics = await pool.get_metrics()
        assert metrics.queue_depths == QueueDepths(stream_events=3)
        assert metrics.messages_received == 3


async def test_receipts_are_counted_by_what_they_say_of_how_many_messages(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    bob = Contact(id=f"{BOB}@s.whatsapp.net")
    now = datetime.now(UTC)
    receipts = (
        InboundReceipt(message_ids=("a", "b"), chat=bob, sender=bob, receipt="delivered", timestamp=now),
        InboundReceipt(message_ids=("a",), chat=bob, sender=bob, receipt="read", timestamp=now),
    )
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.report(ReceiptsReceived(receipts=receipts, missed=3))
        await clock.advance()
        metrics = await pool.get_metrics()
        assert (metrics.receipts, metrics.receipts_dropped) == ({"delivered": 2, "read": 1}, 3)


async def test_what_is_counted_stays_when_its_session_is_deleted(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        await pool.send_message(COMPANY, BOB, "hi")
        link.receive("hello")
        link.end(DisconnectReason.NETWORK)
        await clock.advance(5 + 7)
        before = await pool.get_metrics()
        assert (before.messages_sent, before.messages_received, before.reconnects) == (1, 1, 1)
        await pool.delete_session(COMPANY)
        await pool.delete_session(COMPANY)
        after = await pool.get_metrics()
        assert after.total_sessions == 0
        expected = {**before.model_dump(), "total_sessions": 0, "active_connections": 0}
        expected |= {"sessions": dict.fromkeys(Status, 0), "health": {"ok": 0, "suspect": 0}}
        assert after.model_dump() == expected
        await linked(pool, driver, clock)
        await pool.send_message(COMPANY, BOB, "hi")
        assert (await pool.get_metrics()).messages_sent == 2


async def test_the_figures_are_plain_json(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.end(DisconnectReason.NETWORK)
        await clock.advance(5)
        metrics = await pool.get_metrics()
        assert metrics.reconnects == 1
        assert PoolMetrics.model_validate_json(metrics.model_dump_json()) == metrics
