from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.events import Event
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.coordinator import FakeCoordinator
from wasessionpool.testing.driver import FakeDriver


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def seen() -> list[Event]:
    """Every event of the pool, in order."""
    return []


OpenPool = Callable[..., AbstractAsyncContextManager[WhatsAppSessionPool]]


@pytest.fixture
def open_pool(clock: FakeClock, driver: FakeDriver, coordinator: FakeCoordinator, seen: list[Event]) -> OpenPool:
    """Open a pool on a fake driver and clock, with a store in memory; settings by keyword."""

    @asynccontextmanager
    async def open_(store: Any = None, shelf: Any = None, **settings: Any) -> AsyncIterator[WhatsAppSessionPool]:
        settings = {"session_path": "/nonexistent", "reconnect_jitter": 0.0, "start_rate": math.inf} | settings

        async def record(event: Event) -> None:
            seen.append(event)

        async with MemoryStore() as memory:
            pool = WhatsAppSessionPool(
                PoolSettings(**settings),
                driver=driver,
                store=store or memory,
                coordinator=coordinator,
                shelf=shelf or MemoryShelf(now=clock.now),
                clock=clock,
                hooks=[record],
            )
            async with pool:
                yield pool

    return open_


def told(seen: list[Event], *without: str) -> list[str]:
    """The types of the events seen, leaving some out."""
    return [event.type for event in seen if event.type not in without]
