from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import pytest

from wasessionpool import ConfigurationError, ErrorEvent, SessionKey, Status, StatusEvent
from wasessionpool.bus import HANDLER_THREADS, Bus, Filter
from wasessionpool.events import BaseEvent, Event

pytestmark = pytest.mark.anyio


def status_event(number: int) -> StatusEvent:
    common = event(number).model_dump(include=set(BaseEvent.model_fields))
    return StatusEvent(**common, previous=Status.CONNECTED, current=Status.FAILED)


def event(number: int, company_id: str = "962302") -> ErrorEvent:
    return ErrorEvent(
        id=str(number),
        time=datetime.now(UTC),
        company_id=company_id,
        device="main",
        sequence=number,
        code="c",
        detail="d",
    )


async def test_a_handler_gets_its_events_in_order_and_a_blocked_session_delays_no_other() -> None:
    bus, gate = Bus(), anyio.Event()
    got: list[tuple[str, int]] = []

    async def handler(event: Event) -> None:
        if event.company_id == "slow":
            await gate.wait()
        got.append((event.company_id, event.sequence))

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda *_: None)
        bus.add_handler(handler, Filter((), None, None))
        for number in range(50):
            bus.publish(event(number, "slow"))
            bus.publish(event(number, "quick"))
        await anyio.wait_all_tasks_blocked()
        assert got == [("quick", number) for number in range(50)]
        gate.set()
        await bus.drain()
        assert got[50:] == [("slow", number) for number in range(50)]


async def test_a_handler_that_falls_behind_is_counted() -> None:
    bus, gate = Bus(capacity=3), anyio.Event()

    async def handler(_: Event) -> None:
        await gate.wait()

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda *_: None)
        bus.add_handler(handler, Filter((), None, None))
        bus.publish(event(0))
        await anyio.wait_all_tasks_blocked()
        for number in range(1, 11):
            bus.publish(event(number))
        assert bus.dropped == 7
        gate.set()


async def test_a_stream_that_falls_behind_is_counted_and_keeps_the_oldest() -> None:
    bus = Bus(capacity=3)
    async with bus.stream(Filter((), None, None)) as events:
        for number in range(5):
            bus.publish(event(number))
        bus.close()
        assert [e.sequence async for e in events] == [0, 1, 2]
    assert bus.dropped == 2


async def test_filters() -> None:
    bus = Bus()
    async with bus.stream(Filter(["error"], "962302", None)) as mine, bus.stream(Filter(["qr"], None, None)) as codes:
        bus.publish(event(1))
        bus.publish(event(2, "other"))
        bus.close()
        assert [e.sequence async for e in mine] == [1]
        assert [e async for e in codes] == []


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="mesage"):
        Filter(["mesage"], None, None)


async def test_a_failing_handler_is_reported_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    reports: list[tuple[SessionKey, str, str]] = []
    got: list[int] = []

    async def handler(event: Event) -> None:
        got.append(event.sequence)
        raise ValueError("boom")

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda *report: reports.append(report))
        bus.add_handler(handler, Filter((), None, None))
        bus.publish(event(1))
        bus.publish(status_event(2))
        await bus.drain()
    assert got == [1, 2]
    [(key, code, detail)] = reports
    assert (key, code) == (SessionKey("962302"), "handler_failed")
    assert "ValueError" in detail
    assert caplog.text.count("failed on a") == 2
    assert "ValueError at" in caplog.text
    assert "boom" not in caplog.text


async def test_a_plain_handler_runs_in_a_daemon_thread_that_may_hang() -> None:
    bus, called, let_go = Bus(), threading.Event(), threading.Event()
    threads: list[Any] = []

    def handler(_: Event) -> None:
        threads.append(threading.current_thread())
        called.set()
        let_go.wait(60)

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda *_: None)
        bus.add_handler(handler, Filter((), None, None))
        bus.publish(event(1))
        assert await anyio.to_thread.run_sync(called.wait, 60)
        with anyio.move_on_after(0.05) as scope:
            await bus.drain()
        assert scope.cancelled_caught
        tasks.cancel_scope.cancel()
    let_go.set()
    assert threads[0].daemon
    assert threads[0] is not threading.main_thread()


async def test_a_plain_handler_that_blocks_holds_up_no_other() -> None:
    bus, let_go, called = Bus(), threading.Event(), threading.Semaphore(0)
    heard: list[SessionKey] = []

    def block(_: Event) -> None:
        called.release()
        let_go.wait(60)

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda *_: None)
        bus.add_handler(block, Filter((), None, None))
        keys = [SessionKey(str(number)) for number in range(HANDLER_THREADS)]
        for number, key in enumerate(keys):
            bus.publish(event(number, key.company_id))
        for _ in keys:
            assert await anyio.to_thread.run_sync(partial(called.acquire, timeout=60))
        bus.add_handler(lambda event: heard.append(event.key), Filter((), None, None))
        bus.publish(event(1, "other"))
        with anyio.fail_after(20):
            while not heard:
                await anyio.lowlevel.checkpoint()
        let_go.set()
        await bus.drain()
    assert heard == [SessionKey("other")]


async def test_what_is_removed_hears_nothing_more() -> None:
    bus = Bus()
    got: list[Event] = []

    async def handler(event: Event) -> None:
        got.append(event)

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda *_: None)
        bus.add_handler(handler, Filter((), None, None))
        bus.remove_handler(handler)
        bus.remove_handler(handler)
        bus.publish(event(1))
        await bus.drain()
    assert got == []


async def cancelled_inside(_: Event) -> None:
    raise anyio.get_cancelled_exc_class()


async def grouped(_: Event) -> None:
    raise BaseExceptionGroup("several", [GeneratorExit()])


async def closing(_: Event) -> None:
    raise GeneratorExit


async def leaving(_: Event) -> None:
    sys.exit(3)


def leaving_in_a_thread(_: Event) -> None:
    sys.exit(3)


def interrupting_in_a_thread(_: Event) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "handler", [cancelled_inside, grouped, closing, leaving, leaving_in_a_thread, interrupting_in_a_thread]
)
async def test_whatever_a_handler_raises_is_its_own_failure(
    handler: Callable[[Event], Any], anyio_backend: str
) -> None:
    if handler is cancelled_inside and anyio_backend == "trio":
        pytest.skip("nobody but trio makes its Cancelled")
    bus = Bus()
    reports: list[tuple[str, str]] = []
    got: list[int] = []

    async def other(event: Event) -> None:
        got.append(event.sequence)

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda _, *report: reports.append(report))
        bus.add_handler(handler, Filter(["status"], None, None))
        bus.publish(status_event(1))
        await bus.drain()
        assert not tasks.cancel_scope.cancel_called
        bus.add_handler(other, Filter((), None, None))
        bus.publish(status_event(2))
        await bus.drain()
    assert [code for code, _ in reports] == ["handler_failed"] * 2
    assert got == [2]


async def test_a_handler_that_awaits_a_cancelled_task_fails(anyio_backend: str) -> None:
    if anyio_backend == "trio":
        pytest.skip("a trio task is cancelled only with what is around it")
    bus = Bus()
    reports: list[str] = []

    async def handler(_: Event) -> None:
        task = asyncio.ensure_future(anyio.sleep_forever())
        await anyio.lowlevel.checkpoint()
        task.cancel()
        await task

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda _, code, __: reports.append(code))
        bus.add_handler(handler, Filter((), None, None))
        bus.publish(status_event(1))
        bus.publish(status_event(2))
        await bus.drain()
    assert reports == ["handler_failed"] * 2


@pytest.mark.parametrize("bad_end", [False, True])
async def test_who_ends_the_bus_cancels_its_handlers(bad_end: bool) -> None:
    bus = Bus()
    reports: list[str] = []

    async def handler(_: Event) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if bad_end:
                sys.exit(3)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            bus.open(tasks, lambda _, code, __: reports.append(code))
            bus.add_handler(handler, Filter((), None, None))
            bus.publish(status_event(1))
            bus.publish(status_event(2))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert reports == []


@pytest.mark.parametrize("fails", [False, True])
async def test_a_plain_handler_may_return_an_awaitable(fails: bool) -> None:
    bus = Bus()
    reports: list[str] = []
    got: list[Event] = []

    async def store(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        if fails:
            raise OSError("full")
        got.append(event)

    def handler(event: Event) -> Awaitable[None]:
        return store(event)

    async with anyio.create_task_group() as tasks:
        bus.open(tasks, lambda _, code, __: reports.append(code))
        bus.add_handler(handler, Filter((), None, None))
        bus.publish(status_event(1))
        await bus.drain()
    assert [event.sequence for event in got] == ([] if fails else [1])
    assert reports == (["handler_failed"] if fails else [])


async def test_a_thread_that_cannot_be_started_takes_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus()
    reports: list[str] = []
    got: list[int] = []

    def handler(event: Event) -> None:
        got.append(event.sequence)

    def cannot_start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            bus.open(tasks, lambda _, code, __: reports.append(code))
            bus.add_handler(handler, Filter(["status"], None, None))
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", cannot_start)
                for number in range(HANDLER_THREADS):
                    bus.publish(status_event(number))
                await bus.drain()
            bus.publish(status_event(99))
            await bus.drain()
    assert reports == ["handler_failed"] * HANDLER_THREADS
    assert got == [99]


async def test_a_stream_of_a_closed_bus_ends() -> None:
    bus = Bus()
    bus.close()
    with anyio.fail_after(5):
        async with bus.stream(Filter((), None, None)) as events:
            assert [event async for event in events] == []
