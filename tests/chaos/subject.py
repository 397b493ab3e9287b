"""The application that is tried: one process after another, over one session path."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from wasessionpool.testing import WhatsAppServer

from . import footprint
from .company import Company
from .remote import Gone, RemoteApplication, spawn
from .waiting import until

LEAVE = 30.0
"""Seconds that leaving the pool may take, with all its sessions."""
GONE = 2.0
"""Seconds within which workers have ended whose application has left its pool."""
ORPHANED = 20.0
"""Seconds within which workers end whose application was killed; they take five, on a machine that is not busy."""
SAMPLE = 2.0
STABLE = 4.0
"""Seconds without a change after which what the application holds is taken to be all: a spare worker has ended."""
SETTLE = 90.0

logger = logging.getLogger("tests.chaos")


@dataclass(frozen=True)
class Options:
    """What a run is made of; the rest is random, and the same for the same seed."""

    seed: int
    minutes: float = 10.0
    sessions: int = 20
    every: float = 3.0
    """Seconds between two faults, on average."""
    pause: float = 1.0
    """Seconds between two messages of a session, each way."""


class Subject:
    """Starts and ends the application, and knows its processes; ``violate`` hears of what must not be."""

    def __init__(
        self,
        options: Options,
        whatsapp: WhatsAppServer,
        companies: Sequence[Company],
        folder: Path,
        tasks: TaskGroup,
        violate: Callable[[str], None],
    ) -> None:
        self.starts = 0
        self.samples: list[tuple[float, int]] = []
        """What the process that runs used of memory, and when."""
        self._options = options
        self._environment = dict(whatsapp.environment)
        self._companies = {company.id: company for company in companies}
        self._folder = folder
        self._tasks = tasks
        self._violate = violate
        self._application: RemoteApplication | None = None
        self._workers: dict[int, int | None] = {}
        """The workers of the process that runs, and when they were born."""

    async def start(self, *, talk: bool = True) -> None:
        """Start it, wait until its pool is open, and have it send, unless it is to be quiet as yet."""
        self.starts += 1
        sessions = len(self._companies)
        given = {
            "seed": self._options.seed,
            "run": self.starts,
            "pause": self._options.pause,
            "contacts": {company.id: company.contact.number for company in self._companies.values()},
            "journals": str(self._folder),
            "session_path": str(self._folder / "sessions"),
            "environment": self._environment,
            "settings": {"sessions_per_worker": max(2, sessions // 4), "max_sessions": sessions},
        }
        application = await spawn(given, self._folder / "application.log", self._hear)
        self._application = application
        self.samples.clear()
        self._tasks.start_soon(application.listen)
        self._tasks.start_soon(self._watch, application)
        await application.ready.wait()
        logger.info("application %d runs as %d", self.starts, application.pid)
        if talk:
            await self.do("talk")

    async def do(self, what: str, company_id: str = "") -> dict[str, Any]:
        """Have it do something; a process that is started anew is asked again. Raises Gone and TimeoutError."""
        while True:
            application = self._application
            assert application is not None
            try:
                await application.ready.wait()
                return await application.do(what, company_id)
            except Gone:
                if not application.leaving:
                    raise
                await anyio.sleep(0.1)

    async def shards(self) -> list[dict[str, Any]]:
        """Return the workers that host sessions."""
        workers = (await self.do("workers"))["workers"]
        self._workers |= {worker["pid"]: footprint.born(worker["pid"]) for worker in workers}
        return [worker for worker in workers if worker["role"] == "shard" and worker["sessions"]]

    async def kill(self) -> None:
        assert self._application is not None
        await self.shards()
        await self._application.kill()
        self._tasks.start_soon(self._see_workers_end, ORPHANED)

    async def leave(self) -> None:
        """Have it leave its pool and end, and see that it does, in time and with its workers."""
        assert self._application is not None
        await self.shards()
        code = await self._application.leave(LEAVE)
        if code != 0:
            self._violate(f"the application left its pool with {code}")
        await self._see_workers_end(GONE)

    async def end(self) -> None:
        """Leave no process behind, whatever has happened."""
        if self._application is not None and not self._application.ended.is_set():
            await self._application.kill()

    async def sample(self) -> None:
        """Look at its memory from time to time."""
        while True:
            if self._application is not None and (used := footprint.memory(self._application.pid)) is not None:
                self.samples.append((anyio.current_time(), used))
            await anyio.sleep(SAMPLE)

    async def footprint(self) -> Counter[str]:
        """Return what it holds, once that does not change any more; it must not be sending meanwhile."""
        before, found = Counter[str](), await self._held()
        with anyio.move_on_after(SETTLE):
            while found != before:
                await anyio.sleep(STABLE)
                before, found = found, await self._held()
        logger.info("footprint: %s", found)
        return found

    async def _held(self) -> Counter[str]:
        assert self._application is not None
        pid = self._application.pid
        answer = await self.do("threads")
        named: dict[str, int] = answer["threads"]
        threads = Counter({f"{name} threads": n for name, n in named.items() if not name.startswith("AnyIO worker")})
        threads["nameless threads"] = answer["tasks"] - sum(named.values())
        workers = Counter(f"{worker['role']} workers" for worker in (await self.do("workers"))["workers"])
        return workers + footprint.descriptors(pid) + threads

    def _hear(self, line: dict[str, Any]) -> None:
        company = self._companies[line["company_id"]]
        if (company.status, company.said_reason) != (line["status"], line["reason"]):
            logger.info("%s: %s (%s)", company.id, line["status"], line["reason"])
        company.tell(line["status"], line["reason"])

    async def _watch(self, application: RemoteApplication) -> None:
        await application.ended.wait()
        if not application.leaving:
            self._violate(f"the application ended by itself, {application.process.returncode}")

    async def _see_workers_end(self, timeout: float) -> None:
        workers, self._workers = self._workers, {}

        def left() -> list[int]:
            return [pid for pid, born in workers.items() if born is not None and footprint.born(pid) == born]

        await until(lambda: not left(), timeout)
        for pid in left():
            self._violate(f"worker {pid} outlived its application by {timeout:g} s")
