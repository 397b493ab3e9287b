"""The pool's side of neonize."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from types import TracebackType
from typing import Self

import anyio

from ...abc import Connection, Inbox
from ...backoff import Backoff
from ...errors import ConfigurationError, DriverError
from ...models import DeviceLocation, DisconnectReason, SessionKey, SessionRecord, WorkerMetrics
from .connection import DeviceName, NeonizeConnection, Terms
from .fleet import Fleet
from .inbox import InboxReader
from .process import LOOKS, Launch
from .quarantine import Quarantine
from .respawn import Respawn
from .vitals import WorkerLimits

LONGEST_RESPAWN_DELAY = 30.0


class NeonizeDriver:
    """Opens connections through neonize, in worker processes of its own; an async context manager.

    Leaving it ends the workers. ``environment`` is laid over that of the application for them.
    ``sessions_per_worker`` linked devices share a worker; ``max_pairings`` devices pair at once, more wait.
    ``stop_timeout`` is how many seconds leaving a connection may take. ``inbox_max_bytes`` is the size at which a
    session's inbox makes WhatsApp wait. ``device_name`` is what the phone shows in its
    list of linked devices: one name for all, or a function of the session's record.

    The rest is in seconds, too: a worker that can pair at once is kept for ``spare_timeout`` after each pairing's begin
    (0: none is kept), one that no session is left on for ``idle_timeout``; workers tell their vitals each
    ``vitals_interval`` and are replaced after ``silence_timeout`` without a word, or where they passed one of
    ``limits``; one that dies at its start again and again is spawned anew after ``respawn_delay``, then after twice as
    long each time; and a session's aborts are forgotten after a link that held ``reset_after``.
    Raises ``ConfigurationError`` for a value that makes no sense, and on entry for a platform without neonize.
    """

    def __init__(
        self,
        *,
        worker_module: str = "wasessionpool.drivers.neonize.worker",
        environment: Mapping[str, str] | None = None,
        sessions_per_worker: int = 50,
        max_pairings: int = 8,
        stop_timeout: float = 5.0,
        inbox_max_bytes: int = 64 * 1024 * 1024,
        device_name: DeviceName = "wasessionpool",
        spare_timeout: float = 60.0,
        idle_timeout: float = 60.0,
        vitals_interval: float = 5.0,
        silence_timeout: float = 30.0,
        limits: WorkerLimits | None = None,
        respawn_delay: float = 1.0,
        reset_after: float = 60.0,
    ) -> None:
        if sessions_per_worker < 1 or max_pairings < 1:
            raise ConfigurationError("sessions_per_worker and max_pairings are at least 1")
        if not 0 < vitals_interval * LOOKS <= silence_timeout:
            raise ConfigurationError(f"silence_timeout is at least {LOOKS} times vitals_interval, which is over 0")
        self._launch = Launch(worker_module, dict(environment or {}), vitals_interval, silence_timeout)
        self._sessions_per_worker = sessions_per_worker
        self._spare_timeout = spare_timeout
        self._idle_timeout = idle_timeout
        self._limits = limits or WorkerLimits()
        self._respawn_delay = respawn_delay
        self._reset_after = reset_after
        self._max_pairings = max_pairings
        self._stop_timeout = stop_timeout
        self._inbox_max_bytes = inbox_max_bytes
        self._device_name = device_name
        self._generations = count(1)
        self._connections: dict[SessionKey, NeonizeConnection] = {}
        self._stack: AsyncExitStack | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._terms: Terms | None = None

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise DriverError("this driver is already entered")
        _check_platform()
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            fleet = Fleet(
                tasks,
                launch=self._launch,
                sessions_per_worker=self._sessions_per_worker,
                spare_timeout=self._spare_timeout,
                idle_timeout=self._idle_timeout,
                limits=self._limits,
                quarantine=Quarantine(self._reset_after),
                respawn=Respawn(Backoff(self._respawn_delay, LONGEST_RESPAWN_DELAY, jitter=0.0)),
            )
            self._terms = Terms(
                fleet=fleet,
                tasks=tasks,
                pairing_slots=anyio.Semaphore(self._max_pairings),
                device_name=self._device_name,
                inbox_max_bytes=self._inbox_max_bytes,
                inboxes={},
            )
            tasks.start_soon(fleet.recycle, name="recycling of workers")
            self._tasks = tasks
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._stack is None or self._terms is None:
            raise DriverError("this driver is not entered")
        terms, stack = self._terms, self._stack
        self._terms = self._tasks = None
        try:
            for connection in self._connections.values():
                connection.close(DisconnectReason.SHUTDOWN)
            with anyio.CancelScope(shield=True):
                await terms.fleet.quit()
        finally:
            self._stack = None
            # An error of the application's own is not one of ours, and leaves as it came, not in a group.
            ours = (None, None, None) if isinstance(error, Exception) else (kind, error, trace)
            suppress = await stack.__aexit__(*ours)
        return suppress

    @property
    def worker_restarts(self) -> int:
        """How many workers crashed, froze or were recycled since the driver was entered."""
        return self._terms.fleet.restarts if self._terms is not None else 0

    def workers(self) -> tuple[WorkerMetrics, ...]:
        """Return the worker processes of this moment."""
        return self._terms.fleet.workers() if self._terms is not None else ()

    @asynccontextmanager
    async def inbox(self, key: SessionKey, device: DeviceLocation) -> AsyncIterator[Inbox]:
        """Open what the device received, whether there is a link or not; raises ``DriverError``."""
        if self._terms is None:
            raise DriverError("the driver is not entered: use it in 'async with'")
        inboxes = self._terms.inboxes
        if key in inboxes:
            raise DriverError(f"the inbox of {key} is open already")
        reader = inboxes[key] = InboxReader(device.inbox)
        try:
            await reader.open()
            yield reader
        finally:
            del inboxes[key]
            await reader.close()

    @asynccontextmanager
    async def connect(self, record: SessionRecord, device: DeviceLocation) -> AsyncIterator[Connection]:
        """Open a link while the context lasts; a device that is not linked is paired first. Leaving stops it.

        Leaving takes at most ``stop_timeout``. A client that takes longer ends in the background, and the next
        connection of this session waits for that. Raises ``DriverError`` where the driver is not entered or the
        session has a connection already.
        """
        if self._terms is None or self._tasks is None:
            raise DriverError("the driver is not entered: use it in 'async with'")
        key = record.key
        before = self._connections.get(key)
        if before is not None and not before.left:
            raise DriverError(f"{key} has a connection already")
        connection = NeonizeConnection(
            self._terms, record, device, next(self._generations), before.over if before is not None else None
        )
        self._connections[key] = connection
        self._tasks.start_soon(self._run, key, connection, name=f"connection of {key}")
        try:
            yield connection
        finally:
            connection.left = True
            connection.close()
            with anyio.CancelScope(shield=True), anyio.move_on_after(self._stop_timeout):
                await connection.over.wait()
            self._forget(key, connection)

    async def _run(self, key: SessionKey, connection: NeonizeConnection) -> None:
        await connection.run()
        self._forget(key, connection)

    def _forget(self, key: SessionKey, connection: NeonizeConnection) -> None:
        if connection.left and connection.over.is_set() and self._connections.get(key) is connection:
            del self._connections[key]


def _check_platform() -> None:
    if sys.platform == "win32":
        raise ConfigurationError("neonize workers need Linux with glibc or macOS 12: Windows is not supported")
    if sys.platform == "linux":
        try:
            libc = os.confstr("CS_GNU_LIBC_VERSION")
        except (ValueError, OSError):
            libc = None
        if not (libc or "").startswith("glibc"):
            raise ConfigurationError("neonize has no wheel for this C library: use Linux with glibc, not Alpine")
