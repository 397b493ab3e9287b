"""Daemon threads for what may block for ever: they never keep the interpreter alive."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import Generic, NoReturn, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

T = TypeVar("T")


class DaemonThreads:
    """Runs plain functions, at most ``limit`` at a time; a caller that is cancelled leaves its function behind.

    Those of one ``lane`` run one after another, in order, and none before one that was left behind has ended.
    """

    def __init__(self, limit: int, *, name: str) -> None:
        self._limit = limit
        self._name = name
        self._guard = threading.Lock()
        self._lanes: dict[Hashable, deque[Callable[[], None]]] = {}
        """What waits in each lane in which something runs or is about to."""
        self._ready: deque[Hashable] = deque()
        self._threads = 0

    async def run(self, function: Callable[[], T], *, lane: Hashable = None, keep: bool = False) -> T:
        """Call ``function`` in a thread and return what it returns; without a ``lane`` it waits for no other.

        What has not begun when its caller is cancelled never does, unless it is to be kept. Raises what ``function``
        raises, and ``RuntimeError`` where no thread can be started.
        """
        if not keep:
            await anyio.lowlevel.checkpoint_if_cancelled()
        job = _Job(function)
        if lane is None:
            lane = job
        self._submit(lane, job.work)
        try:
            await job.over.wait()
        except BaseException:
            if not keep:
                self._withdraw(lane, job.work)
            raise
        return job.outcome()

    def _submit(self, lane: Hashable, work: Callable[[], None]) -> None:
        with self._guard:
            if lane in self._lanes:
                self._lanes[lane].append(work)
                return
            if self._threads < self._limit:
                try:
                    threading.Thread(target=self._work, name=self._name, daemon=True).start()
                    self._threads += 1
                except RuntimeError:
                    if not self._threads:
                        raise
            self._lanes[lane] = deque([work])
            self._ready.append(lane)

    def _withdraw(self, lane: Hashable, work: Callable[[], None]) -> None:
        with self._guard, suppress(KeyError, ValueError):
            self._lanes[lane].remove(work)

    def _work(self) -> None:
        lane: Hashable = None
        while True:
            with self._guard:
                if lane is not None:
                    self._ready.append(lane)
                lane, work = self._next()
                if work is None:
                    self._threads -= 1
                    return
            work()

    def _next(self) -> tuple[Hashable, Callable[[], None] | None]:
        while self._ready:
            lane = self._ready.popleft()
            if self._lanes[lane]:
                return lane, self._lanes[lane].popleft()
            del self._lanes[lane]
        return None, None


class _Job(Generic[T]):
    """One call, and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.over = anyio.Event()
        self.outcome: Callable[[], T]
        self._function = function
        self._token = anyio.lowlevel.current_token()

    def work(self) -> None:
        try:
            self.outcome = partial(_return, self._function())
        except BaseException as error:  # noqa: BLE001 - it is raised where run() was called
            self.outcome = partial(_raise, error)
        with suppress(RuntimeError):
            anyio.from_thread.run_sync(self.over.set, token=self._token)


def _return(value: T) -> T:
    return value


def _raise(error: BaseException) -> NoReturn:
    raise error
