"""An application in a process of its own: ``python application.py <session path> <environment as JSON> <backend>``.

It reads commands from stdin, a JSON list a line, and answers with a JSON line each.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.testing.whatsapp.server import WORKER_MODULE


def say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


async def main(path: str, environment: dict[str, str]) -> None:
    async with (
        NeonizeDriver(worker_module=WORKER_MODULE, environment=environment) as driver,
        WhatsAppSessionPool(PoolSettings(session_path=path), driver=driver) as pool,
        pool.events("message") as messages,
    ):
        hand_over, handed_over = anyio.create_memory_object_stream[Any](0)
        say(workers=[worker.pid for worker in driver.workers()])
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            match json.loads(line):
                case ["create", company_id]:
                    status = await pool.create_session(company_id)
                    say(status=status.status, qr=status.qr.text if status.qr else None)
                case ["wait", company_id]:
                    status = await pool.wait_until_connected(company_id, timeout=30)
                    say(status=status.status, workers=[worker.pid for worker in driver.workers()])
                case ["send", company_id, to, text]:
                    say(id=(await pool.send_message(company_id, to, text)).id)
                case ["message"]:
                    event: Any = await anext(messages)
                    say(text=event.text)
                case ["work durably"]:
                    pool.on("message", durable=True)(hand_over.send)
                    say()
                case ["work"]:
                    # The handler returns with this, so the message is done.
                    event = await handed_over.receive()
                    say(text=event.text, redelivered=event.redelivered)


anyio.run(main, sys.argv[1], json.loads(sys.argv[2]), backend=sys.argv[3])
