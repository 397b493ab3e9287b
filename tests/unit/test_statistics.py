"""What each session did, hour by hour: everything once, in its hour, beyond restarts and a shelf that fails."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import (
    ConfigurationError,
    DisconnectReason,
    HourlyStatistics,
    InvalidCompanyId,
    MessageRejected,
    PoolClosed,
    SessionNotConnected,
    StorageError,
    WhatsAppSessionPool,
    statistics,
)
from wasessionpool.links import ReceiptsReceived
from wasessionpool.models import Contact, InboundReceipt
from wasessionpool.shelves.directory import DirectoryShelf
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool

pytestmark = pytest.mark.anyio
COMPANY, OTHER, BOB = "962302", "962303", "79001234567"
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3600.0


class Shelf(MemoryShelf):
    """A shelf that counts what is put of statistics, waits at its gate, and fails while it is told to."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(now=clock.now)
        self.puts = 0
        self.gate: anyio.Event | None = None
        self.error: Exception | None = None

    async def get(self, key: str) -> bytes | None:
        if self.error is not None and key.startswith("statistics/"):
            raise self.error
        return await super().get(key)

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        if key.startswith("statistics/"):
            if self.gate is not None:
                await self.gate.wait()
            self.puts += 1
        return await super().put(key, value, if_absent=if_absent, ttl=ttl)

    async def delete(self, key: str) -> bool:
        if self.error is not None:
            raise self.error
        return await super().delete(key)

    @property
    def names(self) -> list[str]:
        return sorted(key for key in self._entries if key.startswith("statistics/"))


@pytest.fixture
def shelf(clock: FakeClock) -> Shelf:
    return Shelf(clock)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with MemoryStore() as memory:
        yield memory


async def linked(
    pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock, company_id: str = COMPANY, device: str = "main"
) -> FakeLink:
    await pool.create_session(company_id, device=device)
    driver.link.up()
    await clock.advance()
    return driver.link


def hour(number: int, company_id: str = COMPANY, device: str = "main", **figures: Any) -> HourlyStatistics:
    return HourlyStatistics(company_id=company_id, device=device, hour=MIDNIGHT + timedelta(hours=number), **figures)


async def test_everything_is_counted_in_its_hour(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf
) -> None:
    async def refuse(*_: object) -> None:
        raise MessageRejected("no", server_code=479)

    bob, now = Contact(id=f"{BOB}@s.whatsapp.net"), clock.now()
    async with open_pool(shelf=shelf, reconnect_base_delay=5) as pool:
        link = await linked(pool, driver, clock)
        await clock.advance(HOUR - 0.5)
        await pool.send_message(COMPANY, BOB, "hi")
        link.on_send = refuse
        with pytest.raises(MessageRejected):
            await pool.send_message(COMPANY, BOB, "hi")
        assert await pool.get_statistics() == [
            hour(0, messages_sent=1, sends_failed={"message_rejected": 1}, connected_seconds=3599.5)
        ]
        await clock.advance(1)
        link.receive("hello")
        for receipt, ids in (("delivered", ("a", "b")), ("read", ("a",)), ("played", ("c",))):
            told = InboundReceipt.model_validate(
                {"message_ids": ids, "chat": bob, "sender": bob, "receipt": receipt, "timestamp": now}
            )
            link.report(ReceiptsReceived(receipts=(told,)))
        await clock.advance()
        link.end(DisconnectReason.NETWORK)
        await clock.advance()
        with pytest.raises(SessionNotConnected):
            await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance(HOUR - 1)
        first, second = await pool.get_statistics(COMPANY)
        assert first == hour(0, messages_sent=1, sends_failed={"message_rejected": 1}, connected_seconds=3600)
        assert second == hour(
            1,
            messages_received=1,
            sends_failed={"session_not_connected": 1},
            delivered=2,
            read=1,
            reconnects=1,
            connected_seconds=HOUR - 0.5 - 5,
        )
        assert second.hour.utcoffset() == timedelta(0)


async def test_hours_are_added_to_over_restarts(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf, store: MemoryStore
) -> None:
    for run in range(3):
        async with open_pool(store, shelf) as pool:
            if run == 0:
                await linked(pool, driver, clock)
            await clock.advance()
            await pool.send_message(COMPANY, BOB, "hi")
            await clock.advance(10)
    async with open_pool(store, shelf, autostart=False) as pool:
        assert await pool.get_statistics() == [hour(0, messages_sent=3, connected_seconds=30)]


async def test_on_disk_they_outlive_the_process(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "AT_CLOSE", 60.0)
    async with DirectoryShelf(tmp_path, now=clock.now) as shelf, open_pool(shelf=shelf) as pool:
        await linked(pool, driver, clock)
        await pool.send_message(COMPANY, BOB, "hi")
    async with DirectoryShelf(tmp_path, now=clock.now) as shelf, open_pool(shelf=shelf) as pool:
        assert await pool.get_statistics() == [hour(0, messages_sent=1)]
        await linked(pool, driver, clock)
        await pool.delete_session(COMPANY)
        assert await pool.get_statistics() == []
        assert [entry async for entry in shelf.scan("")] == []


async def test_they_are_chosen_by_company_and_time_and_sorted(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf
) -> None:
    async with open_pool(shelf=shelf, rate_limit_max=1000, rate_limit_recipient_max=1000) as pool:
        await linked(pool, driver, clock, OTHER)
        await linked(pool, driver, clock)
        await linked(pool, driver, clock, device="sales")
        for _ in range(26):
            await pool.send_message(OTHER, BOB, "hi")
            await pool.send_message(COMPANY, BOB, "hi", device="sales")
            await pool.send_message(COMPANY, BOB, "hi")
            await clock.advance(HOUR)

        def of(number: int, company_id: str = COMPANY, device: str = "main") -> HourlyStatistics:
            return hour(number, company_id, device, messages_sent=1, connected_seconds=HOUR)

        every = [
            of(number, *of_whom)
            for number in range(26)
            for of_whom in ((COMPANY, "main"), (COMPANY, "sales"), (OTHER, "main"))
        ]
        assert await pool.get_statistics() == every
        assert await pool.get_statistics(OTHER) == [each for each in every if each.company_id == OTHER]
        at = MIDNIGHT + timedelta(hours=24, minutes=30)
        assert await pool.get_statistics(OTHER, since=at) == [of(24, OTHER), of(25, OTHER)]
        abroad = at.astimezone(timezone(timedelta(hours=-9)))
        assert await pool.get_statistics(OTHER, since=abroad, until=abroad) == [of(24, OTHER)]
        assert await pool.get_statistics(OTHER, until=MIDNIGHT + timedelta(hours=2)) == [of(0, OTHER), of(1, OTHER)]
        assert await pool.get_statistics("nobody") == []
        assert await pool.get_statistics(COMPANY[:-1]) == []
        with pytest.raises(InvalidCompanyId):
            await pool.get_statistics("../x")
        with pytest.raises(ConfigurationError, match="timezone"):
            await pool.get_statistics(since=at.replace(tzinfo=None))
    with pytest.raises(PoolClosed):
        await pool.get_statistics()


async def test_they_are_written_once_a_minute_and_only_what_changed(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf
) -> None:
    async with open_pool(shelf=shelf) as pool:
        await clock.advance(600)
        assert shelf.puts == 0
        await linked(pool, driver, clock)
        await linked(pool, driver, clock, OTHER)
        for _ in range(3):
            await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance(59)
        assert shelf.puts == 0
        await clock.advance(1)
        assert shelf.names == [f"statistics/{COMPANY}/main/2026-01-01"]
        shelf.puts = 0
        await clock.advance(599)
        assert shelf.puts == 1, "the session that is only connected is written each ten minutes"
        await clock.advance(HOUR)
        assert shelf.puts <= 1 + 2 * 7
    assert len(shelf.names) == 2


async def test_a_day_is_kept_for_ninety_days(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf
) -> None:
    async with open_pool(shelf=shelf) as pool:
        await linked(pool, driver, clock)
        await pool.send_message(COMPANY, BOB, "hi")
        await pool.disconnect(COMPANY)
        await clock.advance(60)
        for day, left in ((89, 1), (91, 0)):
            clock._elapsed = day * 24 * HOUR
            assert len(await pool.get_statistics()) == left


async def test_a_deleted_session_takes_its_hours_along_and_a_new_one_begins_at_nothing(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf
) -> None:
    async with open_pool(shelf=shelf) as pool:
        await linked(pool, driver, clock)
        await linked(pool, driver, clock, device="sales")
        for _ in range(2):
            await pool.send_message(COMPANY, BOB, "hi")
            await clock.advance(61)
        await pool.send_message(COMPANY, BOB, "hi")
        await pool.delete_session(COMPANY)
        await clock.advance(120)
        assert [each.device for each in await pool.get_statistics()] == ["sales"]
        assert not [name for name in shelf.names if "/main/" in name]
        await linked(pool, driver, clock)
        await pool.send_message(COMPANY, BOB, "hi")
        [main] = [each for each in await pool.get_statistics() if each.device == "main"]
        assert main.messages_sent == 1


async def test_a_session_whose_hours_cannot_be_removed_stays_known(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf
) -> None:
    async with open_pool(shelf=shelf) as pool:
        await linked(pool, driver, clock)
        await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance(60)
        shelf.error = StorageError("no disk")
        with pytest.raises(StorageError):
            await pool.delete_session(COMPANY)
        shelf.error = None
        await pool.delete_session(COMPANY)
        assert await pool.get_sessions() == []
        assert shelf.names == []


@pytest.mark.parametrize("error", [StorageError("no disk"), RuntimeError("a bug of a shelf")], ids=["storage", "bug"])
async def test_a_shelf_that_fails_is_told_once_and_loses_nothing(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    shelf: Shelf,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    caplog.set_level(logging.INFO, "wasessionpool.statistics")
    async with open_pool(shelf=shelf) as pool:
        await linked(pool, driver, clock)
        shelf.error = error
        for _ in range(3):
            await pool.send_message(COMPANY, BOB, "hi")
            await clock.advance(HOUR)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert shelf.names == []
        shelf.error = None
        await clock.advance(60)
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert [each.messages_sent for each in await pool.get_statistics()] == [1, 1, 1, 0]
        assert (await pool.get_metrics()).statistics_dropped == 0


async def test_what_waits_for_a_shelf_is_bounded_and_what_is_dropped_is_counted(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(statistics, "LIMIT", 3)
    async with open_pool(shelf=shelf) as pool:
        await linked(pool, driver, clock)
        shelf.error = StorageError("no disk")
        await clock.advance(4.5 * HOUR)
        assert (await pool.get_metrics()).statistics_dropped == 2
    assert "of 3 hours of sessions are lost" in caplog.text


async def test_a_damaged_day_begins_anew(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    for damaged in (b"\x00", b'{"24": {}}', b'{"0": {"messages_sent": "many"}}'):
        await shelf.put(f"statistics/{COMPANY}/main/2026-01-01", damaged)
        caplog.clear()
        async with open_pool(shelf=shelf) as pool:
            assert await pool.get_statistics() == []
            assert "is damaged" in caplog.text
            await linked(pool, driver, clock)
            await pool.send_message(COMPANY, BOB, "hi")
        async with open_pool(shelf=shelf) as pool:
            assert [each.messages_sent for each in await pool.get_statistics()] == [1]


async def test_what_a_later_version_adds_is_no_damage(open_pool: OpenPool, shelf: Shelf) -> None:
    await shelf.put(f"statistics/{COMPANY}/main/2026-01-01", b'{"7": {"messages_sent": 2, "news": 1}}')
    async with open_pool(shelf=shelf) as pool:
        assert await pool.get_statistics() == [hour(7, messages_sent=2)]


async def test_what_is_counted_while_it_is_written_is_neither_lost_nor_doubled(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: Shelf, store: MemoryStore
) -> None:
    found: list[HourlyStatistics] = []

    async def get() -> None:
        found.extend(await pool.get_statistics())

    async with open_pool(store, shelf) as pool, anyio.create_task_group() as tasks:
        await linked(pool, driver, clock)
        await pool.send_message(COMPANY, BOB, "hi")
        shelf.gate = anyio.Event()
        await clock.advance(60)
        await pool.send_message(COMPANY, BOB, "hi")
        tasks.start_soon(get)
        await clock.advance()
        assert found == []
        shelf.gate.set()
        await clock.advance()
        assert found == [hour(0, messages_sent=2, connected_seconds=60)]
        await clock.advance(60)
    async with open_pool(store, shelf, autostart=False) as pool:
        assert await pool.get_statistics() == [hour(0, messages_sent=2, connected_seconds=120)]


@pytest.mark.parametrize("answers", [True, False], ids=["in time", "never"])
async def test_a_pool_that_closes_in_the_middle_of_a_write_begins_it_anew_and_waits_for_a_moment(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    shelf: Shelf,
    store: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answers: bool,
) -> None:
    async def go_on() -> None:
        await clock.advance()
        gate.set()

    if not answers:
        monkeypatch.setattr(statistics, "AT_CLOSE", 0.01)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks, open_pool(store, shelf) as pool:
            await linked(pool, driver, clock)
            await pool.send_message(COMPANY, BOB, "hi")
            gate = shelf.gate = anyio.Event()
            await clock.advance(60)
            if answers:
                tasks.start_soon(go_on)
    assert ("are lost" in caplog.text) is not answers
    async with open_pool(store, shelf, autostart=False) as pool:
        assert await pool.get_statistics() == [hour(0, messages_sent=1, connected_seconds=60)] * answers
