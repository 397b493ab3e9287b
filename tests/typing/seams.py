"""Backends fit the seams, ours and those of an application; checked, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from wasessionpool import Event, SessionKey, SessionRecord, WhatsAppSessionPool
from wasessionpool.abc import (
    Clock,
    Coordinator,
    Driver,
    EventHook,
    Inbox,
    RateLimiter,
    Reservation,
    SessionStore,
    Shelf,
)
from wasessionpool.clock import SystemClock
from wasessionpool.coordinators.local import LocalCoordinator
from wasessionpool.drivers.neonize import NeonizeDriver, WorkerLimits
from wasessionpool.limiters.windows import WindowLimiter
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
    FarEnd,
    Phone,
    WhatsAppServer,
    check_clock,
    check_coordinator,
    check_driver,
    check_hook,
    check_limiter,
    check_shelf,
    check_store,
)

stores: list[SessionStore] = [DirectoryStore("sessions"), MemoryStore()]
shelves: list[Shelf] = [DirectoryShelf("sessions"), MemoryShelf()]
limiters: list[RateLimiter] = [WindowLimiter(limit=30)]
coordinators: list[Coordinator] = [LocalCoordinator("sessions"), FakeCoordinator()]
drivers: list[Driver] = [NeonizeDriver(limits=WorkerLimits()), FakeDriver()]
inboxes: list[Inbox] = [FakeInbox()]
clocks: list[Clock] = [SystemClock(), FakeClock()]


class OwnStore:
    async def get(self, key: SessionKey) -> SessionRecord | None: ...

    async def put(self, record: SessionRecord, fence: int) -> None: ...

    async def delete(self, key: SessionKey) -> None: ...

    async def records(self) -> AsyncIterator[SessionRecord]:
        raise NotImplementedError
        yield

    @asynccontextmanager
    async def device(self, key: SessionKey) -> AsyncGenerator[DeviceLocation]:
        yield DeviceLocation(Path("/keys") / key.directory, Path("/inbox") / key.directory)


class OwnShelf:
    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        return True

    async def delete(self, key: str) -> bool:
        return False

    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        raise NotImplementedError
        yield


class Unlimited:
    async def acquire(self, key: SessionKey, recipient: str) -> Reservation:
        return self

    async def commit(self) -> None: ...

    async def release(self) -> None: ...


async def own_hook(event: Event) -> None:
    print(event.type)


class HookWithState:
    async def __call__(self, event: Event, /) -> None: ...


hooks: list[EventHook] = [own_hook, HookWithState()]


async def hand_over() -> None:
    pool = WhatsAppSessionPool(
        driver=FakeDriver(),
        store=OwnStore(),
        limiter=Unlimited(),
        hooks=[own_hook, HookWithState()],
        coordinator=FakeCoordinator(),
        shelf=OwnShelf(),
        clock=FakeClock(),
    )
    async with pool:
        pass


@asynccontextmanager
async def under_test(far_end: FarEnd) -> AsyncGenerator[DriverUnderTest]:
    yield DriverUnderTest(FakeDriver(), lambda key: far_end)


async def advance(clock: Clock, seconds: float) -> None: ...


async def check(far_end: FarEnd) -> None:
    await check_store(OwnStore, reopen=lambda store: OwnStore())
    await check_store(lambda: DirectoryStore("sessions"), reopen=lambda store: DirectoryStore(store.path))
    await check_shelf(OwnShelf, reopen=lambda shelf: OwnShelf())
    await check_limiter(Unlimited, limit=3)
    await check_coordinator(FakeCoordinator, store=MemoryStore())
    await check_driver(lambda: under_test(far_end))
    await check_hook(lambda: own_hook)
    await check_clock(FakeClock, advance=advance)


async def use_the_server() -> str | None:
    async with WhatsAppServer() as whatsapp:
        phone: Phone = whatsapp.phone("79686484488")
        bob = whatsapp.contact("79001234567", name="Bob")
        await bob.send(phone.number, "Hello")
        async with whatsapp.driver() as driver, WhatsAppSessionPool(driver=driver):
            return (await bob.next_message()).text
