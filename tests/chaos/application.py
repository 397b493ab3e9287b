"""The application under test, in a process of its own: ``python -m tests.chaos.application '<options as JSON>'``.

Once told to, it sends to a contact of each company all the time. It stores what it receives in handlers that are slow
and fail, and writes down what it did. Commands come by stdin, a JSON object a line; answers, and every change of a
status, go to stdout. It leaves its pool when stdin ends.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import anyio

from wasessionpool import PoolSettings, SendTimeout, WhatsAppPoolError, WhatsAppSessionPool
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.events import Event, MessageEvent, StatusEvent
from wasessionpool.testing.whatsapp.server import WORKER_MODULE

from .journal import Journal, read

TRIES = 3
PATIENCE = 60.0
SETTINGS = {
    "rate_limit_max": 10**6,
    "rate_limit_recipient_max": 10**6,
    "reconnect_base_delay": 0.5,
    "reconnect_max_delay": 4.0,
    "reconnect_grace": 2.0,
    "reconnect_reset_after": 5.0,
    "revive_interval": 5.0,
    "send_timeout": 8.0,
    "connect_timeout": 30.0,
}
DRIVER = {
    "vitals_interval": 0.5,
    "silence_timeout": 6.0,
    "spare_timeout": 3.0,
    "idle_timeout": 3.0,
    "respawn_delay": 0.2,
    "reset_after": 5.0,
}


class HandlerFault(Exception):
    """What a handler raises on purpose."""


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def interrupted(outgoing: Path) -> dict[str, str]:
    """Return the last text of each company whose send, by a key, a kill has cut short."""
    last: dict[str, str] = {}
    for entry in read(outgoing):
        if entry["what"] != "try":
            last = {company_id: text for company_id, text in last.items() if text != entry["text"]}
        elif entry["keyed"]:
            last[entry["company_id"]] = entry["text"]
    return last


class Application:
    def __init__(self, pool: WhatsAppSessionPool, driver: NeonizeDriver, options: dict[str, Any]) -> None:
        self._pool = pool
        self._driver = driver
        self._seed = options["seed"]
        self._run = options["run"]
        self._pause = options["pause"]
        self._contacts: dict[str, str] = options["contacts"]
        folder = Path(options["journals"])
        self._interrupted = interrupted(folder / "outgoing")
        self._outgoing, self._incoming = Journal(folder / "outgoing"), Journal(folder / "incoming")
        self._may_talk = anyio.Event()
        self._talking = anyio.CancelScope()
        self._failed: set[str] = set()
        self._chance = Random(f"{self._seed} {self._run}")

    def listen(self) -> None:
        """Register the handlers, before the pool opens."""
        on = self._pool.on
        on("status")(self._tell)
        on("message", durable=True)(self._store)
        on("message")(self._block)
        on("receipt", "message_sent")(self._fail)

    async def talk(self) -> None:
        """Send from every company, once told to, until told to be quiet."""
        with self._talking:
            await self._may_talk.wait()
            async with anyio.create_task_group() as tasks:
                for company_id in self._contacts:
                    tasks.start_soon(self._talk, company_id)

    async def do(self, command: dict[str, Any]) -> None:
        """Do a command and answer it."""
        number, company_id = command["number"], command.get("company_id", "")
        try:
            answer = await self._do(command["do"], company_id)
        except (WhatsAppPoolError, TimeoutError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        say(answer=number, **answer)

    async def _do(self, what: str, company_id: str) -> dict[str, Any]:
        match what:
            case "create":
                status = await self._pool.create_session(company_id, timeout=20)
                return {"status": status.status, "qr": status.qr.text if status.qr else None}
            case "disconnect":
                await self._pool.disconnect(company_id)
            case "statuses":
                return {"statuses": await self.statuses()}
            case "explain":
                return {"text": await self._pool.explain(company_id)}
            case "workers":
                return {"workers": [worker.model_dump() for worker in self._driver.workers()]}
            case "metrics":
                return {"metrics": (await self._pool.get_metrics()).model_dump(exclude={"workers"})}
            case "threads":
                names = Counter(thread.name.rstrip("0123456789-") for thread in threading.enumerate())
                return {"threads": names, "tasks": len(list(Path("/proc/self/task").iterdir()))}
            case "talk":
                self._may_talk.set()
            case "be quiet":
                self._talking.cancel()
        return {}

    async def statuses(self) -> dict[str, list[str | None]]:
        return {s.company_id: [s.status, s.disconnect_reason] for s in await self._pool.get_sessions()}

    async def _tell(self, event: StatusEvent) -> None:
        say(company_id=event.company_id, status=event.current, reason=event.reason)

    async def _talk(self, company_id: str) -> None:
        chance, contact = Random(f"{self._seed} {company_id} {self._run}"), self._contacts[company_id]
        number = 0
        if company_id in self._interrupted:
            await self._send(company_id, contact, self._interrupted[company_id], keyed=True)
        while True:
            await anyio.sleep(chance.uniform(0.5, 1.5) * self._pause)
            try:
                await self._pool.wait_until_connected(company_id, timeout=PATIENCE)
            except (WhatsAppPoolError, TimeoutError):
                continue
            number += 1
            await self._send(company_id, contact, f"out {company_id} {self._run}.{number}", keyed=number % 2 == 0)

    async def _send(self, company_id: str, contact: str, text: str, *, keyed: bool) -> None:
        """Send, and again where that failed; without a key the same words may then be there twice, and it is told."""
        for _ in range(TRIES):
            self._outgoing.write(what="try", text=text, company_id=company_id, keyed=keyed)
            try:
                # What was begun is written down, also when it is time to be quiet.
                with anyio.CancelScope(shield=True):
                    key = text if keyed else None
                    sent = await self._pool.send_message(company_id, contact, text, idempotency_key=key)
                    self._outgoing.write(what="sent", text=text, id=sent.id, company_id=company_id)
                    return
            except SendTimeout:
                self._outgoing.write(what="unknown", text=text)
            except WhatsAppPoolError as error:
                self._outgoing.write(what="not sent", text=text, code=error.code)
            await anyio.sleep(self._pause / 2)

    async def _store(self, event: MessageEvent) -> None:
        """Write a message down; one in ten takes its time, one in thirty fails at first."""
        text = event.text or ""
        chance = Random(f"{self._seed} {text}").random()
        if chance < 0.1:
            await anyio.sleep(chance * 10)
        elif chance > 0.97 and text not in self._failed:
            self._failed.add(text)
            raise HandlerFault
        self._failed.discard(text)
        entry = {"company_id": event.company_id, "text": text, "id": event.message_id}
        await anyio.to_thread.run_sync(lambda: self._incoming.write(**entry, redelivered=event.redelivered))

    def _block(self, event: MessageEvent) -> None:
        """Block a thread now and then, and fail as often."""
        chance = Random(f"block {self._seed} {event.text}").random()
        if chance < 0.05:
            time.sleep(chance * 20)
        elif chance > 0.95:
            raise HandlerFault

    async def _fail(self, _: Event) -> None:
        if self._chance.random() < 0.02:
            raise HandlerFault


async def main(options: dict[str, Any]) -> None:
    settings = PoolSettings(session_path=options["session_path"], **SETTINGS | options["settings"])
    given = {"sessions_per_worker": settings.sessions_per_worker, "max_pairings": settings.max_pairings}
    async with NeonizeDriver(
        worker_module=WORKER_MODULE, environment=options["environment"], **given, **DRIVER
    ) as driver:
        pool = WhatsAppSessionPool(settings, driver=driver)
        application = Application(pool, driver, options)
        application.listen()
        async with pool, anyio.create_task_group() as tasks:
            say(ready=True, statuses=await application.statuses())
            tasks.start_soon(application.talk)
            while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
                tasks.start_soon(application.do, json.loads(line))
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    anyio.run(main, json.loads(sys.argv[1]))
