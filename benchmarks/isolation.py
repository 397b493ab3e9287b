"""What a session that is flooded costs another one of the same worker.

    python benchmarks/isolation.py [--blocks 5] [--sends 150] [--flood 3000]

The loud session gets messages as fast as WhatsApp writes them, and its handler takes none. The calm one sends
meanwhile, one message after another. Where the two share a worker, its sends should take no longer than where each has
its own: then all that they share is the machine. Both are measured in turn, in blocks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

# Its neighbour limits.py would hide the library of that name.
sys.path.pop(0)

import anyio
from anyio import to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.drivers.neonize import NeonizeDriver

CONTACT = "79000000001"
NUMBERS = {"shared": ("79680000001", "79680000002"), "apart": ("79680000003", "79680000004")}
LOUD, CALM = "loud", "calm"
PATIENCE = 120


class Server:
    """The loopback WhatsApp in a process of its own, by its control API."""

    def __init__(self, ready: dict[str, Any]) -> None:
        self.environment: dict[str, str] = ready["environment"]
        self.worker_module: str = ready["worker_module"]
        self._control = ready["control"]

    async def call(self, path: str, **arguments: Any) -> None:
        def post() -> None:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{self._control}/{path}", json.dumps(arguments).encode(), headers)  # noqa: S310
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - loopback
                answer.read()

        await to_thread.run_sync(post)


@asynccontextmanager
async def start_server() -> AsyncIterator[Server]:
    async with await anyio.open_process([sys.executable, "-m", "wasessionpool.testing.server"], stderr=None) as process:
        assert process.stdout is not None
        line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1 << 20)
        yield Server(json.loads(line))
        process.send_signal(signal.SIGTERM)
        await process.wait()


@asynccontextmanager
async def open_pool(server: Server, arrangement: str, path: Path) -> AsyncIterator[WhatsAppSessionPool]:
    """Open a pool with both sessions connected, in one worker or in two; its handler is blocked."""
    per_worker = 2 if arrangement == "shared" else 1
    settings = PoolSettings(session_path=path, rate_limit_max=10**6, rate_limit_recipient_max=10**6)
    options = {"worker_module": server.worker_module, "environment": server.environment, "spare_timeout": 0}
    async with (
        NeonizeDriver(sessions_per_worker=per_worker, **options) as driver,
        WhatsAppSessionPool(settings, driver=driver) as pool,
    ):
        pool.on("message")(lambda _: time.sleep(PATIENCE))
        for company, number in zip((LOUD, CALM), NUMBERS[arrangement], strict=True):
            status = await pool.create_session(company)
            assert status.qr is not None
            await server.call(f"phone/{number}/scan", qr=status.qr.text, timeout=30)
            await pool.wait_until_connected(company, timeout=30)
        assert len({worker.pid for worker in driver.workers()}) == 3 - per_worker
        yield pool


async def send(pool: WhatsAppSessionPool, count: int) -> list[float]:
    """Send from the calm session and return what each send took, in seconds."""
    taken = []
    for number in range(count):
        begun = time.perf_counter()
        await pool.send_message(CALM, CONTACT, f"message number {number}")
        taken.append(time.perf_counter() - begun)
    return taken


async def measure(
    server: Server, pool: WhatsAppSessionPool, arrangement: str, options: argparse.Namespace
) -> list[float]:
    """Return what sends took while the loud session was flooded."""
    loud, _calm = NUMBERS[arrangement]
    async with anyio.create_task_group() as tasks:

        async def flood() -> None:
            await server.call(f"phone/{loud}/flood", sender=CONTACT, count=options.flood, kind="message")
            await server.call(f"phone/{loud}/wait_delivered", timeout=PATIENCE)

        tasks.start_soon(flood)
        return await send(pool, options.sends)


async def main(options: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}")
    medians: dict[str, list[float]] = {name: [] for name in NUMBERS}
    slowest: dict[str, list[float]] = {name: [] for name in NUMBERS}
    quiet = []
    with tempfile.TemporaryDirectory() as folder:
        async with (
            start_server() as server,
            open_pool(server, "shared", Path(folder, "shared")) as shared,
            open_pool(server, "apart", Path(folder, "apart")) as apart,
        ):
            pools = {"shared": shared, "apart": apart}
            await server.call(f"contact/{CONTACT}")
            for block in range(options.blocks):
                quiet.append(statistics.median(await send(shared, options.sends)))
                for name in sorted(pools, reverse=bool(block % 2)):
                    taken = await measure(server, pools[name], name, options)
                    medians[name].append(statistics.median(taken))
                    slowest[name].append(statistics.quantiles(taken, n=20)[-1])
            for pool in pools.values():
                for handler in (LOUD, CALM):
                    await pool.disconnect(handler)
    print(f"a send while nothing else happens: {show(quiet)} ms")
    for name in NUMBERS:
        print(f"while another session of {'its worker' if name == 'shared' else 'another worker'} is flooded:", end=" ")
        print(f"{show(medians[name])} ms, one in twenty over {show(slowest[name])} ms")
    ratios = [one / other for one, other in zip(medians["shared"], medians["apart"], strict=True)]
    print(f"shared worker / own worker: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def show(seconds: list[float]) -> str:
    low, middle, high = (value * 1e3 for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--sends", type=int, default=150)
    parser.add_argument("--flood", type=int, default=3000)
    anyio.run(main, parser.parse_args())
