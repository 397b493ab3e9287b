"""Sessions that start by themselves, and the records that are kept of them, where the store is slow or fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from wasessionpool import (
    DisconnectReason,
    PoolClosed,
    PoolFull,
    SendTimeout,
    SessionKey,
    SessionLocked,
    SessionNotConnected,
    SessionRecord,
    SessionStatus,
    Status,
    StorageError,
    WhatsAppSessionPool,
    WorkerCrashed,
)
from wasessionpool.addresses import Address
from wasessionpool.events import Event
from wasessionpool.models import DeviceLocation
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeInbox, FakeLink

from .conftest import OpenPool, told

pytestmark = pytest.mark.anyio
COMPANY, BOB = "962302", "79001234567"
KEY = SessionKey(COMPANY)


class Store(MemoryStore):
    """Knows a linked session. ``error`` is what a write raises; ``slow``: how many seconds the next one takes."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.slow = 0.0
        self._clock = clock

    async def put(self, record: SessionRecord, fence: int) -> None:
        if self.error is not None:
            raise self.error
        slow, self.slow = self.slow, 0.0
        # As what writes in a thread, it cannot be cancelled.
        with anyio.CancelScope(shield=True):
            if slow:
                await self._clock.sleep(slow)
            await super().put(record, fence)

    async def add(self, company_id: str = COMPANY) -> None:
        await self.put(
            SessionRecord(company_id=company_id, created_at=datetime(2026, 1, 1, tzinfo=UTC), linked=True), 0
        )


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[Store]:
    async with Store(clock) as opened:
        await opened.add()
        yield opened


async def status(pool: WhatsAppSessionPool) -> SessionStatus:
    return await pool.get_session_status(COMPANY)


async def desired(store: Store) -> str:
    record = await store.get(KEY)
    assert record is not None
    return record.desired


def full() -> StorageError:
    return StorageError("no space left on device")


@pytest.mark.parametrize(
    ("name", "ended"), [("disconnect", Status.DISCONNECTED), ("logout", Status.LOGGED_OUT), ("delete_session", None)]
)
async def test_what_is_asked_first_is_not_undone_by_the_autostart(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock, name: str, ended: Status | None
) -> None:
    async with open_pool(store) as pool:
        await getattr(pool, name)(COMPANY)
        await clock.advance(1000)
        assert [now.status for now in await pool.get_sessions()] == ([] if ended is None else [ended])
        assert driver.open_links == 0
        if ended is None:
            assert await store.get(KEY) is None
            assert (await pool.create_session(COMPANY)).status is Status.PAIRING
        else:
            assert await desired(store) == "stopped"


async def test_an_autostart_without_storage_is_tried_again(
    open_pool: OpenPool, store: Store, clock: FakeClock, seen: list[Event]
) -> None:
    store.error = full()
    async with open_pool(store, revive_interval=900) as pool:
        for _ in range(2):
            await clock.advance()
            now = await status(pool)
            assert (now.status, now.disconnect_reason) == (Status.FAILED, DisconnectReason.STORAGE)
            assert now.next_retry_at == clock.now() + timedelta(seconds=900)
            await clock.advance(900)
        assert "it tries again in" in await pool.explain(COMPANY)
        store.error = None
        await clock.advance(899)
        assert (await status(pool)).status is Status.FAILED
        await clock.advance(1)
        assert (await status(pool)).status is Status.CONNECTED
    assert [event.code for event in seen if event.type == "error"] == ["storage_error"] * 3


async def test_a_disconnect_ends_the_attempts_to_start(open_pool: OpenPool, store: Store, clock: FakeClock) -> None:
    store.error = full()
    async with open_pool(store) as pool:
        await clock.advance()
        store.error = None
        await pool.disconnect(COMPANY)
        await clock.advance(10_000)
        assert ((await status(pool)).status, await desired(store)) == (Status.DISCONNECTED, "stopped")
    async with open_pool(store) as pool:
        assert (await status(pool)).status is Status.DISCONNECTED


class BadInbox(FakeDriver):
    """Cannot open the inbox of ``COMPANY`` as long as it is ``broken``."""

    broken = True

    @asynccontextmanager
    async def inbox(self, key: SessionKey, device: DeviceLocation) -> AsyncIterator[FakeInbox]:
        if self.broken and key == KEY:
            raise IsADirectoryError("inbox")
        async with super().inbox(key, device) as inbox:
            yield inbox


class TestAnInboxThatCannotBeOpened:
    @pytest.fixture
    def driver(self) -> BadInbox:
        return BadInbox()

    async def test_fails_its_own_session_until_it_can(
        self, open_pool: OpenPool, store: Store, driver: BadInbox, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        await store.add("other")
        async with open_pool(store, revive_interval=900) as pool:
            await clock.advance()
            now = await status(pool)
            assert (now.status, now.disconnect_reason) == (Status.FAILED, DisconnectReason.STORAGE)
            assert (await pool.get_session_status("other")).status is Status.CONNECTED
            with pytest.raises(StorageError, match="IsADirectoryError"):
                await pool.create_session(COMPANY)
            driver.broken = False
            await clock.advance(900)
            assert (await status(pool)).status is Status.CONNECTED
        assert "Traceback" in caplog.text


async def test_a_store_with_a_bug_fails_the_session_until_it_works(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(store, revive_interval=900) as pool:
        await clock.advance()
        store.error = ZeroDivisionError("a bug")
        driver.link.end(DisconnectReason.NETWORK)
        await clock.advance()
        now = await status(pool)
        assert (now.status, now.disconnect_reason) == (Status.FAILED, DisconnectReason.STORAGE)
        assert now.next_retry_at == clock.now() + timedelta(seconds=900)
        store.error = None
        await clock.advance(900)
        assert (await status(pool)).status is Status.CONNECTED


async def test_what_is_final_is_heard_while_a_record_is_saved(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock
) -> None:
    async def hang(_: Address, __: Any) -> None:
        await anyio.sleep_forever()

    async def send() -> None:
        with pytest.raises(SendTimeout):
            await pool.send_message(COMPANY, BOB, "hi")

    async with open_pool(store, check_recipients=False) as pool:
        await clock.advance()
        driver.link.on_send = hang
        store.slow = 60.0
        driver.link.up()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await clock.advance(1)
            driver.link.end(DisconnectReason.REPLACED)
            await clock.advance(200)
        assert ((await status(pool)).disconnect_reason, len(driver.links)) == (DisconnectReason.REPLACED, 1)


class SlowToClose(FakeDriver):
    """``close`` says what happens when a link is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.close: Any = anyio.sleep_forever

    @asynccontextmanager
    async def connect(self, record: SessionRecord, device: DeviceLocation) -> AsyncIterator[FakeLink]:
        async with super().connect(record, device) as link:
            yield link
            await self.close()


class TestALinkThatIsReplaced:
    @pytest.fixture
    def driver(self) -> SlowToClose:
        return SlowToClose()

    async def test_is_not_begun_again_by_who_is_killed_while_it_is_closed(
        self, open_pool: OpenPool, store: Store, driver: SlowToClose, clock: FakeClock
    ) -> None:
        async with open_pool(store) as pool:
            await clock.advance()
            driver.link.end(DisconnectReason.REPLACED)
            await clock.advance()
            assert ((await status(pool)).status, await desired(store)) == (Status.FAILED, "stopped")

    async def test_stays_so_where_closing_it_fails(
        self, open_pool: OpenPool, store: Store, driver: SlowToClose, clock: FakeClock
    ) -> None:
        async def fail() -> None:
            raise WorkerCrashed("it cannot be closed")

        driver.close = fail
        async with open_pool(store) as pool:
            await clock.advance()
            driver.link.end(DisconnectReason.REPLACED)
            await clock.advance(1000)
            assert ((await status(pool)).disconnect_reason, len(driver.links)) == (DisconnectReason.REPLACED, 1)


async def test_who_creates_a_session_that_ends_meanwhile_is_told_its_end(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock
) -> None:
    async def create() -> None:
        now = await pool.create_session(COMPANY, metadata={"plan": "gold"})
        assert (now.status, now.disconnect_reason) == (Status.FAILED, DisconnectReason.REPLACED)

    async with open_pool(store) as pool:
        await clock.advance()
        store.slow = 10.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            await clock.advance(1)
            driver.link.end(DisconnectReason.REPLACED)
            await clock.advance(20)
        assert len(driver.links) == 1
        assert (await store.get(KEY)).metadata == {"plan": "gold"}  # type: ignore[union-attr]
        assert (await pool.create_session(COMPANY)).status is Status.CONNECTED


async def test_attempts_to_start_do_not_multiply(open_pool: OpenPool, store: Store, clock: FakeClock) -> None:
    store.error = full()
    tried = 0

    async def put(record: SessionRecord, fence: int) -> None:
        nonlocal tried
        tried += 1
        raise full()

    async with open_pool(store, revive_interval=900) as pool:
        for _ in range(5):
            await clock.advance(10)
            with pytest.raises(StorageError):
                await pool.restart(COMPANY)
        store.put = put  # type: ignore[method-assign]
        await clock.advance(900)
        assert tried == 1
        await clock.advance(900)
        assert tried == 2


@pytest.mark.parametrize(
    ("name", "then", "linked"),
    [
        ("restart", [Status.CONNECTED], True),
        ("logout", [Status.LOGGED_OUT], False),
        ("delete_session", [], None),
    ],
)
async def test_a_change_is_whole_also_where_its_caller_is_cancelled(
    open_pool: OpenPool, store: Store, clock: FakeClock, name: str, then: list[Status], linked: bool | None
) -> None:
    async with open_pool(store) as pool:
        await clock.advance()
        store.slow = 10.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(getattr(pool, name), COMPANY)
            await clock.advance(1)
            tasks.cancel_scope.cancel()
            assert store.slow == 0
            # An erasure is waited for, a restart is not.
            with anyio.CancelScope(shield=True):
                await clock.advance(10)
        assert [now.status for now in await pool.get_sessions()] == then
        record = await store.get(KEY)
        assert (record and record.linked) == linked


@pytest.mark.parametrize("name", ["logout", "delete_session"])
async def test_a_session_that_is_being_unlinked_when_the_pool_closes_keeps_its_keys(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock, name: str
) -> None:
    told: list[str] = []

    async def silent(_: FakeLink) -> None:
        await anyio.sleep_forever()

    async def unlink(pool: WhatsAppSessionPool) -> None:
        with pytest.raises(PoolClosed) as caught:
            await getattr(pool, name)(COMPANY)
        told.append(caught.value.message)

    driver.script = silent
    async with anyio.create_task_group() as tasks, open_pool(store) as pool:
        await clock.advance()
        tasks.start_soon(unlink, pool)
        await clock.advance()
    assert told == [f"session {COMPANY} stays linked: the pool is closing"]
    record = await store.get(KEY)
    assert record is not None
    assert (record.linked, record.desired) == (True, "running")


@pytest.mark.parametrize("name", ["logout", "delete_session"])
async def test_who_is_cancelled_while_the_phone_is_told_leaves_the_session_linked(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock, name: str
) -> None:
    async def silent(_: FakeLink) -> None:
        await anyio.sleep_forever()

    driver.script = silent
    async with open_pool(store) as pool:
        await clock.advance()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(getattr(pool, name), COMPANY)
            await clock.advance()
            tasks.cancel_scope.cancel()
        await clock.advance(20)
        record = await store.get(KEY)
        assert record is not None
        assert (record.linked, record.desired) == (True, "running")
        assert (await status(pool)).status is Status.CONNECTING


async def test_a_restart_without_storage_is_tried_again(open_pool: OpenPool, store: Store, clock: FakeClock) -> None:
    async with open_pool(store, revive_interval=900) as pool:
        await clock.advance()
        store.error = full()
        with pytest.raises(StorageError, match="no space left"):
            await pool.restart(COMPANY)
        now = await status(pool)
        assert (now.status, now.disconnect_reason) == (Status.FAILED, DisconnectReason.STORAGE)
        store.error = None
        await clock.advance(900)
        assert (await status(pool)).status is Status.CONNECTED


async def test_a_disconnect_that_cannot_be_kept_is_refused(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(store) as pool:
        await clock.advance()
        store.error = full()
        with pytest.raises(StorageError, match="no space left"):
            await pool.disconnect(COMPANY)
        assert ((await status(pool)).status, driver.open_links) == (Status.CONNECTED, 1)
        store.error = None
        await pool.disconnect(COMPANY)
        assert ((await status(pool)).status, await desired(store)) == (Status.DISCONNECTED, "stopped")


async def test_a_store_that_does_not_answer_costs_its_session_no_more_than_a_minute(
    open_pool: OpenPool, store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []

    async def hang(_: SessionRecord, __: int) -> None:
        await anyio.sleep_forever()

    async def disconnect() -> None:
        with pytest.raises(StorageError) as caught:
            await pool.disconnect(COMPANY)
        errors.append(caught.value.message)

    async with open_pool(store) as pool:
        await clock.advance()
        with monkeypatch.context() as patch:
            patch.setattr(store, "put", hang)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(disconnect)
                await clock.advance(60)
        assert errors == ["the store did not answer within 60 s"]
        assert (await status(pool)).status is Status.CONNECTED


async def test_a_store_with_more_sessions_than_the_pool_may_have_is_opened_whole(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    await store.add("other")
    async with open_pool(store, max_sessions=1) as pool:
        await clock.advance()
        assert driver.open_links == 2
        with pytest.raises(PoolFull):
            await pool.create_session("new")
    assert "the store has 2 sessions and max_sessions is 1" in caplog.text


@pytest.mark.parametrize("autostart", [False, True])
@pytest.mark.parametrize("end", ["disconnect", "logout"])
async def test_who_ends_a_session_that_another_pool_has_deleted_writes_it_no_more(
    open_pool: OpenPool, store: Store, clock: FakeClock, autostart: bool, end: str
) -> None:
    async with open_pool(store, autostart=autostart) as pool:
        await store.delete(KEY)
        await getattr(pool, end)(COMPANY)
        await clock.advance(1000)
        assert await store.get(KEY) is None
        await pool.create_session(COMPANY)
        assert await desired(store) == "running"


async def test_other_processes_read_what_a_session_is_doing(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock
) -> None:
    async def saved(company_id: str = COMPANY) -> tuple[Status, DisconnectReason | None]:
        record = await store.get(SessionKey(company_id))
        assert record is not None
        return record.status, record.disconnect_reason

    async def silent(_: FakeLink) -> None:
        """Come to no link."""

    async def pairing(link: FakeLink) -> None:
        link.offer_pairing()

    driver.script = silent
    async with open_pool(store, max_reconnect_attempts=1) as pool:
        await clock.advance()
        assert await saved() == (Status.CONNECTING, None)
        link = driver.link
        driver.script = pairing
        await pool.create_session("new")
        await clock.advance()
        assert await saved("new") == (Status.PAIRING, None)
        driver.script = silent
        link.up()
        await clock.advance()
        assert await saved() == (Status.CONNECTED, None)
        link.end(DisconnectReason.NETWORK)
        await clock.advance()
        assert await saved() == (Status.RECONNECTING, DisconnectReason.NETWORK)
        await clock.advance(6)
        driver.link.end(DisconnectReason.SERVER)
        await clock.advance()
        assert await saved() == (Status.FAILED, DisconnectReason.SERVER)


async def test_what_follows_is_told_before_it_is_saved(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(store, max_reconnect_attempts=0) as pool:
        await clock.advance()
        store.slow = 5.0
        driver.link.end(DisconnectReason.NETWORK)
        await clock.advance(1)
        now = await status(pool)
        # The write itself cannot be cancelled.
        await clock.advance(10)
    assert (now.status, now.next_retry_at is not None) == (Status.FAILED, True)


@asynccontextmanager
async def two_pools(open_pool: OpenPool, store: Store, clock: FakeClock) -> AsyncIterator[tuple[Any, Any, anyio.Event]]:
    """Two that open one store, one after the other, as when a process is replaced; the event closes the first."""
    opened: list[WhatsAppSessionPool] = []
    leave = anyio.Event()

    async def first() -> None:
        async with open_pool(store) as pool:
            opened.append(pool)
            await leave.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await clock.advance()
        async with open_pool(store) as second:
            await clock.advance()
            yield opened[0], second, leave
            leave.set()


async def test_a_session_of_another_pool_is_taken_over_once_that_has_left(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with two_pools(open_pool, store, clock) as (first, second, leave):
        before = told(seen)
        for _ in range(10):
            now = await status(second)
            assert (now.status, now.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.LEASE_LOST)
            assert now.last_error == "run by another pool"
            assert now.next_retry_at is not None
            assert 0 <= (now.next_retry_at - clock.now()).total_seconds() <= 30
            assert "looks again" in await second.explain(COMPANY)
            await clock.advance(30)
        assert (await status(first)).status is Status.CONNECTED
        assert told(seen) == before
        leave.set()
        await clock.advance(30)
        assert (await status(second)).status is Status.CONNECTED
        assert driver.open_links == 1


async def test_a_create_takes_a_session_over_before_its_pool_looks_again(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock
) -> None:
    async with two_pools(open_pool, store, clock) as (_, second, leave):
        with pytest.raises(SessionLocked):
            await second.create_session(COMPANY)
        assert (await status(second)).next_retry_at is not None
        leave.set()
        await clock.advance()
        assert (await second.create_session(COMPANY)).status is Status.CONNECTED
        links = len(driver.links)
        await clock.advance(1000)
        assert (len(driver.links), driver.open_links) == (links, 1)


@pytest.mark.parametrize("end", ["disconnect", "logout", "delete_session"])
async def test_what_another_pool_was_told_to_stop_is_not_taken_over(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock, end: str
) -> None:
    async with two_pools(open_pool, store, clock) as (first, second, leave):
        await getattr(first, end)(COMPANY)
        kept = await store.get(KEY)
        leave.set()
        await clock.advance(1000)
        now = await status(second)
        assert (now.status, now.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.REQUESTED)
        assert now.next_retry_at is None
        assert driver.open_links == 0
        assert await store.get(KEY) == kept
        if end == "disconnect":
            assert (await second.create_session(COMPANY)).status is Status.CONNECTED


async def test_a_restart_starts_what_another_pool_was_told_to_stop(
    open_pool: OpenPool, store: Store, clock: FakeClock
) -> None:
    async with two_pools(open_pool, store, clock) as (first, second, _):
        with pytest.raises(SessionLocked):
            await second.restart(COMPANY)
        await first.disconnect(COMPANY)
        await second.restart(COMPANY)
        await clock.advance()
        assert (await status(second)).status is Status.CONNECTED
        assert await desired(store) == "running"


async def test_who_disconnects_what_does_not_run_is_not_told_that_it_comes_back(
    open_pool: OpenPool, store: Store, clock: FakeClock
) -> None:
    async with open_pool(store):
        await clock.advance()
    async with open_pool(store, autostart=False) as pool:
        assert (await status(pool)).disconnect_reason is DisconnectReason.SHUTDOWN
        await pool.disconnect(COMPANY)
        assert (await status(pool)).disconnect_reason is DisconnectReason.REQUESTED
    async with open_pool(store) as pool:
        assert (await pool.explain(COMPANY)).endswith("on request. It stays down until create_session.")


@pytest.mark.parametrize("anew", ["restart", "disconnect"])
async def test_who_starts_anew_has_all_attempts_again(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock, seen: list[Event], anew: str
) -> None:
    async def refused(link: FakeLink) -> None:
        link.end(DisconnectReason.NETWORK)

    driver.script = refused
    async with open_pool(store, max_reconnect_attempts=2) as pool:
        await clock.advance(60)
        links = len(driver.links)
        seen.clear()
        await getattr(pool, anew)(COMPANY)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.create_session, COMPANY)
            await clock.advance(60)
        assert len(driver.links) - links == 3
        await clock.advance()
    assert told(seen, "status", "disconnected") == ["reconnecting", "reconnecting", "reconnect_failed"]


async def test_who_restarts_what_woke_by_itself_keeps_it_awake(
    open_pool: OpenPool, store: Store, clock: FakeClock
) -> None:
    async with open_pool(store, session_timeout=600.0, idle_wake_interval=3600.0) as pool:
        await clock.advance(600)
        await clock.advance(3600)
        await pool.restart(COMPANY)
        await clock.advance(599)
        assert (await status(pool)).status is Status.CONNECTED


async def test_who_creates_while_the_pool_closes_is_told_so(
    open_pool: OpenPool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    async def create(pool: WhatsAppSessionPool) -> None:
        with pytest.raises(PoolClosed) as caught:
            await pool.create_session("new")
        refused.append(caught.value.code)

    async def hang(_: SessionRecord, __: int) -> None:
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks, open_pool(store, autostart=False) as pool:
        monkeypatch.setattr(store, "put", hang)
        tasks.start_soon(create, pool)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(create, pool)
        await anyio.wait_all_tasks_blocked()
    assert refused == ["pool_closed"] * 2


async def test_a_disconnect_while_a_lost_link_is_saved_is_the_last_word(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(store) as pool:
        await clock.advance()
        seen.clear()
        store.slow = 2.0
        driver.link.end(DisconnectReason.NETWORK)
        await clock.advance(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.disconnect, COMPANY)
            await clock.advance(5)
        assert ((await status(pool)).status, (await status(pool)).next_retry_at) == (Status.DISCONNECTED, None)
        last = seen[-1]
        assert last.type == "status"
        assert last.current is Status.DISCONNECTED


async def test_a_reply_keeps_its_timeout_while_it_waits_for_the_link(
    open_pool: OpenPool, store: Store, driver: FakeDriver, clock: FakeClock
) -> None:
    begun = clock.monotonic()
    took: list[float] = []

    async def reply() -> None:
        with pytest.raises(SessionNotConnected):
            await pool.session(COMPANY).reply(BOB, "hi", timeout=2.0)
        took.append(clock.monotonic() - begun)

    async with open_pool(store) as pool:
        await clock.advance()
        driver.link.lose()
        await clock.advance()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reply)
            await clock.advance(4)
    assert took == [2.0]


async def test_a_handler_changes_nobodys_metadata(open_pool: OpenPool, store: Store, clock: FakeClock) -> None:
    async def change(event: Event) -> None:
        event.metadata["plan"]["name"] = "lead"

    async with open_pool(store) as pool:
        await pool.create_session(COMPANY, metadata={"plan": {"name": "gold"}})
        pool.on("status", "disconnected")(change)
        await pool.disconnect(COMPANY)
        await clock.advance()
        (await status(pool)).metadata["plan"]["name"] = "tin"
        assert (await status(pool)).metadata == {"plan": {"name": "gold"}}
