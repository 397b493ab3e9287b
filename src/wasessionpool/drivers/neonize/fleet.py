"""The worker processes: how many there are, which session runs where, and when one is replaced."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio.abc import TaskGroup

from ...errors import WhatsAppPoolError, WorkerCrashed
from ...models import SessionKey, WorkerMetrics, WorkerRole
from .process import Hosting, Launch, WorkerProcess
from .quarantine import Quarantine
from .respawn import Respawn
from .vitals import WorkerLimits

logger = logging.getLogger(__name__)

QUIT_TIMEOUT = 6.0
"""Seconds for a worker to stop its sessions, one more than it takes at most."""

MOVE_TIMEOUT = 30.0
"""Seconds that a drained worker's next session waits for the link of the last one, at its new place."""


class Place:
    """A session's place on a shard worker, its own until it gives it back.

    ``leave`` is set when it has to go elsewhere; the session then sets ``settled`` once it has a link there, or none
    any more.
    """

    def __init__(self, key: SessionKey) -> None:
        self.key = key
        self.leave = anyio.Event()
        self.left = anyio.Event()
        self.settled = anyio.Event()


class Fleet:
    """Spawns workers on demand, places sessions on them, and replaces those that are worn."""

    def __init__(
        self,
        tasks: TaskGroup,
        *,
        launch: Launch,
        sessions_per_worker: int,
        spare_timeout: float,
        idle_timeout: float,
        limits: WorkerLimits,
        quarantine: Quarantine,
        respawn: Respawn,
    ) -> None:
        self.quarantine = quarantine
        self.restarts = 0
        self._tasks = tasks
        self._launch = launch
        self._sessions_per_worker = sessions_per_worker
        self._spare_timeout = spare_timeout
        self._idle_timeout = idle_timeout
        self._limits = limits
        self._respawn = respawn
        self._workers: dict[WorkerProcess, list[Place]] = {}
        self._draining: WorkerProcess | None = None
        self._emptied: set[WorkerProcess] = set()
        self._vitals_told = anyio.Event()
        self._closing = False

    def workers(self) -> tuple[WorkerMetrics, ...]:
        metrics = (worker.metrics() for worker in self._workers)
        return tuple(worker for worker in metrics if worker is not None)

    @asynccontextmanager
    async def shard(self, key: SessionKey) -> AsyncIterator[tuple[WorkerProcess, Place]]:
        """Lend a place on the least loaded shard worker; a new one is spawned where all are full.

        Raises what ``WorkerProcess.ready`` raises.
        """
        worker = await self._spawned("shard", partial(self._least_loaded, key))
        places, place = self._workers[worker], Place(key)
        places.append(place)
        try:
            await worker.ready()
            yield worker, place
        finally:
            places.remove(place)
            place.left.set()
            if not places:
                self._left_empty(worker)

    @asynccontextmanager
    async def pairing(self) -> AsyncIterator[WorkerProcess]:
        """Lend a worker of its own, killed at the end: a pairing thread never ends by itself.

        Raises what ``WorkerProcess.ready`` raises.
        """
        worker = await self._spawned("pairing", self._spare)
        worker.role = "pairing"
        try:
            await worker.ready()
            self._keep_spare()
            yield worker
        finally:
            worker.kill()
            with anyio.CancelScope(shield=True):
                await worker.gone.wait()

    async def quit(self) -> None:
        """End all workers: asked first, killed after ``QUIT_TIMEOUT``."""
        self._closing = True
        self._vitals_told.set()
        workers = tuple(self._workers)
        for worker in workers:
            # One that hosts nothing yet would first finish its import.
            worker.kill() if worker.role == "spare" else worker.quit()
        with anyio.move_on_after(QUIT_TIMEOUT):
            for worker in workers:
                await worker.gone.wait()
        for worker in workers:
            worker.kill()
            await worker.gone.wait()

    def _left_empty(self, worker: WorkerProcess) -> None:
        if worker is self._draining or self._wear(worker):
            worker.quit()
        elif worker.alive and not self._closing and worker not in self._emptied:
            self._emptied.add(worker)
            self._tasks.start_soon(self._end_empty, worker, name="empty worker's end")

    async def _end_empty(self, worker: WorkerProcess) -> None:
        """End a shard worker on which nobody has started any more; those that a quarantine spread out leave some."""
        try:
            while not self._workers.get(worker) and not worker.gone.is_set():
                starts = worker.starts
                with anyio.move_on_after(self._idle_timeout):
                    await worker.gone.wait()
                if worker.starts == starts and not self._workers.get(worker):
                    worker.quit()
                    return
        finally:
            self._emptied.remove(worker)

    def _wear(self, worker: WorkerProcess) -> str | None:
        return self._limits.passed_by(worker.starts, worker.vitals)

    def _least_loaded(self, key: SessionKey) -> WorkerProcess | None:
        open_ = [
            worker
            for worker in self._workers
            if worker.role == "shard" and worker.alive and worker is not self._draining and not self._wear(worker)
        ]
        free = (worker for worker in open_ if self._has_room(worker, key))
        return min(free, key=lambda worker: len(self._workers[worker]), default=None)

    def _has_room(self, worker: WorkerProcess, key: SessionKey) -> bool:
        """Say whether a session may join those on a worker: suspects and others never share one."""
        places = self._workers[worker]
        shares = [self.quarantine.share(one) for one in (key, *(place.key for place in places))]
        suspects = [share for share in shares if share is not None]
        if suspects and len(suspects) < len(shares):
            return False
        return len(places) < min(suspects, default=self._sessions_per_worker)

    def _spare(self) -> WorkerProcess | None:
        return next((worker for worker in self._workers if worker.role == "spare" and worker.alive), None)

    def _keep_spare(self) -> None:
        if self._spare_timeout > 0 and self._spare() is None and self._respawn.delay() == 0 and not self._closing:
            self._tasks.start_soon(self._end_idle, self._spawn("spare"), name="spare worker's end")

    async def _end_idle(self, spare: WorkerProcess) -> None:
        with anyio.move_on_after(self._spare_timeout):
            await spare.gone.wait()
        if spare.role == "spare":
            spare.kill()

    async def recycle(self) -> None:
        """Drain workers that are worn, one at a time, until the fleet quits."""
        while not self._closing:
            await self._vitals_told.wait()
            self._vitals_told = anyio.Event()
            for worker in () if self._closing else tuple(self._workers):
                old = time.monotonic() - worker.began >= self._limits.min_age
                if old and worker.role == "shard" and worker.alive and (wear := self._wear(worker)):
                    logger.info("worker %s is recycled, at %s", worker.pid, wear)
                    self._draining = worker
                    await self._drain(worker)
                    self._draining = None

    async def _drain(self, worker: WorkerProcess) -> None:
        """Move a worker's sessions elsewhere, one at a time, and wait for its end."""
        try:
            for place in tuple(self._workers.get(worker, ())):
                if not worker.alive:
                    break
                # It has no link while it moves, so what it moves to is there before.
                target = await self._spawned("shard", partial(self._least_loaded, place.key))
                await target.ready()
                place.leave.set()
                await place.left.wait()
                with anyio.move_on_after(MOVE_TIMEOUT):
                    await place.settled.wait()
        except WhatsAppPoolError as error:
            logger.warning("worker %s is not recycled, since another died: %s", worker.pid, error.message)
            return
        worker.quit()
        await worker.gone.wait()
        self.restarts += not worker.failed

    def _judge(self, hostings: Collection[Hosting]) -> Collection[SessionKey]:
        starting = [hosting.key for hosting in hostings if hosting.starting]
        poisonous = self.quarantine.aborted([hosting.key for hosting in hostings], starting)
        for key in poisonous:
            logger.error("session %s made its workers abort, and is put off", key)
        return poisonous

    async def _spawned(self, role: WorkerRole, find: Callable[[], WorkerProcess | None]) -> WorkerProcess:
        """Return the worker that there is, or a new one; later, where workers die as soon as they are spawned.

        Raises ``WorkerCrashed`` once the fleet is ending.
        """
        while (worker := find()) is None:
            if self._closing:
                raise WorkerCrashed("the driver is being left")
            if (delay := self._respawn.delay()) == 0:
                return self._spawn(role)
            await anyio.sleep(delay)
        return worker

    def _spawn(self, role: WorkerRole) -> WorkerProcess:
        worker = WorkerProcess(role, self._launch, watch=lambda: self._vitals_told.set(), judge=self._judge)
        self._workers[worker] = []
        self._tasks.start_soon(self._run, worker, name=f"{role} worker")
        return worker

    async def _run(self, worker: WorkerProcess) -> None:
        try:
            await worker.run()
        finally:
            del self._workers[worker]
            if worker.failed:
                self.restarts += 1
                self._respawn.died(worker.began)
