"""Daemon threads for what may block for ever: they never keep the interpreter alive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

T = TypeVar("T")


class DaemonThreads:
    """Runs plain functions, at most ``limit`` at a time; a caller that is cancelled abandons its thread."""

    def __init__(self, limit: int, *, name: str) -> None:
        self._slots = anyio.Semaphore(limit)
        self._name = name

    async def run(self, function: Callable[[], T]) -> T:
        """Call ``function`` in a thread of its own and return what it returns; the slot is free when it ends.

        Raises what it raises, and ``RuntimeError`` where no thread can be started.
        """
        await self._slots.acquire()
        done = anyio.Event()
        token = anyio.lowlevel.current_token()
        outcome: list[T] = []
        failure: list[BaseException] = []

        def settle() -> None:
            self._slots.release()
            done.set()

        def work() -> None:
            try:
                outcome.append(function())
            except BaseException as error:  # noqa: BLE001 - it is raised where run() was called
                failure.append(error)
            finally:
                with suppress(RuntimeError):
                    anyio.from_thread.run_sync(settle, token=token)

        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except BaseException:
            self._slots.release()
            raise
        await done.wait()
        if failure:
            raise failure[0]
        return outcome[0]
