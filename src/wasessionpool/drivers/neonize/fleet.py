"""The worker processes: how many there are, and which session runs where."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from .process import Role, WorkerProcess

QUIT_TIMEOUT = 6.0
"""Seconds for a worker to stop its sessions, one more than it takes at most."""

STARTS_PER_WORKER = 500
"""Starts after which a worker gets no more sessions, and ends with its last: each leaks two or three descriptors and a
quarter of a megabyte, since neonize closes no database."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker process: a ``shard`` for linked sessions, or the one for a device that is ``pairing``."""

    pid: int
    role: Role
    sessions: tuple[str, ...]


class Fleet:
    """Spawns workers on demand and places sessions on them."""

    def __init__(
        self, tasks: TaskGroup, *, module: str, environment: Mapping[str, str], sessions_per_worker: int
    ) -> None:
        self._tasks = tasks
        self._module = module
        self._environment = environment
        self._sessions_per_worker = sessions_per_worker
        self._workers: list[WorkerProcess] = []

    def workers(self) -> tuple[WorkerInfo, ...]:
        return tuple(
            WorkerInfo(worker.pid, worker.role, worker.sessions)
            for worker in self._workers
            if worker.pid is not None and not worker.gone.is_set()
        )

    @asynccontextmanager
    async def shard(self) -> AsyncIterator[WorkerProcess]:
        """Lend a place on the least loaded shard worker; a new one is spawned where all are full.

        Raises what ``WorkerProcess.ready`` raises.
        """
        free = [
            worker
            for worker in self._workers
            if worker.role == "shard"
            and worker.alive
            and worker.reserved < self._sessions_per_worker
            and worker.starts < STARTS_PER_WORKER
        ]
        worker = min(free, key=lambda worker: worker.reserved) if free else self._spawn("shard")
        worker.reserved += 1
        try:
            await worker.ready()
            yield worker
        finally:
            worker.reserved -= 1
            if worker.reserved == 0 and worker.starts >= STARTS_PER_WORKER:
                worker.quit()

    @asynccontextmanager
    async def pairing(self) -> AsyncIterator[WorkerProcess]:
        """Lend a worker of its own, killed at the end: a pairing thread never ends by itself.

        Raises what ``WorkerProcess.ready`` raises.
        """
        worker = self._spawn("pairing")
        try:
            await worker.ready()
            yield worker
        finally:
            worker.kill()
            with anyio.CancelScope(shield=True):
                await worker.gone.wait()

    async def quit(self) -> None:
        """End all workers: asked first, killed after ``QUIT_TIMEOUT``."""
        workers = tuple(self._workers)
        for worker in workers:
            worker.quit()
        with anyio.move_on_after(QUIT_TIMEOUT):
            for worker in workers:
                await worker.gone.wait()
        for worker in workers:
            worker.kill()
            await worker.gone.wait()

    def _spawn(self, role: Role) -> WorkerProcess:
        worker = WorkerProcess(role, self._module, self._environment)
        self._workers.append(worker)
        self._tasks.start_soon(self._run, worker, name=f"{role} worker")
        return worker

    async def _run(self, worker: WorkerProcess) -> None:
        try:
            await worker.run()
        finally:
            self._workers.remove(worker)
