"""What becomes of a send whose caller, acknowledgement or link goes away, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import anyio
import pytest
import time_machine

from wasessionpool import (
    AuthenticationRequired,
    DisconnectReason,
    DriverError,
    MessageEvent,
    MessageRejected,
    RateLimitExceeded,
    SendTimeout,
    SentMessage,
    SessionKey,
    SessionNotConnected,
    Status,
    WhatsAppPoolError,
    WhatsAppSessionPool,
)
from wasessionpool.events import Event
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.coordinator import FakeCoordinator
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool, told

pytestmark = pytest.mark.anyio
COMPANY, BOB = "962302", "79001234567"


async def linked(pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock) -> FakeLink:
    await pool.create_session(COMPANY)
    driver.link.up()
    await clock.advance()
    return driver.link


def after(clock: FakeClock, seconds: float, error: Exception | None = None) -> Callable[..., Awaitable[None]]:
    """Let WhatsApp answer after some seconds."""

    async def answer(*_: object) -> None:
        await clock.sleep(seconds)
        if error is not None:
            raise error

    return answer


class Caller:
    """An application's call of ``send_message``."""

    def __init__(self, pool: WhatsAppSessionPool, timeout: float | None = None, *, wait: bool = False) -> None:
        self.outcome: SentMessage | Exception | None = None
        self.scope = anyio.CancelScope()
        self._pool, self._timeout, self._wait = pool, timeout, wait

    async def send(self) -> None:
        with self.scope:
            try:
                self.outcome = await self._pool.send_message(COMPANY, BOB, "hi", wait=self._wait, timeout=self._timeout)
            except WhatsAppPoolError as error:
                self.outcome = error


@pytest.mark.parametrize("cancelled", [False, True], ids=["timeout", "cancelled"])
async def test_a_send_whose_caller_gives_up_goes_on_and_is_told(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], cancelled: bool
) -> None:
    async with open_pool(send_timeout=30, rate_limit_max=1) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 20)
        caller = Caller(pool, None if cancelled else 5)
        tasks.start_soon(caller.send)
        await clock.advance(5)
        if cancelled:
            caller.scope.cancel()
            await clock.advance()
        else:
            assert isinstance(caller.outcome, SendTimeout)
            assert caller.outcome.outcome == "unknown"
        assert "message_sent" not in told(seen)
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance(15)
        [event] = [e for e in seen if e.type == "message_sent"]
        assert (event.message_id, event.to) == ("FAKE1", f"{BOB}@s.whatsapp.net")
        if isinstance(caller.outcome, SendTimeout):
            assert event.send_id == caller.outcome.send_id
        assert (await pool.get_metrics()).messages_sent == 1
        assert (await pool.get_metrics()).errors == 0
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance(100)
        assert (await pool.get_session_status(COMPANY)).status is Status.CONNECTED
        assert len(driver.links) == 1


async def test_a_caller_that_gives_up_does_not_end_the_link_but_the_deadline_does(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(send_timeout=30) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 1000)
        caller = Caller(pool, 5)
        tasks.start_soon(caller.send)
        await clock.advance(29.9)
        assert isinstance(caller.outcome, SendTimeout)
        assert (await pool.get_session_status(COMPANY)).status is Status.CONNECTED
        seen.clear()
        await clock.advance(0.1)
        assert told(seen, "status") == ["error", "disconnected", "reconnecting"]
        assert (seen[0].code, seen[0].send_id) == ("send_timeout", caller.outcome.send_id)
        assert next(e.reason for e in seen if e.type == "disconnected") is DisconnectReason.STALLED
        assert link.closed.is_set()


async def test_a_late_refusal_is_told_and_spends_nothing(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(rate_limit_max=1) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 20, MessageRejected("server returned error 479", server_code=479))
        caller = Caller(pool, 5)
        tasks.start_soon(caller.send)
        await clock.advance(20)
        assert isinstance(caller.outcome, SendTimeout)
        errors = [(e.code, e.send_id) for e in seen if e.type == "error"]
        assert errors == [("message_rejected", caller.outcome.send_id)]
        link.on_send = None
        await pool.send_message(COMPANY, BOB, "hi")


async def test_an_answer_after_the_deadline_is_told_too(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async def answer_on_leaving(*_: object) -> None:
        with anyio.CancelScope(shield=True):
            await driver.links[0].closed.wait()

    async with open_pool(send_timeout=30, rate_limit_max=1) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = answer_on_leaving
        caller = Caller(pool)
        tasks.start_soon(caller.send)
        await clock.advance(30)
        assert isinstance(caller.outcome, SendTimeout)
        assert [e.type for e in seen if getattr(e, "send_id", None) == caller.outcome.send_id] == [
            "error",
            "message_sent",
        ]
        assert (await pool.get_metrics()).messages_sent == 1


@pytest.mark.parametrize("cancelled", [False, True], ids=["timeout", "cancelled"])
async def test_what_was_never_handed_over_was_not_sent_and_spends_nothing(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], cancelled: bool
) -> None:
    async with open_pool(send_timeout=30, rate_limit_max=2) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 20)
        first, second = Caller(pool), Caller(pool, None if cancelled else 10)
        for caller in (first, second):
            tasks.start_soon(caller.send)
            await clock.advance()
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance(10)
        if cancelled:
            second.scope.cancel()
            await clock.advance()
        else:
            assert isinstance(second.outcome, SessionNotConnected)
            assert "nothing was sent" in second.outcome.message
            assert second.outcome.status is Status.CONNECTED
        third = Caller(pool)
        tasks.start_soon(third.send)
        await clock.advance(30)
        assert [type(caller.outcome) for caller in (first, third)] == [SentMessage, SentMessage]
        assert len(link.sent) == 2
        assert [e.type for e in seen if e.type in ("message_sent", "error")] == ["message_sent"] * 2


async def test_a_sends_deadline_runs_from_when_its_turn_comes(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(send_timeout=30) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 20)
        callers = [Caller(pool) for _ in range(3)]
        for caller in callers:
            tasks.start_soon(caller.send)
        await clock.advance(60)
        assert [type(caller.outcome) for caller in callers] == [SentMessage] * 3
        assert len(driver.links) == 1


async def test_a_link_that_ends_takes_its_send_with_it_and_not_the_next_link(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def up(link: FakeLink) -> None:
        link.up()

    async with open_pool(send_timeout=30) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 1000)
        driver.script = up
        caller = Caller(pool)
        tasks.start_soon(caller.send)
        await clock.advance(1)
        link.end(DisconnectReason.NETWORK)
        await clock.advance(5)
        assert isinstance(caller.outcome, SendTimeout)
        assert "the link ended" in caller.outcome.message
        assert await pool.send_message(COMPANY, BOB, "on the next link")
        await clock.advance(100)
        assert (await pool.get_session_status(COMPANY)).status is Status.CONNECTED
        assert len(driver.links) == 2


async def test_a_closing_pool_does_not_wait_for_a_send(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with anyio.create_task_group() as tasks:
        async with open_pool() as pool:
            link = await linked(pool, driver, clock)
            link.on_send = after(clock, 1000)
            caller = Caller(pool)
            tasks.start_soon(caller.send)
            await clock.advance(1)
        await clock.advance()
        assert isinstance(caller.outcome, SendTimeout)


async def test_a_drivers_fault_in_a_send_leaves_it_unknown(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(rate_limit_max=2) as pool:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 0, ZeroDivisionError())
        with pytest.raises(SendTimeout, match="ZeroDivisionError"):
            await pool.send_message(COMPANY, BOB, "hi")
        link.on_send = None
        await pool.send_message(COMPANY, BOB, "hi")
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance()
    assert [e.code for e in seen if e.type == "error"] == ["send_timeout"]


async def test_a_turn_in_the_limit_is_waited_for_at_most_the_callers_timeout(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=False) as traveller:
        async with open_pool(rate_limit_max=1, rate_limit_window=60) as pool, anyio.create_task_group() as tasks:
            await linked(pool, driver, clock)
            await pool.send_message(COMPANY, BOB, "hi")
            with pytest.raises(RateLimitExceeded):
                await pool.send_message(COMPANY, BOB, "hi", wait=True, timeout=59)
            caller = Caller(pool, 61, wait=True)
            tasks.start_soon(caller.send)
            await clock.advance(59)
            assert caller.outcome is None
            traveller.shift(61)
            await clock.advance(2)
            assert isinstance(caller.outcome, SentMessage)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (DisconnectReason.LOGGED_OUT, AuthenticationRequired),
        (DisconnectReason.REPLACED, SessionNotConnected),
        (DisconnectReason.LEASE_LOST, SessionNotConnected),
    ],
)
async def test_who_waits_for_the_limit_hears_at_once_that_no_link_will_come(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    coordinator: FakeCoordinator,
    end: DisconnectReason,
    told: type[WhatsAppPoolError],
) -> None:
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=False):
        async with open_pool(rate_limit_max=1, rate_limit_window=60) as pool, anyio.create_task_group() as tasks:
            link = await linked(pool, driver, clock)
            await pool.send_message(COMPANY, BOB, "hi")
            callers = [Caller(pool, 3600, wait=True) for _ in range(2)]
            for caller in callers:
                tasks.start_soon(caller.send)
            await clock.advance()
            if end is DisconnectReason.LEASE_LOST:
                coordinator.owned[SessionKey(COMPANY)].lost.set()
            else:
                link.end(end)
            await clock.advance()
            assert [type(caller.outcome) for caller in callers] == [told] * 2


async def test_an_answer_may_wait_its_turn_and_is_not_given_twice(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=False) as traveller:
        async with open_pool(rate_limit_max=1, rate_limit_window=60) as pool:

            @pool.on("message")
            async def answer(event: MessageEvent) -> None:
                for _ in range(2):
                    await event.reply(event.text or "", wait=True, idempotency_key=event.message_id)

            link = await linked(pool, driver, clock)
            link.receive("one")
            link.receive("two")
            await clock.advance(59)
            assert [message.text for _, message in link.sent] == ["one"]
            traveller.shift(61)
            await clock.advance(2)
            assert [message.text for _, message in link.sent] == ["one", "two"]
            assert (await pool.get_metrics()).errors == 0


async def test_a_call_that_hangs_recycles_the_link(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pool(send_timeout=30) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        monkeypatch.setattr(link, "call", after(clock, 1000))
        raised: list[Exception] = []

        async def call() -> None:
            try:
                await pool.session(COMPANY).typing("79001234567")
            except DriverError as error:
                raised.append(error)

        tasks.start_soon(call)
        await clock.advance(30)
        assert [str(error) for error in raised] == [f"session {COMPANY}: show_typing was not done in time"]
        now = await pool.get_session_status(COMPANY)
        assert (now.status, now.disconnect_reason) == (Status.RECONNECTING, DisconnectReason.STALLED)
