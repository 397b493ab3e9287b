"""What follows when a link ends, by the contract's table, on a fake driver and a clock that stands still."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from wasessionpool import (
    AuthenticationRequired,
    DisconnectReason,
    DriverError,
    LoggedOut,
    MessageRejected,
    PairingFailed,
    PairingTimeout,
    PoolClosed,
    PoolMetrics,
    RateLimitExceeded,
    SendTimeout,
    SessionFailed,
    SessionKey,
    SessionLocked,
    SessionNotConnected,
    SessionRecord,
    Status,
    Transition,
    WhatsAppPoolError,
    WhatsAppSessionPool,
    WorkerCrashed,
)
from wasessionpool.events import Event, ReconnectingEvent
from wasessionpool.links import PairingAccepted, PairingQueued, PairingStarted
from wasessionpool.operations import LogOut, Operation
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.coordinator import FakeCoordinator
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool, told

pytestmark = pytest.mark.anyio
COMPANY = "962302"


async def linked(
    pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock, company_id: str = COMPANY
) -> FakeLink:
    """Create a session and pair it."""
    await pool.create_session(company_id)
    driver.link.up()
    await clock.advance()
    assert (await pool.get_session_status(company_id)).status is Status.CONNECTED
    return driver.link


async def status(pool: WhatsAppSessionPool) -> Any:
    return await pool.get_session_status(COMPANY)


async def test_create_shows_a_qr_then_connects(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        first = await pool.create_session(COMPANY, metadata={"plan": "gold"})
        assert (first.status, first.qr and first.qr.text) == (Status.PAIRING, "2@fake")
        again = await pool.create_session(COMPANY)
        assert again.qr == first.qr
        assert len(driver.links) == 1
        driver.link.report(PairingAccepted(jid="79686484488:1@s.whatsapp.net"))
        driver.link.up()
        now = await pool.wait_until_connected(COMPANY, timeout=5)
        assert (now.status, now.phone_number, now.qr) == (Status.CONNECTED, "+79686484488", None)
        assert now.metadata == {"plan": "gold"}
        await clock.advance()
    assert told(seen)[:5] == ["status", "status", "qr", "status", "connected"]
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    assert seen[0].metadata == {"plan": "gold"}


async def test_a_blip_costs_no_attempt_and_tells_only_the_status(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        seen.clear()
        link.lose()
        await clock.advance(4.9)
        assert (await status(pool)).status is Status.RECONNECTING
        with pytest.raises(SessionNotConnected) as caught:
            await pool.send_message(COMPANY, "79001234567", "hi")
        assert caught.value.status is Status.RECONNECTING
        link.up()
        await clock.advance(100)
        assert (await status(pool)).status is Status.CONNECTED
        assert told(seen) == ["status", "status"]
        assert len(driver.links) == 1
        metrics = await pool.get_metrics()
        assert (metrics.blips, metrics.reconnects) == (1, 0)


async def flap(link: FakeLink, clock: FakeClock, held: float) -> None:
    """Hold the line for so many seconds, lose it, and mend it where the pool still wants it."""
    await clock.advance(held)
    if link.closed.is_set():
        return
    link.lose()
    await clock.advance(0.1)
    if not link.closed.is_set():
        link.up()
        await clock.advance()


async def test_a_line_that_never_holds_backs_off_as_one_that_is_lost(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async def up(link: FakeLink) -> None:
        link.up()

    async with open_pool() as pool:
        await linked(pool, driver, clock)
        driver.script = up
        seen.clear()
        for _ in range(400):
            await flap(driver.link, clock, 1.0)
        now = await status(pool)
    attempts = [event.delay for event in seen if isinstance(event, ReconnectingEvent)]
    assert [round(delay) for delay in attempts[:4]] == [5, 10, 20, 40]
    assert now.disconnect_reason is DisconnectReason.NETWORK
    assert now.last_error == "the line broke 4 times in a row"


async def test_a_line_that_holds_between_may_break_as_often_as_it_will(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        seen.clear()
        for _ in range(10):
            await flap(link, clock, 60.0)
        assert set(told(seen)) == {"status"}
        assert len(driver.links) == 1
        assert (await pool.get_metrics()).blips == 10


async def test_the_grace_counts_from_the_first_loss(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        for _attempt_of_the_driver in range(3):
            link.lose()
            await clock.advance(2)
        assert link.closed.is_set()
        assert (await status(pool)).reconnect_attempts == 1


async def test_a_lost_line_is_mended_by_backoff(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        seen.clear()

        async def refused(link: FakeLink) -> None:
            link.end(DisconnectReason.NETWORK, "refused")

        driver.script = refused
        link.lose()
        await clock.advance(5)
        assert driver.open_links == 0
        await clock.advance(5)
        await clock.advance(10)
        now = await status(pool)
        assert (now.status, now.reconnect_attempts, now.last_error) == (Status.RECONNECTING, 3, "refused")
        assert now.next_retry_at == clock.now() + timedelta(seconds=20)

        driver.script = link_up
        await clock.advance(20)
        assert (await status(pool)).status is Status.CONNECTED
    delays = [(e.attempt, e.delay) for e in seen if e.type == "reconnecting"]
    assert delays == [(1, 5), (2, 10), (3, 20)]
    assert told(seen, "status")[:5] == ["disconnected", "reconnecting", "reconnecting", "reconnecting", "connected"]
    assert f"Reconnecting session {COMPANY}: attempt 3 in 20.0 s" in caplog.text
    assert driver.open_links == 0


async def link_up(link: FakeLink) -> None:
    link.up()


async def test_the_counter_starts_anew_only_after_a_link_that_held(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        driver.script = link_up
        for held, attempt, delay in ((10, 1, 5), (10, 2, 10), (59, 3, 20), (60, 1, 5)):
            await clock.advance(held)
            seen.clear()
            link.end(DisconnectReason.SERVER)
            await clock.advance(delay)
            assert [(e.attempt, e.delay) for e in seen if e.type == "reconnecting"] == [(attempt, delay)]
            link = driver.link


async def test_spent_attempts_fail_the_session_until_it_is_revived(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(max_reconnect_attempts=2, revive_interval=900) as pool:
        link = await linked(pool, driver, clock)

        async def refused(link: FakeLink) -> None:
            link.end(DisconnectReason.SERVER)

        driver.script = refused
        link.end(DisconnectReason.SERVER)
        await clock.advance(16)
        now = await status(pool)
        assert (now.status, now.disconnect_reason) == (Status.FAILED, DisconnectReason.SERVER)
        with pytest.raises(SessionFailed):
            await pool.wait_until_connected(COMPANY)
        await clock.advance(900)
        await clock.advance(900)
        assert [e.type for e in seen].count("reconnect_failed") == 1
        assert [e.attempt for e in seen if e.type == "reconnecting"] == [1, 2, 0, 0]
        driver.script = link_up
        await clock.advance(900)
        assert (await status(pool)).status is Status.CONNECTED


async def test_a_session_that_was_revived_and_is_lost_again_says_so(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(max_reconnect_attempts=0, revive_interval=900) as pool:
        link = await linked(pool, driver, clock)
        driver.script = link_up
        link.end(DisconnectReason.SERVER)
        await clock.advance(900)
        seen.clear()
        driver.link.end(DisconnectReason.NETWORK)
        await clock.advance()
        assert (await status(pool)).status is Status.FAILED
        assert told(seen) == ["status", "disconnected", "status", "reconnect_failed"]


async def test_create_revives_a_failed_session_at_once(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(max_reconnect_attempts=0) as pool:
        link = await linked(pool, driver, clock)
        link.end(DisconnectReason.NETWORK)
        await clock.advance()
        assert (await status(pool)).status is Status.FAILED
        driver.script = link_up
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.create_session, COMPANY)
            await clock.advance(1)
        assert (await status(pool)).status is Status.CONNECTED


@pytest.mark.parametrize(
    ("reason", "ends_as", "events", "raised"),
    [
        (DisconnectReason.LOGGED_OUT, Status.LOGGED_OUT, ["status", "logout"], LoggedOut),
        (DisconnectReason.BANNED, Status.LOGGED_OUT, ["status", "logout"], LoggedOut),
        (DisconnectReason.REPLACED, Status.FAILED, ["status", "disconnected"], SessionFailed),
    ],
)
async def test_what_is_final_is_never_retried_and_not_begun_by_a_restart(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    seen: list[Event],
    reason: DisconnectReason,
    ends_as: Status,
    events: list[str],
    raised: type[Exception],
) -> None:
    async with MemoryStore() as store:
        async with open_pool(store) as pool:
            link = await linked(pool, driver, clock)
            seen.clear()
            link.end(reason)
            await clock.advance(10_000)
            now = await status(pool)
            assert (now.status, now.disconnect_reason) == (ends_as, reason)
            assert told(seen) == events
            with pytest.raises(raised):
                await pool.wait_until_connected(COMPANY)
        async with open_pool(store) as pool:
            await clock.advance(10_000)
            assert (await status(pool)).status is ends_as
    assert len(driver.links) == 1


async def test_a_temporary_ban_ends_by_itself(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        seen.clear()
        until = clock.now() + timedelta(hours=2)
        driver.script = link_up
        link.end(DisconnectReason.TEMPORARILY_BANNED, until=until)
        await clock.advance(7199)
        now = await status(pool)
        assert (now.status, now.restricted_until) == (Status.RESTRICTED, until)
        assert (await pool.create_session(COMPANY)).status is Status.RESTRICTED
        assert len(driver.links) == 1
        await clock.advance(1)
        now = await status(pool)
        assert (now.status, now.restricted_until) == (Status.CONNECTED, None)
    assert told(seen, "status")[:2] == ["restricted", "connected"]


@pytest.mark.parametrize("ahead", [None, 0.0, -60.0])
async def test_a_ban_without_an_end_to_come_keeps_away_for_an_hour(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], ahead: float | None
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        until = None if ahead is None else clock.now() + timedelta(seconds=ahead)
        link.end(DisconnectReason.TEMPORARILY_BANNED, until=until)
        await clock.advance(3599)
        assert ((await status(pool)).status, len(driver.links)) == (Status.RESTRICTED, 1)
        await clock.advance(1)
        assert len(driver.links) == 2
    assert [event.until for event in seen if event.type == "restricted"] == [None]


async def test_of_two_saves_at_once_the_newer_stays(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    delays: list[float] = []

    class Slow(MemoryStore):
        async def put(self, record: SessionRecord, fence: int) -> None:
            await clock.sleep(delays.pop(0) if delays else 0)
            await super().put(record, fence)

    async with Slow() as store, open_pool(store) as pool:
        link = await linked(pool, driver, clock)
        delays += [5.0, 0.0]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(pool.create_session, COMPANY, metadata={"a": 1}))
            await clock.advance()
            link.end(DisconnectReason.LOGGED_OUT)
            await clock.advance(5)
        saved = await store.get(SessionKey(COMPANY))
        assert saved is not None
        assert (saved.status, saved.linked) == (Status.LOGGED_OUT, False)


async def test_a_dead_pump_is_restarted_at_once_then_with_backoff(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        driver.script = link_up
        link.end(DisconnectReason.PUMP_DEAD)
        await clock.advance(1)
        assert (await status(pool)).status is Status.CONNECTED
        driver.link.end(DisconnectReason.PUMP_DEAD)
        await clock.advance(1)
        assert (await status(pool)).status is Status.RECONNECTING
        assert [(e.attempt, e.delay) for e in seen if e.type == "reconnecting"] == [(1, 0), (2, 10)]


async def test_nobody_scans(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY)
        driver.link.end(DisconnectReason.PAIRING_TIMEOUT)
        with pytest.raises(PairingTimeout):
            await pool.wait_until_connected(COMPANY)
        await clock.advance(10_000)
        now = await status(pool)
        assert (now.status, now.qr) == (Status.DISCONNECTED, None)
        assert len(driver.links) == 1
        assert [e.code for e in seen if e.type == "error"] == ["pairing_timeout"]
        assert (await pool.create_session(COMPANY)).status is Status.PAIRING


async def test_a_refused_pairing(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY)
        driver.link.end(DisconnectReason.PAIRING_FAILED)
        with pytest.raises(PairingFailed):
            await pool.wait_until_connected(COMPANY)


async def test_waiting_for_a_turn_to_pair_is_no_fault(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def queued(link: FakeLink) -> None:
        link.report(PairingQueued())

    driver.script = queued
    async with open_pool(connect_timeout=30) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.create_session, COMPANY)
            await clock.advance(31)
        assert (await status(pool)).status is Status.CONNECTING
        await clock.advance(1000)
        driver.link.report(PairingStarted())
        driver.link.offer_pairing()
        await clock.advance()
        assert (await status(pool)).status is Status.PAIRING
        assert len(driver.links) == 1


async def test_a_connect_that_hangs_is_given_up(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async def silent(_: FakeLink) -> None:
        return

    driver.script = silent
    async with open_pool(connect_timeout=30) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.create_session, COMPANY)
            await clock.advance(30)
        now = await status(pool)
        assert now.status is Status.RECONNECTING
        assert "no answer within 30 s" in (now.last_error or "")
        assert driver.links[0].closed.is_set()


async def test_a_driver_that_cannot_open_a_link_is_retried(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def crash(_: FakeLink) -> None:
        raise WorkerCrashed("the worker ended with signal 6")

    driver.script = crash
    async with open_pool() as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.create_session, COMPANY)
            await clock.advance(30)
        now = await status(pool)
        assert (now.status, now.disconnect_reason) == (Status.RECONNECTING, DisconnectReason.WORKER_CRASHED)
        assert now.last_error == "the worker ended with signal 6"


async def test_a_bug_in_the_driver_ends_a_link_and_nothing_else(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def bug(_: FakeLink) -> None:
        raise ZeroDivisionError

    async with open_pool() as pool:
        await linked(pool, driver, clock, "other")
        driver.script = bug
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.create_session, COMPANY)
            await clock.advance(4)
            now = await status(pool)
            assert (now.status, now.disconnect_reason) == (Status.RECONNECTING, DisconnectReason.WORKER_CRASHED)
            assert (await pool.get_session_status("other")).status is Status.CONNECTED
            driver.script = link_up
            await clock.advance(1)
        assert (await status(pool)).status is Status.CONNECTED


async def test_disconnect_keeps_the_credentials_and_lasts(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with MemoryStore() as store:
        async with open_pool(store) as pool:
            await linked(pool, driver, clock)
            seen.clear()
            await pool.disconnect(COMPANY)
            await pool.disconnect(COMPANY)
            now = await status(pool)
            assert (now.status, now.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.REQUESTED)
            with pytest.raises(SessionNotConnected):
                await pool.wait_until_connected(COMPANY)
            await clock.advance()
            assert told(seen) == ["status", "disconnected"]
        async with open_pool(store) as pool:
            await clock.advance(100)
            assert len(driver.links) == 1
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pool.create_session, COMPANY)
                await clock.advance(1)
            assert (await status(pool)).status is Status.CONNECTED


async def test_a_pool_restores_what_ran(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with MemoryStore() as store:
        async with open_pool(store) as pool:
            await linked(pool, driver, clock)
        async with open_pool(store) as pool:
            await clock.advance(1)
            assert (await status(pool)).status is Status.CONNECTED
        async with open_pool(store, autostart=False) as pool:
            await clock.advance(1)
            assert (await status(pool)).status is Status.DISCONNECTED
            assert (await status(pool)).phone_number == "+79686484488"
    assert len(driver.links) == 2


async def test_logout_tells_whatsapp_and_erases(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        await pool.logout(COMPANY)
        assert link.operations == [LogOut()]
        now = await status(pool)
        assert (now.status, now.phone_number) == (Status.LOGGED_OUT, None)
        with pytest.raises(AuthenticationRequired):
            await pool.send_message(COMPANY, "79001234567", "hi")
        await clock.advance()
        assert "logout" in told(seen)
        await pool.delete_session(COMPANY)
        assert await pool.get_sessions() == []
        await pool.delete_session(COMPANY)
        await pool.logout(COMPANY)
        await pool.disconnect(COMPANY)
        await pool.restart(COMPANY)


async def test_restart_makes_a_new_link(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.restart, COMPANY)
            await clock.advance(1)
        assert link.closed.is_set()
        assert (await status(pool)).status is Status.CONNECTED
        assert (driver.open_links, len(driver.links)) == (1, 2)


async def test_a_send_is_acknowledged_counted_and_told(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        sent = await pool.send_message(COMPANY, "+7 900 123-45-67", "hello")
        assert (sent.to, sent.company_id) == ("79001234567@s.whatsapp.net", COMPANY)
        [(to, message)] = link.sent
        assert (str(to), message.text) == (sent.to, "hello")
        await clock.advance()
        assert (await pool.get_metrics()).messages_sent == 1
    assert [e.message_id for e in seen if e.type == "message_sent"] == [sent.id]


async def test_an_unlinked_session_asks_for_its_qr(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY)
        with pytest.raises(AuthenticationRequired) as caught:
            await pool.send_message(COMPANY, "79001234567", "hi")
        assert caught.value.qr is not None
        assert caught.value.qr.text == "2@fake"


async def test_a_hanging_send_times_out_once_and_recycles_the_link(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    outcomes: list[BaseException] = []

    async def send(pool: WhatsAppSessionPool) -> None:
        try:
            await pool.send_message(COMPANY, "79001234567", "hi")
        except WhatsAppPoolError as error:
            outcomes.append(error)

    async def hang(*_: object) -> None:
        await anyio.sleep_forever()

    async with open_pool(send_timeout=30) as pool:
        link = await linked(pool, driver, clock)
        link.on_send = hang
        driver.script = link_up
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, pool)
            tasks.start_soon(send, pool)
            await clock.advance(30)
        assert [type(error) for error in outcomes] == [SendTimeout, SessionNotConnected]
        await clock.advance(6)
        assert (await status(pool)).status is Status.CONNECTED
        assert driver.link.sent == []
    assert told(seen, "status")[1:4] == ["connected", "error", "disconnected"]
    assert next(e.reason for e in seen if e.type == "disconnected") is DisconnectReason.STALLED


async def test_a_hanging_call_is_told_and_recycles_the_link(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(operation: Operation) -> None:
        await anyio.sleep_forever()

    async def call() -> None:
        with pytest.raises(DriverError):
            await pool.session(COMPANY).is_on_whatsapp("+79001234567")

    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        monkeypatch.setattr(link, "call", hang)
        seen.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await clock.advance(30)
        await clock.advance()
    assert [(e.type, getattr(e, "reason", None)) for e in seen][:3] == [
        ("error", None),
        ("status", DisconnectReason.STALLED),
        ("disconnected", DisconnectReason.STALLED),
    ]


async def test_a_refused_send_spends_nothing_of_the_limit(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async def reject(*_: object) -> None:
        raise MessageRejected("server returned error 479", server_code=479)

    async with open_pool(rate_limit_max=1) as pool:
        link = await linked(pool, driver, clock)
        link.on_send = reject
        for _ in range(3):
            with pytest.raises(MessageRejected):
                await pool.send_message(COMPANY, "79001234567", "hi")
        link.on_send = None
        begin = time.monotonic()
        await pool.send_message(COMPANY, "79001234567", "hi")
        with pytest.raises(RateLimitExceeded) as caught:
            await pool.send_message(COMPANY, "79001234567", "hi")
        assert 60 - (time.monotonic() - begin) <= caught.value.retry_after <= 60.1
        await clock.advance()
        assert [e.code for e in seen if e.type == "error"] == ["message_rejected"] * 3


async def test_sends_of_one_session_go_one_at_a_time(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    at_once = [0, 0]

    async def slow(*_: object) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await clock.sleep(1)
        at_once[0] -= 1

    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.on_send = slow
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(pool.send_message, COMPANY, "79001234567", f"{number}")
            await clock.advance(10)
        assert at_once[1] == 1
        assert sorted(message.text for _, message in link.sent) == ["0", "1", "2", "3", "4"]


async def test_messages_can_be_answered(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_pool() as pool:

        @pool.on("message", company_id=COMPANY)
        async def answer(event: Any) -> None:
            await event.mark_read()
            await event.reply(event.text.upper())

        link = await linked(pool, driver, clock)
        link.receive("squeamish")
        await clock.advance()
        assert [message.text for _, message in link.sent] == ["SQUEAMISH"]
        assert [operation.type for operation in link.operations] == ["mark_read"]
        assert (await status(pool)).messages_received == 1
        assert pool.off(answer) is None
        link.receive("ossifrage")
        await clock.advance()
        assert len(link.sent) == 1
    assert "squeamish" not in caplog.text.lower()


async def test_an_answer_to_what_came_before_the_link_counts_as_live_waits_for_it(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def catching_up(link: FakeLink) -> None:
        link.receive("sent while you were away")

    async with open_pool() as pool:
        link = await linked(pool, driver, clock)

        @pool.on("message")
        async def answer(event: Any) -> None:
            await event.mark_read()
            await event.reply("I am back")

        driver.script = catching_up
        link.end(DisconnectReason.NETWORK)
        await clock.advance(6)
        assert (await status(pool)).status is Status.RECONNECTING
        driver.link.up()
        await clock.advance()
        assert [message.text for _, message in driver.link.sent] == ["I am back"]
        assert [operation.type for operation in driver.link.operations] == ["mark_read"]


async def test_a_failing_handler_becomes_an_error_event(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)

        @pool.on("message")
        async def broken(event: Any) -> None:
            raise KeyError(event.message_id)

        link.receive("one")
        link.receive("two")
        await clock.advance()
        assert [e.code for e in seen if e.type == "error"] == ["handler_failed"] * 2
        assert (await status(pool)).status is Status.CONNECTED


async def test_a_session_of_another_pool_is_refused_and_told(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, coordinator: FakeCoordinator
) -> None:
    async with MemoryStore() as store, open_pool(store) as pool:
        await linked(pool, driver, clock)
        async with open_pool(store) as second:
            await clock.advance()
            now = await status(second)
            assert (now.status, now.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.LEASE_LOST)
            assert now.last_error == "run by another pool"
            for call in (second.create_session, second.logout, second.delete_session, second.disconnect):
                with pytest.raises(SessionLocked) as caught:
                    await call(COMPANY)
                assert caught.value.holder == "another pool"
            with pytest.raises(SessionLocked):
                async with coordinator.own(SessionKey("new")):
                    await second.create_session("new")
            assert [s.company_id for s in await second.get_sessions()] == [COMPANY]
        assert (await status(pool)).status is Status.CONNECTED
        assert len(driver.links) == 1


async def test_a_session_that_another_pool_runs_says_so_whatever_it_was_down_for(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with MemoryStore() as store, open_pool(store) as pool, open_pool(store) as second:
        await linked(second, driver, clock)
        await second.disconnect(COMPANY)
        await pool.create_session(COMPANY)
        with pytest.raises(SessionLocked):
            await second.create_session(COMPANY)
        now = await status(second)
        assert (now.status, now.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.LEASE_LOST)


async def test_a_lost_lease_ends_the_link(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, coordinator: FakeCoordinator
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        coordinator.owned[SessionKey(COMPANY)].lost.set()
        await clock.advance(1000)
        now = await status(pool)
        assert (now.status, now.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.LEASE_LOST)
        assert link.closed.is_set()
        assert coordinator.owned == {}
        assert len(driver.links) == 1


async def test_a_closed_pool_ends_its_streams_and_refuses(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    got: list[Event] = []

    async def listen(pool: WhatsAppSessionPool, ready: anyio.Event) -> None:
        async with pool.events("message", "disconnected") as events:
            ready.set()
            got.extend([event async for event in events])

    async with anyio.create_task_group() as tasks, open_pool() as pool:
        ready = anyio.Event()
        tasks.start_soon(listen, pool, ready)
        await ready.wait()
        link = await linked(pool, driver, clock)
        link.receive("hi")
        await clock.advance()
    assert [e.type for e in got] == ["message", "disconnected"]
    with pytest.raises(PoolClosed):
        await pool.create_session(COMPANY)
    with pytest.raises(PoolClosed):
        async with pool:
            pass


async def test_a_cancelled_application_still_has_its_sessions_stopped_in_order(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with MemoryStore() as store:
        with anyio.CancelScope() as scope:
            async with open_pool(store) as pool:
                await linked(pool, driver, clock)
                scope.cancel()
                await anyio.sleep_forever()
        assert told(seen)[-2:] == ["status", "disconnected"]
        stored = await store.get(SessionKey(COMPANY))
        assert stored is not None
        assert (stored.status, stored.desired) == (Status.DISCONNECTED, "running")
    assert driver.open_links == 0


async def test_what_another_pool_did_meanwhile_is_taken_over(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with MemoryStore() as store, open_pool(store, autostart=False) as first:
        await first.create_session(COMPANY, metadata={"plan": "gold"})
        await first.disconnect(COMPANY)
        async with open_pool(store, autostart=False) as second:
            await linked(second, driver, clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.create_session, COMPANY)
            await clock.advance(1)
        now = await status(first)
        assert (now.status, now.phone_number) == (Status.CONNECTED, "+79686484488")
        assert now.metadata == {"plan": "gold"}
        await first.disconnect(COMPANY)
        async with open_pool(store, autostart=False) as second:
            await second.delete_session(COMPANY)
        assert (await first.create_session(COMPANY)).status is Status.PAIRING


async def test_a_driver_that_ends_without_a_reason_is_a_dead_pump(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        driver.script = link_up
        link.fall_silent()
        await clock.advance(1)
        now = await status(pool)
        assert (now.status, now.history[-2].reason) == (Status.CONNECTED, DisconnectReason.PUMP_DEAD)


async def test_a_send_of_unknown_outcome_spends_its_place(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async def crash(*_: object) -> None:
        raise SendTimeout("the worker ended during the send")

    async with open_pool(rate_limit_max=1) as pool:
        link = await linked(pool, driver, clock)
        link.on_send = crash
        with pytest.raises(SendTimeout):
            await pool.send_message(COMPANY, "79001234567", "hi")
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, "79001234567", "hi")
        await clock.advance()
    assert [e.code for e in seen if e.type == "error"] == ["send_timeout"]


async def test_an_immediate_reset_of_the_counter_still_backs_off(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async def refused(link: FakeLink) -> None:
        link.end(DisconnectReason.NETWORK)

    async with open_pool(reconnect_reset_after=0) as pool:
        link = await linked(pool, driver, clock)
        driver.script = refused
        link.end(DisconnectReason.NETWORK)
        await clock.advance(16)
    assert [e.attempt for e in seen if e.type == "reconnecting"] == [1, 2, 3]


async def test_the_metrics_and_the_history_say_what_happened(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        await linked(pool, driver, clock)
        await pool.send_message(COMPANY, "79001234567", "Hello")
        await clock.advance()
        metrics = await pool.get_metrics()
        assert (metrics.total_sessions, metrics.active_connections, metrics.messages_sent) == (1, 1, 1)
        assert metrics == PoolMetrics(
            total_sessions=1,
            active_connections=1,
            sessions={each: int(each is Status.CONNECTED) for each in Status},
            health={"ok": 1, "suspect": 0},
            messages_sent=1,
            send_latency=metrics.send_latency,
        )
        first, *_, last = (await status(pool)).history
        assert first == Transition(time=clock.now(), previous=Status.DISCONNECTED, current=Status.CONNECTING)
        assert last == Transition(time=clock.now(), previous=Status.PAIRING, current=Status.CONNECTED)
