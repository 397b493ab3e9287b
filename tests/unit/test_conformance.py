"""Every implementation of a seam keeps what its suite requires, and every suite notices one that does not."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
import time_machine

from wasessionpool import (
    Address,
    DisconnectReason,
    RateLimitExceeded,
    SessionKey,
    SessionLocked,
    SessionRecord,
)
from wasessionpool.abc import Clock, Ownership, Reservation
from wasessionpool.clock import SystemClock
from wasessionpool.coordinators.local import LocalCoordinator
from wasessionpool.events import Event
from wasessionpool.limiters.windows import WindowLimiter
from wasessionpool.links import InboxItem, PairingAccepted, PairingOffered
from wasessionpool.models import DeviceLocation
from wasessionpool.shelves.directory import DirectoryShelf
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.directory import DirectoryStore
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing import (
    DriverUnderTest,
    FakeClock,
    FakeCoordinator,
    FakeDriver,
    FakeInbox,
    FakeLink,
    FarEnd,
    check_clock,
    check_coordinator,
    check_driver,
    check_hook,
    check_limiter,
    check_shelf,
    check_store,
    sample_events,
)

pytestmark = pytest.mark.anyio
KEY = SessionKey("962302")


def new_paths(path: Path) -> Callable[[], Path]:
    numbers = count()
    return lambda: path / str(next(numbers))


async def test_the_directory_store(tmp_path: Path) -> None:
    new_path = new_paths(tmp_path)
    await check_store(lambda: DirectoryStore(new_path()), reopen=lambda store: DirectoryStore(store.path))


async def test_the_memory_store() -> None:
    await check_store(MemoryStore)


class ForgetsFences(MemoryStore):
    async def put(self, record: SessionRecord, fence: int) -> None:
        await super().put(record, max(fence, 1_000_000))


class DropsMetadata(MemoryStore):
    async def put(self, record: SessionRecord, fence: int) -> None:
        await super().put(record.model_copy(update={"metadata": {}}), fence)


class DeletesTheCompany(MemoryStore):
    async def delete(self, key: SessionKey) -> None:
        for known in [known for known in self._records if known.company_id == key.company_id]:
            await super().delete(known)


class KeepsKeys(MemoryStore):
    async def delete(self, key: SessionKey) -> None:
        self._records.pop(key, None)


class OnePlaceForAll(MemoryStore):
    @asynccontextmanager
    async def device(self, key: SessionKey) -> AsyncIterator[DeviceLocation]:  # noqa: ARG002
        async with super().device(KEY) as place:
            yield place


class Open(MemoryStore):
    @asynccontextmanager
    async def device(self, key: SessionKey) -> AsyncIterator[DeviceLocation]:
        async with super().device(key) as place:
            place.database.parent.chmod(0o755)
            yield place


class LosesWhatIsPutAtTheSameTime(MemoryStore):
    async def put(self, record: SessionRecord, fence: int) -> None:
        before = dict(self._records)
        await anyio.lowlevel.checkpoint()
        self._records = before
        await super().put(record, fence)


class Raises(MemoryStore):
    async def get(self, key: SessionKey) -> SessionRecord | None:
        raise KeyError(key)


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (ForgetsFences, "put.. must remember the fence, and raise StorageError for an older one"),
        (DropsMetadata, "get.. must return the record that was put last, every field of it"),
        (DeletesTheCompany, "delete.. must leave other companies and other devices alone"),
        (KeepsKeys, "delete.. must erase the device's keys"),
        (OnePlaceForAll, "a database and an inbox of its own"),
        (Open, "must be private .700.: it holds keys; it is 755"),
        (LosesWhatIsPutAtTheSameTime, "puts of several sessions at the same time must all be kept"),
        (Raises, "an empty store knows nobody: raised KeyError"),
    ],
)
async def test_a_broken_store_is_noticed(store: type[MemoryStore], said: str) -> None:
    with pytest.raises(AssertionError, match=f"^SessionStore: .*{said}"):
        await check_store(store)


async def test_a_store_that_forgets_at_a_restart_is_noticed() -> None:
    with pytest.raises(AssertionError, match="a store that was opened again must have the records it had"):
        await check_store(MemoryStore, reopen=lambda _: MemoryStore())


async def test_the_directory_shelf(tmp_path: Path) -> None:
    new_path, clock = new_paths(tmp_path), FakeClock()

    def make() -> DirectoryShelf:
        return DirectoryShelf(new_path(), now=clock.now)

    def reopen(shelf: DirectoryShelf) -> DirectoryShelf:
        return DirectoryShelf(shelf.path.parents[1], now=clock.now)

    await check_shelf(make, reopen=reopen, pass_time=clock.advance)


async def test_the_memory_shelf() -> None:
    clock = FakeClock()
    await check_shelf(lambda: MemoryShelf(now=clock.now), pass_time=clock.advance)


class Overwrites(MemoryShelf):
    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        there = await self.get(key) is not None
        await super().put(key, value, ttl=ttl)
        return not (if_absent and there)


class LooksThenPuts(MemoryShelf):
    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        absent = await self.get(key) is None
        await anyio.lowlevel.checkpoint()
        return (absent or not if_absent) and await super().put(key, value, ttl=ttl)


class TakesAnyKey(MemoryShelf):
    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        if not key.isascii():
            return True
        return await super().put(key, value, if_absent=if_absent, ttl=ttl)


class FoldsCase(MemoryShelf):
    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        return await super().put(key.lower(), value, if_absent=if_absent, ttl=ttl)

    async def get(self, key: str) -> bytes | None:
        return await super().get(key.lower())


class SaysItDeleted(MemoryShelf):
    async def delete(self, key: str) -> bool:
        await super().delete(key)
        return True


class Unordered(MemoryShelf):
    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        for key in list(self._entries):
            if key.startswith(prefix):
                yield key, self._entries[key][0]


class OnePage(MemoryShelf):
    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        for key in sorted(key for key in self._entries if key.startswith(prefix))[:500]:
            if (value := await self.get(key)) is not None:
                yield key, value


class NeverForgets(MemoryShelf):
    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:  # noqa: ARG002
        return await super().put(key, value, if_absent=if_absent)


class KeepsTheFirstTtl(MemoryShelf):
    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        before = self._entries.get(key)
        done = await super().put(key, value, if_absent=if_absent, ttl=ttl)
        if before is not None and ttl is not None:
            self._entries[key] = value, before[1]
        return done


@pytest.mark.parametrize(
    ("shelf", "said"),
    [
        (Overwrites, "put.if_absent=True. must leave what is there"),
        (LooksThenPuts, "of 10 put.if_absent=True. at the same time one must succeed, not 10"),
        (TakesAnyKey, "'cl.*xe9' must raise StorageError in put"),
        (FoldsCase, "must be a key of its own"),
        (SaysItDeleted, "delete.. of what is not there must return False"),
        (Unordered, "scan.. must give every key as it was put"),
        (OnePage, "scan.. must give each of 600 once"),
        (NeverForgets, "what is older than its ttl must not be got"),
        (KeepsTheFirstTtl, "a put.. must begin a ttl of its own"),
    ],
)
async def test_a_broken_shelf_is_noticed(shelf: type[MemoryShelf], said: str) -> None:
    clock = FakeClock()
    with pytest.raises(AssertionError, match=f"^Shelf: .*{said}"):
        await check_shelf(lambda: shelf(now=clock.now), pass_time=clock.advance)


async def test_a_shelf_that_forgets_at_a_restart_is_noticed() -> None:
    with pytest.raises(AssertionError, match="a second shelf of the same place must have what was put"):
        await check_shelf(MemoryShelf, reopen=lambda _: MemoryShelf())


async def test_the_window_limiter() -> None:
    with time_machine.travel(1_800_000_000.0, tick=False) as now:

        async def pass_time(seconds: float) -> None:
            now.shift(seconds)

        await check_limiter(
            lambda: WindowLimiter(limit=3, recipient_limit=2), limit=3, recipient_limit=2, pass_time=pass_time
        )


class CountingLimiter:
    """A limiter of three places without a window, and what subclasses make wrong of it."""

    retry_after = 60.0

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def place(self, key: SessionKey, recipient: str) -> Any:  # noqa: ARG002
        return key

    async def acquire(self, key: SessionKey, recipient: str) -> Reservation:
        place = self.place(key, recipient)
        if self.taken.count(place) >= 3:
            raise RateLimitExceeded("full", retry_after=self.retry_after)
        self.taken.append(place)
        return Place(self.taken, place)


class Place:
    def __init__(self, taken: list[Any], place: Any) -> None:
        self.taken, self.place, self.settled = taken, place, False

    async def commit(self) -> None:
        self.settled = True

    async def release(self) -> None:
        if not self.settled:
            self.settled = True
            self.taken.remove(self.place)


class OneForAll(CountingLimiter):
    def place(self, key: SessionKey, recipient: str) -> Any:  # noqa: ARG002
        return None


class OnePerRecipient(CountingLimiter):
    def place(self, key: SessionKey, recipient: str) -> Any:
        return key, recipient


class DoesNotSayWhen(CountingLimiter):
    retry_after = math.inf


class CountsLate(CountingLimiter):
    async def acquire(self, key: SessionKey, recipient: str) -> Reservation:  # noqa: ARG002
        if self.taken.count(key) >= 3:
            raise RateLimitExceeded("full", retry_after=1.0)
        await anyio.lowlevel.checkpoint()
        self.taken.append(key)
        return Place(self.taken, key)


class NeverReleases(CountingLimiter):
    async def acquire(self, key: SessionKey, recipient: str) -> Reservation:
        reservation = await super().acquire(key, recipient)
        assert isinstance(reservation, Place)
        reservation.settled = True
        return reservation


async def test_a_limiter_of_ones_own() -> None:
    await check_limiter(CountingLimiter, limit=3)


@pytest.mark.parametrize(
    ("limiter", "said"),
    [
        (OneForAll, "another company must have a limit of its own"),
        (OnePerRecipient, "acquire.. must refuse what is over"),
        (DoesNotSayWhen, "retry_after must be the seconds until a place is free, not inf"),
        (CountsLate, "of 6 at the same time 3 must pass, not 6"),
        (NeverReleases, "a place that was released must be free again"),
    ],
)
async def test_a_broken_limiter_is_noticed(limiter: type[CountingLimiter], said: str) -> None:
    with pytest.raises(AssertionError, match=f"^RateLimiter: .*{said}"):
        await check_limiter(limiter, limit=3)


async def test_a_limiter_without_a_limit_for_a_recipient_is_noticed() -> None:
    with pytest.raises(AssertionError, match="must refuse a recipient that had its share"):
        await check_limiter(CountingLimiter, limit=3, recipient_limit=2)


@pytest.mark.parametrize(
    ("off", "said"), [(-5.0, "must not be free before retry_after"), (5.0, "as soon as retry_after")]
)
async def test_a_limiter_that_says_another_time_is_noticed(off: float, said: str) -> None:
    clock = FakeClock()

    class OnceAMinute(CountingLimiter):
        async def acquire(self, key: SessionKey, recipient: str) -> Reservation:
            self.retry_after = 60.0 - clock.monotonic() % 60
            if clock.monotonic() >= 60.0 + off and key in self.taken:
                self.taken.clear()
            return await super().acquire(key, recipient)

    with pytest.raises(AssertionError, match=said):
        await check_limiter(OnceAMinute, limit=3, pass_time=clock.advance)


async def test_the_local_coordinator(tmp_path: Path) -> None:
    async with DirectoryStore(tmp_path) as store:
        await check_coordinator(lambda: LocalCoordinator(tmp_path), store=store)
        assert [path.name for path in tmp_path.iterdir()] == [".pool"]


async def test_the_fake_coordinator() -> None:
    coordinator = FakeCoordinator()
    await check_coordinator(lambda: coordinator)


class GivesItToAll(FakeCoordinator):
    @asynccontextmanager
    async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
        self._fences[key] += 1
        yield Ownership(self._fences[key])


class NeverGivesItBack(FakeCoordinator):
    @asynccontextmanager
    async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
        async with super().own(key) as ownership:
            yield ownership
        self.owned[key] = ownership


class KeepsItAfterAFailure(FakeCoordinator):
    @asynccontextmanager
    async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
        if key in self.owned:
            raise SessionLocked("taken", holder="somebody")
        self._fences[key] += 1
        self.owned[key] = Ownership(self._fences[key])
        yield self.owned[key]
        del self.owned[key]


class OneFenceForAll(FakeCoordinator):
    @asynccontextmanager
    async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
        async with super().own(key):
            yield Ownership(1)


class SaysNoHolder(FakeCoordinator):
    @asynccontextmanager
    async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
        try:
            async with super().own(key) as ownership:
                yield ownership
        except SessionLocked as error:
            raise SessionLocked(error.message, holder="") from None


class LooksThenTakes(FakeCoordinator):
    @asynccontextmanager
    async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
        if key in self.owned:
            raise SessionLocked("taken", holder="somebody")
        await anyio.lowlevel.checkpoint()
        self._fences[key] += 1
        self.owned[key] = Ownership(self._fences[key])
        try:
            yield self.owned[key]
        finally:
            self.owned.pop(key, None)


@pytest.mark.parametrize(
    ("coordinator", "said"),
    [
        (GivesItToAll, "must raise SessionLocked where another coordinator owns the session"),
        (NeverGivesItBack, "raised SessionLocked"),
        (KeepsItAfterAFailure, "an owner that fails must give the session back"),
        (OneFenceForAll, "the fence must rise with each owner; 1 came after 1"),
        (SaysNoHolder, "SessionLocked must say who holds the session, not ''"),
        (LooksThenTakes, "of 5 that ask at the same time one must own the session, not 5"),
    ],
)
async def test_a_broken_coordinator_is_noticed(coordinator: type[FakeCoordinator], said: str) -> None:
    shared = coordinator()
    with pytest.raises(AssertionError, match=f"^Coordinator: .*{said}"):
        await check_coordinator(lambda: shared)


async def test_a_coordinator_that_lets_wait_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasessionpool.testing.conformance.coordinator.AT_ONCE", 0.05)
    lock = anyio.Lock()

    class Waits(FakeCoordinator):
        @asynccontextmanager
        async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
            if key in self.owned and self.owned[key] is not None:
                await lock.acquire()
                await anyio.sleep_forever()
            async with super().own(key) as ownership:
                yield ownership

    shared = Waits()
    with pytest.raises(AssertionError, match="must raise SessionLocked at once, not wait for the owner to leave"):
        await check_coordinator(lambda: shared)


class FakeFarEnd:
    """A phone that a fake driver's newest link of a session is linked to."""

    contact = Address("79001234567")

    def __init__(self, driver: FakeDriver, key: SessionKey) -> None:
        self._driver = driver
        self._key = key

    @property
    def link(self) -> FakeLink:
        return [link for link in self._driver.links if link.record.key == self._key][-1]

    async def confirm(self, offer: PairingOffered) -> None:
        assert offer.text
        self.link.report(PairingAccepted(jid="79686484488:1@s.whatsapp.net"))
        self.link.up()

    async def write(self, text: str) -> None:
        self.link.receive(text)

    async def unlink(self) -> None:
        self.link.end(DisconnectReason.LOGGED_OUT)


def with_driver(driver_type: type[FakeDriver]) -> Callable[[], Any]:
    @asynccontextmanager
    async def make() -> AsyncIterator[DriverUnderTest]:
        driver = driver_type()

        def far_end(key: SessionKey) -> FarEnd:
            return FakeFarEnd(driver, key)

        yield DriverUnderTest(driver, far_end)

    return make


async def test_the_fake_driver() -> None:
    await check_driver(with_driver(FakeDriver))


class OneInbox(FakeDriver):
    @asynccontextmanager
    async def connect(self, record: SessionRecord, device: DeviceLocation) -> AsyncIterator[FakeLink]:
        self.inboxes[record.key] = self.inboxes[KEY]
        async with super().connect(record, device) as link:
            yield link


class PairsAgain(FakeDriver):
    async def forget(self, link: FakeLink) -> None:
        link.offer_pairing()

    def __init__(self) -> None:
        super().__init__(self.forget)


class ForgetfulInbox(FakeInbox):
    async def read(self, after: int, limit: int) -> Sequence[InboxItem]:
        items = await super().read(after, limit)
        await self.acknowledge([item.number for item in items])
        return items


class NewIds(FakeInbox):
    async def read(self, after: int, limit: int) -> Sequence[InboxItem]:
        items = await super().read(after, limit)
        return [item.model_copy(update={"event_id": f"01J{next(self._numbers):023}"}) for item in items]


class Unmarked(FakeInbox):
    def reopen(self) -> None:
        return


class KeepsTheOldest(FakeInbox):
    async def trim(self, keep: int) -> int:
        expired = list(self._items)[keep:]
        for number in expired:
            del self._items[number]
        return len(expired)


def driver_with(inbox_type: type[FakeInbox]) -> type[FakeDriver]:
    class Driver(FakeDriver):
        def __init__(self) -> None:
            super().__init__()
            self.inboxes.default_factory = inbox_type

    return Driver


class NeverSaysItsEnd(FakeDriver):
    @asynccontextmanager
    async def connect(self, record: SessionRecord, device: DeviceLocation) -> AsyncIterator[FakeLink]:
        async with super().connect(record, device) as link:
            link.end = lambda *_: link.fall_silent()  # type: ignore[method-assign, assignment]
            yield link


class ProbesNobody(FakeDriver):
    @asynccontextmanager
    async def connect(self, record: SessionRecord, device: DeviceLocation) -> AsyncIterator[FakeLink]:
        async with super().connect(record, device) as link:
            link.probe = anyio.lowlevel.checkpoint  # type: ignore[method-assign]
            yield link


class SaysMoreAfterItsEnd(FakeDriver):
    @asynccontextmanager
    async def connect(self, record: SessionRecord, device: DeviceLocation) -> AsyncIterator[FakeLink]:
        async with super().connect(record, device) as link:
            close = link._send.close
            link._send.close = link.up  # type: ignore[method-assign, assignment]
            try:
                yield link
            finally:
                link._send.close = close  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (PairsAgain, "LinkUp must come first; there came"),
        (NeverSaysItsEnd, "iteration must not end before LinkEnded"),
        (ProbesNobody, "probe.. must raise where the link is over"),
        (SaysMoreAfterItsEnd, "LinkEnded must be the last event"),
        (OneInbox, "a device must receive its own messages only"),
        (driver_with(ForgetfulInbox), "what is not acknowledged must be there at each read"),
        (driver_with(NewIds), "what is not acknowledged must be there at each read"),
        (driver_with(Unmarked), "must be marked as redelivered"),
        (driver_with(KeepsTheOldest), "trim.. must keep the newest"),
    ],
)
async def test_a_broken_driver_is_noticed(driver: type[FakeDriver], said: str) -> None:
    with pytest.raises(AssertionError, match=f"^Driver: .*{said}"):
        await check_driver(with_driver(driver))


async def test_a_hook() -> None:
    heard: list[Event] = []

    async def hook(event: Event) -> None:
        heard.append(event)

    await check_hook(lambda: hook)
    assert len(heard) > 2 * len(sample_events())


async def fails_on_receipts(event: Any) -> None:
    await anyio.lowlevel.checkpoint()
    assert event.type != "receipt", "not that"


async def changes_metadata(event: Any) -> None:
    event.metadata["seen"] = True


class TakesAMessageOnce:
    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def __call__(self, event: Any) -> None:
        if event.type == "message":
            assert event.id not in self.seen, "I know this one"
            self.seen.add(event.id)


class OneSessionAtATime:
    def __init__(self) -> None:
        self.busy = False

    async def __call__(self, event: Any) -> None:  # noqa: ARG002
        assert not self.busy, "busy"
        self.busy = True
        await anyio.lowlevel.checkpoint()
        self.busy = False


@pytest.mark.parametrize(
    ("make_hook", "said"),
    [
        (lambda: fails_on_receipts, "a hook must take receipt events; it raised AssertionError: not that"),
        (lambda: changes_metadata, "a hook must not change the qr event"),
        (TakesAMessageOnce, "it takes a message that comes again: a hook must take message events"),
        (OneSessionAtATime, "it takes two sessions at once: a hook must take .* events; .* busy"),
        (lambda: lambda _event: None, "a hook must take qr events; it raised TypeError"),
    ],
)
async def test_a_broken_hook_is_noticed(make_hook: Callable[[], Any], said: str) -> None:
    with pytest.raises(AssertionError, match=f"^EventHook: .*{said}"):
        await check_hook(make_hook)


async def test_the_system_clock() -> None:
    await check_clock(SystemClock)


async def advance(clock: Any, seconds: float) -> None:
    await clock.advance(seconds)


async def test_the_fake_clock() -> None:
    await check_clock(FakeClock, advance=advance)


class Naive(SystemClock):
    def now(self) -> datetime:
        return super().now().replace(tzinfo=None)


class Hasty(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0))


class Deaf(SystemClock):
    async def sleep(self, seconds: float) -> None:
        try:
            await super().sleep(seconds)
        finally:
            with anyio.CancelScope(shield=True):
                await super().sleep(1.2 if seconds > 1 else 0)


class NoDeadlines(SystemClock):
    def move_on_after(self, seconds: float | None) -> anyio.CancelScope:
        return anyio.move_on_after(None if seconds is None else seconds + 3600)


class ShortDeadlines(SystemClock):
    def move_on_after(self, seconds: float | None) -> anyio.CancelScope:  # noqa: ARG002
        return anyio.move_on_after(0)


@pytest.mark.parametrize(
    ("clock", "said"),
    [
        (Naive, "now.. must be aware and in UTC"),
        (Hasty, "must last that long"),
        (Deaf, "sleep.. must end when it is cancelled"),
        (NoDeadlines, "not done after 0.5 s"),
        (ShortDeadlines, "must not cancel a body that takes"),
    ],
)
async def test_a_broken_clock_is_noticed(clock: type[Clock], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "not done" in said:
        monkeypatch.setattr("wasessionpool.testing.conformance.requirement.PATIENCE", 0.5)
    if clock is Deaf:
        monkeypatch.setattr("wasessionpool.testing.conformance.clock.AT_ONCE", 1.0)
    if clock is Hasty:
        # Long enough that no busy machine makes up for the haste.
        monkeypatch.setattr("wasessionpool.testing.conformance.clock.A_WHILE", 5.0)
    with pytest.raises(AssertionError, match=f"^Clock: .*{said}"):
        await check_clock(clock)


def test_the_samples_are_one_of_each_type() -> None:
    from wasessionpool.events import EVENT_TYPES

    assert {event.type for event in sample_events()} == EVENT_TYPES
    assert all(isinstance(event.company_id, str) for event in sample_events("962303", "sales"))
