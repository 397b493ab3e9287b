from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial

import anyio
import pytest
from anyio.to_thread import run_sync

from wasessionpool.threads import DaemonThreads

pytestmark = pytest.mark.anyio
NAME = "daemons of a test"


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


class Gate:
    """A function that says that it began, and ends when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.may_end.wait(60)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.may_end.set()
    for thread in running():
        thread.join(60)
    assert running() == []


@pytest.fixture
def threads() -> DaemonThreads:
    return DaemonThreads(3, name=NAME)


async def test_what_is_returned_and_raised(threads: DaemonThreads, gate: Gate) -> None:
    assert await threads.run(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


async def test_those_of_a_lane_follow_one_another_and_others_do_not_wait(threads: DaemonThreads, gate: Gate) -> None:
    done: list[int] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(threads.run, gate, lane="a"))
        assert await run_sync(gate.begun.wait, 60)
        for number in range(3):
            tasks.start_soon(partial(threads.run, partial(done.append, number), lane="a"))
            await anyio.wait_all_tasks_blocked()
        assert await threads.run(lambda: list(done), lane="b") == await threads.run(lambda: list(done)) == []
        gate.may_end.set()
    assert done == [0, 1, 2]


async def test_no_more_run_than_the_limit(gate: Gate) -> None:
    threads, count, most = DaemonThreads(2, name=NAME), 0, 0
    guard, two = threading.Lock(), threading.Barrier(2, timeout=60)

    def work() -> None:
        nonlocal count, most
        with guard:
            count += 1
            most = max(most, count)
        two.wait()
        with guard:
            count -= 1
        two.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(threads.run, work)
    assert (count, most) == (0, 2)


@pytest.mark.parametrize("natively", [False, True])
async def test_what_a_caller_left_behind_ends_before_the_next_begins(
    threads: DaemonThreads, gate: Gate, anyio_backend: str, natively: bool
) -> None:
    if natively and anyio_backend != "asyncio":
        pytest.skip("trio has no cancellation but by scopes")
    done: list[str] = []
    cancels: list[Callable[[], object]] = []

    async def call(work: Callable[[], object], *, keep: bool = False) -> None:
        with anyio.CancelScope() as scope:
            task = asyncio.current_task() if natively else None
            cancels.append(task.cancel if task else scope.cancel)
            await threads.run(work, lane="a", keep=keep)

    def slow() -> None:
        gate()
        done.append("slow")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, slow)
        assert await run_sync(gate.begun.wait, 60)
        tasks.start_soon(call, partial(done.append, "given up"))
        tasks.start_soon(partial(call, partial(done.append, "kept"), keep=True))
        await anyio.wait_all_tasks_blocked()
        for cancel in cancels:
            cancel()
    tasks_are_over_and_the_thread_is_not = done == [] and running() != []
    assert tasks_are_over_and_the_thread_is_not
    gate.may_end.set()
    await threads.run(partial(done.append, "next"), lane="a")
    assert done == ["slow", "kept", "next"]


async def test_who_is_cancelled_already_begins_nothing(threads: DaemonThreads, gate: Gate) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await threads.run(gate)
    assert scope.cancelled_caught
    assert not gate.begun.is_set()


async def test_where_no_thread_can_be_started(
    threads: DaemonThreads, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await threads.run(gate, lane="a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(threads.run, gate, lane="a"))
        assert await run_sync(gate.begun.wait, 60)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            done: list[int] = []
            tasks.start_soon(threads.run, partial(done.append, 1))
            await anyio.wait_all_tasks_blocked()
        # Those that run take it over.
        gate.may_end.set()
    assert done == [1]


async def test_a_lane_whose_only_job_left_before_it_began_goes_on(gate: Gate) -> None:
    threads, done = DaemonThreads(1, name=NAME), list[int]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, gate)
        assert await run_sync(gate.begun.wait, 60)
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(partial(threads.run, partial(done.append, 1), lane="a"))
            await anyio.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
        gate.may_end.set()
    assert await threads.run(lambda: list(done), lane="a") == []
