"""What becomes of received messages: who gets them, when they are acknowledged, what comes again."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from wasessionpool import ConfigurationError, DisconnectReason, PoolSettings, Status, StorageError, WhatsAppSessionPool
from wasessionpool.bus import DURABLE_ATTEMPTS, INBOUND_ROOM
from wasessionpool.errors import AccountRestricted, RecipientRestricted
from wasessionpool.events import ErrorEvent, Event, MessageEvent, PresenceEvent, TypingEvent
from wasessionpool.inbound import BATCH, RETRY, WELCOME
from wasessionpool.links import (
    InboxBlocked,
    InboxItem,
    NoticesReceived,
    PresenceChanged,
    ReceiptsReceived,
    TypingChanged,
)
from wasessionpool.models import Contact, InboundMessage, InboundReceipt, Presence, SessionKey, Typing
from wasessionpool.notices import Call, GroupChange, HistorySync, Undecryptable
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.coordinator import FakeCoordinator
from wasessionpool.testing.driver import FakeDriver, FakeInbox

pytestmark = pytest.mark.anyio
COMPANY = "962302"
BOB = Contact(id="79001234567@s.whatsapp.net")
OpenSilentPool = Callable[..., AbstractAsyncContextManager[WhatsAppSessionPool]]


@pytest.fixture
def inbox(driver: FakeDriver) -> FakeInbox:
    return driver.inboxes[SessionKey(COMPANY)]


@pytest.fixture
def silent_pool(clock: FakeClock, driver: FakeDriver, coordinator: FakeCoordinator) -> OpenSilentPool:
    """Open a pool that nobody listens to, with its session connected."""

    @asynccontextmanager
    async def open_(
        listen: Callable[[WhatsAppSessionPool], None] | None = None, **settings: Any
    ) -> AsyncIterator[WhatsAppSessionPool]:
        chosen = PoolSettings(**{"session_path": "/nonexistent", "start_rate": math.inf} | settings)
        async with MemoryStore() as store:
            pool = WhatsAppSessionPool(
                chosen,
                driver=driver,
                store=store,
                coordinator=coordinator,
                shelf=MemoryShelf(now=clock.now),
                clock=clock,
            )
            if listen is not None:
                listen(pool)
            async with pool:
                await pool.create_session(COMPANY)
                driver.link.up()
                await pool.wait_until_connected(COMPANY)
                yield pool

    return open_


def reaction(emoji: str | None, at: datetime) -> InboundMessage:
    return InboundMessage(message_id="R", chat=BOB, sender=BOB, kind="reaction", text=emoji, quoted="M", timestamp=at)


class Handler:
    """A durable handler that works while its gate is open, and fails as often as it is told."""

    def __init__(self) -> None:
        self.got: list[MessageEvent] = []
        self.gate = anyio.Event()
        self.failures = 0

    async def __call__(self, event: MessageEvent) -> None:
        self.got.append(event)
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise OSError("not now")

    @property
    def texts(self) -> list[str | None]:
        return [event.text for event in self.got]


async def test_without_a_subscriber_the_newest_are_kept_for_who_comes(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    async with silent_pool(inbox_keep=3) as pool:
        for number in range(5):
            driver.link.receive(str(number))
        await clock.advance(WELCOME)
        assert len(inbox.items) == 3
        assert inbox.acknowledged == []
        assert (await pool.get_metrics()).messages_expired == 2
        async with pool.events("message") as events:
            await clock.advance()
            assert [(await anext(events)).text for _ in range(3)] == ["2", "3", "4"]  # type: ignore[union-attr]
        assert inbox.items == []


async def test_who_subscribes_soon_after_a_start_gets_all_that_waited(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    handler.gate.set()
    async with silent_pool():
        for number in range(5):
            driver.link.receive(str(number))
        await clock.advance(WELCOME - 1)
    async with silent_pool(inbox_keep=3) as pool:
        await clock.advance(WELCOME - 1)
        driver.link.receive("5")
        await clock.advance()
        pool.on("message", durable=True)(handler)
        await clock.advance(WELCOME)
        assert (handler.texts, inbox.items) == ([str(number) for number in range(6)], [])
        assert (await pool.get_metrics()).messages_expired == 0


async def test_who_subscribes_while_the_inbox_is_read_finds_it_untrimmed(
    silent_pool: OpenSilentPool,
    driver: FakeDriver,
    inbox: FakeInbox,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, handler = inbox.read, Handler()
    handler.gate.set()

    async with silent_pool(inbox_keep=3) as pool:
        await clock.advance(WELCOME)

        async def read_then_subscribe(after: int, limit: int) -> Sequence[InboxItem]:
            found = await read(after, limit)
            if after and not found and not pool.backends.bus.subscriptions:
                pool.on("message", durable=True)(handler)
            return found

        monkeypatch.setattr(inbox, "read", read_then_subscribe)
        for number in range(5):
            driver.link.receive(str(number))
        await clock.advance()
        assert (handler.texts, inbox.items) == ([str(number) for number in range(5)], [])
        assert (await pool.get_metrics()).messages_expired == 0


async def test_what_nobody_subscribed_to_is_accounted_for_once(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    async with silent_pool() as pool, pool.events("contact") as contacts:
        await clock.advance(10)
        driver.link.receive("x")
        await clock.advance(10)
        with anyio.fail_after(5):
            assert (await anext(contacts)).type == "contact"

        async with pool.events("message") as events:
            await clock.advance()
            assert (await anext(events)).type == "message"
        status = await pool.get_session_status(COMPANY)
        assert status.messages_received == 1
        assert status.last_activity_at == clock.now() - timedelta(seconds=10)
        assert contacts.waiting() == 0  # type: ignore[attr-defined]


async def test_what_comes_again_after_a_restart_is_no_activity(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    async with silent_pool():
        driver.link.receive("x")
        await clock.advance()
    inbox.reopen()
    async with silent_pool() as pool, pool.events("message") as events:
        await clock.advance()
        assert (await anext(events)).redelivered
        status = await pool.get_session_status(COMPANY)
        assert (status.messages_received, status.last_activity_at) == (0, None)


async def test_what_nobody_subscribed_to_keeps_a_session_awake(
    silent_pool: OpenSilentPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with silent_pool(session_timeout=60) as pool:
        for _ in range(4):
            await clock.advance(40)
            driver.link.receive("x")
        await clock.advance(59)
        assert (await pool.get_session_status(COMPANY)).status is Status.CONNECTED
        await clock.advance(1)
        assert (await pool.get_session_status(COMPANY)).status is Status.SLEEPING


async def test_who_wrote_is_answered_under_a_restriction_also_where_nobody_subscribed(
    silent_pool: OpenSilentPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def refuse(*_: object) -> None:
        raise RecipientRestricted("463")

    async with silent_pool(check_recipients=False, pacing=None) as pool:
        driver.link.on_send = refuse
        for number, error in (("79001234567", RecipientRestricted), ("79001234568", AccountRestricted)):
            with pytest.raises(error):
                await pool.send_message(COMPANY, number, "x")
        driver.link.on_send = None
        driver.link.receive("hi", "+79005550000")
        await clock.advance()
        assert (await pool.send_message(COMPANY, "79005550000", "hello")).id


async def test_a_message_whose_only_subscriber_left_is_kept_for_who_comes(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    handler.gate.set()
    async with silent_pool() as pool:
        async with pool.events("message", "reaction"):
            for number in range(INBOUND_ROOM + 1):
                driver.link.receive(str(number))
            inbox.put(reaction("👍", clock.now()))
            await clock.advance()
        await clock.advance()
        assert [item.message.text for item in inbox.items] == [str(INBOUND_ROOM)]
        pool.on("message", durable=True)(handler)
        await clock.advance()
        assert (handler.texts, inbox.items) == ([str(INBOUND_ROOM)], [])


async def test_who_comes_while_the_inbox_is_read_gets_everything_in_order(
    silent_pool: OpenSilentPool,
    driver: FakeDriver,
    inbox: FakeInbox,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, handler = inbox.read, Handler()
    handler.gate.set()

    async def read_slowly(after: int, limit: int) -> Sequence[InboxItem]:
        await clock.sleep(1)
        return await read(after, limit)

    async with silent_pool() as pool:
        await clock.advance()
        monkeypatch.setattr(inbox, "read", read_slowly)
        for number in range(3 * BATCH):
            driver.link.receive(str(number))
        await clock.advance(2.5)
        pool.on("message", durable=True)(handler)
        await clock.advance(10)
    assert handler.texts == [str(number) for number in range(3 * BATCH)]


async def test_the_events_of_a_handler_that_is_behind_are_numbered_in_their_order(
    silent_pool: OpenSilentPool, driver: FakeDriver, clock: FakeClock
) -> None:
    gate, numbers = anyio.Event(), list[int]()

    async with silent_pool() as pool:

        @pool.on("message", "message_sent")
        async def handler(event: Event) -> None:
            await gate.wait()
            numbers.append(event.sequence)

        for number in range(INBOUND_ROOM + 10):
            driver.link.receive(str(number))
        await clock.advance()
        await pool.send_message(COMPANY, "79001234567", "x")
        gate.set()
        await clock.advance()
    assert len(numbers) == INBOUND_ROOM + 11
    assert numbers == sorted(numbers)


async def test_a_receipt_is_not_held_up_by_messages_that_nobody_wants(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox
) -> None:
    receipts = tuple(
        InboundReceipt(message_ids=(name,), chat=BOB, sender=BOB, receipt="read", timestamp=datetime.now(UTC))
        for name in "xy"
    )
    async with silent_pool() as pool, pool.events("receipt") as events:
        driver.link.receive("unwanted")
        driver.link.report(ReceiptsReceived(receipts=receipts, missed=4))
        with anyio.fail_after(5):
            assert [(await anext(events)).message_ids for _ in range(2)] == [("x",), ("y",)]  # type: ignore[union-attr]
        assert [item.number for item in inbox.items] == [1]
        assert (await pool.get_metrics()).receipts_dropped == 4


async def test_a_message_is_acknowledged_when_its_durable_handler_returns(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler, other = Handler(), Handler()
    other.gate.set()
    async with silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        pool.on("message")(other)
        for number in range(3):
            driver.link.receive(str(number))
        await clock.advance()
        assert (handler.texts, other.texts, inbox.acknowledged) == (["0"], ["0", "1", "2"], [])
        handler.gate.set()
        await clock.advance()
        assert handler.texts == ["0", "1", "2"]
        assert (inbox.acknowledged, inbox.items) == ([1, 2, 3], [])
        assert (await pool.get_session_status(COMPANY)).messages_received == 3


async def test_a_failing_durable_handler_is_called_again_and_then_given_up(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    handler.gate.set()
    handler.failures = 2
    async with silent_pool() as pool, pool.events("error") as errors:
        pool.on("message", durable=True)(handler)
        driver.link.receive("first")
        driver.link.receive("second")
        await clock.advance(4.9)
        assert handler.texts == ["first"]
        await clock.advance(0.1)
        assert handler.texts == ["first", "first"]
        await clock.advance(9.9)
        assert handler.texts == ["first", "first"]
        await clock.advance(0.1)
        assert handler.texts == ["first", "first", "first", "second"]
        assert inbox.acknowledged == [1, 2]

        handler.got.clear()
        handler.failures = DURABLE_ATTEMPTS
        driver.link.receive("hopeless")
        driver.link.receive("next")
        await clock.advance(3600)
        assert handler.texts == ["hopeless"] * DURABLE_ATTEMPTS + ["next"]
        assert inbox.acknowledged == [1, 2, 3, 4]
        codes = [(await anext(errors)).code for _ in range(2 + DURABLE_ATTEMPTS + 1)]  # type: ignore[union-attr]
        assert codes == ["handler_failed"] * (2 + DURABLE_ATTEMPTS) + ["handler_gave_up"]


async def test_what_was_not_done_comes_again_after_a_restart(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    handler.gate.set()
    handler.failures = 1
    async with silent_pool(lambda pool: pool.on("message", durable=True)(handler) and None):
        driver.link.receive("before")
        await clock.advance()
        handler.failures = 1
    assert inbox.acknowledged == []
    handler.failures = 0
    async with silent_pool(lambda pool: pool.on("message", durable=True)(handler) and None):
        driver.link.receive("after")
        await clock.advance()
    assert [(event.text, event.redelivered) for event in handler.got] == [
        ("before", False),
        ("before", True),
        ("after", False),
    ]
    assert handler.got[0].id == handler.got[1].id
    assert inbox.items == []


async def test_closing_waits_for_a_durable_handler_at_work(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    async with anyio.create_task_group() as tasks, silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        driver.link.receive("x")
        await clock.advance()

        async def finish() -> None:
            await driver.link.closed.wait()
            handler.gate.set()

        tasks.start_soon(finish)
    assert inbox.acknowledged == [1]


async def test_a_reaction_is_told_to_who_asked_for_it_and_kept_for_nobody(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    def react(emoji: str | None) -> None:
        inbox.put(reaction(emoji, clock.now()))

    handler = Handler()
    async with silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        react("👍")
        await clock.advance()
        assert (handler.got, inbox.items, inbox.acknowledged) == ([], [], [1])
        async with pool.events("reaction") as events:
            react("👍")
            react(None)
            told = [await anext(events) for _ in range(2)]
        assert [(event.message_id, event.emoji, event.sender) for event in told] == [("M", "👍", BOB), ("M", "", BOB)]  # type: ignore[union-attr]
        await clock.advance()
        assert (handler.got, inbox.items) == ([], [])
        assert (await pool.get_session_status(COMPANY)).messages_received == 0
        assert "👍" not in repr(told)


async def test_a_durable_handler_that_is_removed_leaves_what_it_has_not_done(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    async with silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        for text in ("done", "waits"):
            driver.link.receive(text)
        await clock.advance()
        pool.off(handler)
        driver.link.receive("comes later")
        handler.gate.set()
        await clock.advance()
        assert (handler.texts, inbox.acknowledged) == (["done"], [1])
        assert [item.message.text for item in inbox.items] == ["waits", "comes later"]


async def test_closing_waits_for_it_also_where_the_session_was_logged_out(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    async with anyio.create_task_group() as tasks, silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        driver.link.receive("x")
        await clock.advance()
        driver.link.end(DisconnectReason.LOGGED_OUT)
        await clock.advance()

        async def finish() -> None:
            await anyio.wait_all_tasks_blocked()
            handler.gate.set()

        tasks.start_soon(finish)
    assert inbox.acknowledged == [1]


async def test_a_session_that_is_stopped_does_not_hand_over_twice_what_is_at_work(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    async with silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        driver.link.receive("x")
        await clock.advance()
        await pool.disconnect(COMPANY)
        await pool.create_session(COMPANY)
        await clock.advance()
        assert handler.texts == ["x"]
        handler.gate.set()
        await clock.advance()
        assert handler.texts == ["x"]
        assert inbox.acknowledged == [1]


async def test_a_blocked_handler_leaves_the_rest_in_the_inbox_and_hides_no_state(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler, all_of_it = Handler(), []
    async with silent_pool() as pool:
        pool.on("message")(handler)
        for number in range(2_000):
            driver.link.receive(str(number))
        await clock.advance()
        assert len(inbox.items) == 2_000 - INBOUND_ROOM - 1
        async with pool.events("status", "logout") as events:
            driver.link.end(DisconnectReason.LOGGED_OUT)
            await clock.advance()
            assert (await pool.get_session_status(COMPANY)).status is Status.LOGGED_OUT
            assert [(await anext(events)).type for _ in range(2)] == ["status", "logout"]
        handler.gate.set()
        await clock.advance()
        all_of_it = handler.texts
        assert (await pool.get_metrics()).events_dropped == 0
    assert all_of_it == [str(number) for number in range(2_000)]
    assert inbox.items == []


async def test_who_is_logged_out_can_pair_anew_while_old_messages_wait(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    async with silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        driver.link.receive("x")
        driver.link.end(DisconnectReason.LOGGED_OUT)
        await clock.advance()
        assert (await pool.create_session(COMPANY)).status is Status.PAIRING
        assert driver.open_links == 1
        handler.gate.set()
        await clock.advance()
        assert (handler.texts, inbox.acknowledged) == (["x"], [1])


async def test_a_logout_forgets_what_is_at_work(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock
) -> None:
    handler = Handler()
    async with silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        driver.link.receive("x")
        await clock.advance()
        await pool.logout(COMPANY)
        new = driver.inboxes[SessionKey(COMPANY)] = FakeInbox()
        await pool.create_session(COMPANY)
        driver.link.receive("first of the new inbox")
        await clock.advance()
        old_gate, handler.gate = handler.gate, anyio.Event()
        old_gate.set()
        await clock.advance()
        assert handler.texts == ["x", "first of the new inbox"]
        # Both have the number 1, and the second is still being worked on.
        assert (inbox.acknowledged, new.acknowledged) == ([], [])
        handler.gate.set()
        await clock.advance()
        assert (inbox.acknowledged, new.acknowledged) == ([], [1])


async def test_an_inbox_that_cannot_be_read_is_told(
    silent_pool: OpenSilentPool, driver: FakeDriver, inbox: FakeInbox, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(after: int, limit: int) -> Sequence[InboxItem]:
        raise StorageError("the inbox cannot be used: disk I/O error")

    async with silent_pool() as pool, pool.events("error", "message") as events:
        with monkeypatch.context() as patch:
            patch.setattr(inbox, "read", broken)
            driver.link.receive("x")
            assert (await anext(events)).code == "storage_error"  # type: ignore[union-attr]
            await clock.advance(RETRY - 0.1)
        driver.link.receive("y")
        await clock.advance(0.1)
        assert [(await anext(events)).text for _ in range(2)] == ["x", "y"]  # type: ignore[union-attr]
        assert (await pool.get_session_status(COMPANY)).status is Status.CONNECTED


@pytest.mark.parametrize("method", ["read", "acknowledge"])
async def test_an_inbox_that_failed_once_is_tried_again_also_where_nothing_more_comes(
    silent_pool: OpenSilentPool,
    driver: FakeDriver,
    inbox: FakeInbox,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    works = getattr(inbox, method)

    async def fails_once(*args: Any) -> None:
        await works(*args)
        monkeypatch.setattr(inbox, method, works)
        raise StorageError("the inbox cannot be used: database is locked")

    handler = Handler()
    handler.gate.set()
    async with silent_pool() as pool:
        pool.on("message", durable=True)(handler)
        await clock.advance()
        monkeypatch.setattr(inbox, method, fails_once)
        driver.link.receive("x")
        await clock.advance(RETRY - 0.1)
        calls = len(inbox.acknowledged)
        await clock.advance(0.1)
        assert (handler.texts, inbox.acknowledged[calls:]) == (["x"], [1])


async def test_only_messages_are_durable(silent_pool: OpenSilentPool) -> None:
    async with silent_pool() as pool:
        for types in ((), ("receipt",), ("message", "receipt")):
            with pytest.raises(ConfigurationError, match="only messages are durable"):
                pool.on(*types, durable=True)


async def test_notices_are_told(silent_pool: OpenSilentPool, driver: FakeDriver, clock: FakeClock) -> None:
    about = {"message_id": "M", "chat": BOB, "sender": BOB, "timestamp": clock.now()}
    notices: tuple[Any, ...] = (
        Call(call_id="C", caller=BOB, action="offered", timestamp=clock.now()),
        GroupChange(group=Contact(id="1203@g.us"), action="renamed", name="Crew", timestamp=clock.now()),
        Undecryptable(**about),
        HistorySync(sync_type="recent", chats=2),
    )
    async with silent_pool() as pool, pool.events("call", "group", "undecryptable", "history_sync") as events:
        driver.link.report(NoticesReceived(notices=notices, missed=3))
        told = [await anext(events) for _ in notices]
        for event, notice in zip(told, notices, strict=True):
            assert (event.type, event.company_id) == (notice.type, "962302")
            assert event.model_dump(include=set(type(notice).model_fields)) == notice.model_dump()
        assert (await pool.get_metrics()).notices_dropped == 3


async def test_presence_typing_and_a_full_inbox_are_told(
    silent_pool: OpenSilentPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with silent_pool() as pool, pool.events("presence", "typing", "error") as events:
        driver.link.report(PresenceChanged(presence=Presence(contact=BOB, available=True), missed=3))
        driver.link.report(TypingChanged(typing=Typing(chat=BOB, sender=BOB, state="composing"), missed=2))
        driver.link.report(InboxBlocked(code="backlog_full", detail="the inbox is full"))
        presence, typing, error = [await anext(events) for _ in range(3)]
        assert isinstance(presence, PresenceEvent)
        assert (presence.contact, presence.available) == (BOB, True)
        assert isinstance(typing, TypingEvent)
        assert (typing.sender, typing.state) == (BOB, "composing")
        assert isinstance(error, ErrorEvent)
        assert error.code == "backlog_full"
        assert (await pool.get_metrics()).presences_dropped == 5
