"""Sessions through `NeonizeDriver` in an asyncio application, for `overhead.py`: JSON lists in, a JSON reply each."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from wasessionpool import Address, SessionRecord, Text
from wasessionpool.abc import Connection, Inbox
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.links import LinkUp
from wasessionpool.models import DeviceLocation


async def empty(inbox: Inbox) -> None:
    """Take what is received, as a pool does."""
    while True:
        items = await inbox.read(0, 100)
        if items:
            await inbox.acknowledge([item.number for item in items])
        else:
            await inbox.changed()


class Sessions:
    """Connections of one driver, each under a reader."""

    def __init__(self, driver: NeonizeDriver, tasks: anyio.abc.TaskGroup) -> None:
        self._driver = driver
        self._tasks = tasks
        self._connections: list[Connection] = []

    async def open(self, database: str) -> None:
        """Open one more connection, and return once it is live."""
        self._connections.append(await self._tasks.start(self._hold, database))

    async def serial(self, contacts: list[str], count: int) -> list[float]:
        """Send from the first session, one message after another; return what each took, in seconds."""
        taken, connection = [], self._connections[0]
        for number in range(count):
            begun = time.perf_counter()
            await connection.send(Address(contacts[number % len(contacts)]), Text(text=f"message number {number}"))
            taken.append(time.perf_counter() - begun)
        return taken

    async def concurrent(self, contacts: list[str], count: int) -> float:
        """Send from all sessions at once, each one message after another; return the seconds it took."""

        async def write(place: int, connection: Connection) -> None:
            for number in range(count):
                to = Address(contacts[(place + number) % len(contacts)])
                await connection.send(to, Text(text=f"message number {number}"))

        begun = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for place, connection in enumerate(self._connections):
                tasks.start_soon(write, place, connection)
        return time.perf_counter() - begun

    async def processes(self) -> list[int]:
        """Return the ids of this process and of the workers with sessions; a spare one has none."""
        return [os.getpid(), *(worker.pid for worker in self._driver.workers() if worker.sessions)]

    async def _hold(self, database: str, *, task_status: anyio.abc.TaskStatus[Connection]) -> None:
        number = len(self._connections)
        record = SessionRecord(company_id=f"company{number}", created_at=datetime.now(UTC))
        device = DeviceLocation(Path(database), Path(f"{database}.inbox"))
        async with (
            self._driver.inbox(record.key, device) as inbox,
            self._driver.connect(record, device) as connection,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(empty, inbox)
            async for event in connection:
                if isinstance(event, LinkUp):
                    task_status.started(connection)
        raise RuntimeError("a connection has ended")


async def main(ready: dict[str, Any]) -> None:
    options = {"worker_module": ready["worker_module"], "environment": ready["environment"]}
    async with NeonizeDriver(**options) as driver, anyio.create_task_group() as tasks:
        sessions = Sessions(driver, tasks)
        while line := await to_thread.run_sync(sys.stdin.readline):
            command, *arguments = json.loads(line)
            reply = await getattr(sessions, command)(*arguments)
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1]))
