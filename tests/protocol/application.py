"""An application in a process of its own: ``python application.py <session path> <environment as JSON> <backend>``.

With ``durably`` behind these, it works on a message when it is told to. It reads commands from stdin, a JSON list a
line, and answers with a JSON line each.
"""

from __future__ import annotations

import gc
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from wasessionpool import PoolSettings, SendTimeout, WhatsAppSessionPool
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.testing.whatsapp.server import WORKER_MODULE


def say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def own_memory(process: str) -> int:
    """Return the bytes of a process that it shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


async def main(path: str, environment: dict[str, str], *, durably: bool) -> None:
    hand_over, handed_over = anyio.create_memory_object_stream[Any](0)
    driver = NeonizeDriver(worker_module=WORKER_MODULE, environment=environment, spare_timeout=0)
    # A line that is cut in each cycle of a test has held long enough for the next.
    settings = PoolSettings(session_path=path, reconnect_reset_after=0.001)
    pool = WhatsAppSessionPool(settings, driver=driver)
    if durably:
        pool.on("message", durable=True)(hand_over.send)
    async with driver, pool, pool.events("message") as messages:
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
                case ["send by key", company_id, to, text, key, resend]:
                    try:
                        sent = await pool.send_message(company_id, to, text, idempotency_key=key, resend=resend)
                        say(id=sent.id)
                    except SendTimeout as error:
                        say(unknown=error.send_id)
                case ["message"]:
                    event: Any = await anext(messages)
                    say(text=event.text)
                case ["work"]:
                    # The handler returns with this, so the message is done.
                    event = await handed_over.receive()
                    say(text=event.text, redelivered=event.redelivered)
                case ["disconnect", company_id]:
                    await pool.disconnect(company_id)
                    say()
                case ["memory"]:
                    gc.collect()
                    processes = ("self", *(str(worker.pid) for worker in driver.workers()))
                    say(blocks=sys.getallocatedblocks(), own=[own_memory(process) for process in processes])
                case ["inspect"]:
                    maps = Path("/proc/self/maps").read_text().splitlines()
                    say(
                        modules=[name for name in sys.modules if name.split(".")[0] == "neonize"],
                        libraries=[line for line in maps if "neonize-" in line],
                        lines_of_go=sum(worker.unknown_lines for worker in driver._terms.fleet._workers),
                    )


run = partial(main, sys.argv[1], json.loads(sys.argv[2]), durably=sys.argv[4:] == ["durably"])
anyio.run(run, backend=sys.argv[3])
