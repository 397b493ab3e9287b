"""What the REST interface costs over the pool itself: requests a second, and latency added to a message.

    python benchmarks/rest.py [--blocks 10] [--sends 500] [--clients 20] [--quick]

A process serves a pool on a driver that acknowledges at once, by uvicorn. Its sides take turns in blocks: `bare` calls
`send_message` in that process; `configured` and `made` are `POST …/messages` over loopback by keep-alive connections,
with a key of the environment and with one that is looked up on the shelf. One client tells the latency, many the
throughput. Reported is the median of the blocks, with their range; a ratio is of the same block.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles

# Its neighbour limits.py would hide the library of that name.
sys.path.pop(0)

import uvicorn

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.fastapi import create_app
from wasessionpool.http.keys import StoredKeys
from wasessionpool.shelves.directory import DirectoryShelf
from wasessionpool.testing import FakeDriver, FakeLink

BOB, TEXT = "79001234567", "Hello, this is a message of an ordinary length."
CONFIGURED = "a-key-that-is-configured"
SIDES = ("bare", "configured", "made")
Send = Callable[[int], Awaitable[None]]


def company(client: int) -> str:
    return f"company{client}"


async def measure(send: Send, sends: int, clients: int) -> tuple[float, list[float]]:
    """Return the seconds in all and each message's own; every client sends one message after another."""
    taken: list[float] = []

    async def run(client: int) -> None:
        for _ in range(sends // clients):
            begun = time.perf_counter()
            await send(client)
            taken.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*map(run, range(clients)))
    return time.perf_counter() - begun, taken


class Connection:
    """A keep-alive connection, as cheap as can be: the client is not what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._request = request

    @classmethod
    async def open(cls, port: int, company_id: str, key: str) -> Connection:
        body = json.dumps({"to": BOB, "message": TEXT}).encode()
        head = (
            f"POST /api/whatsapp/sessions/{company_id}/messages HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"X-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return cls(*await asyncio.open_connection("127.0.0.1", port), head.encode() + body)

    async def send(self) -> None:
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 "), head
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def serve(clients: int) -> None:
    """Serve until stdin ends; each line of it asks for a measurement of the pool itself."""

    async def link(link: FakeLink) -> None:
        link.up()

    generous = {"rate_limit_max": 10**9, "rate_limit_recipient_max": 10**9, "start_rate": math.inf}
    with tempfile.TemporaryDirectory() as directory:
        settings = PoolSettings(session_path=Path(directory, "sessions"), max_sessions=clients, **generous)
        async with DirectoryShelf(directory) as shelf:
            pool = WhatsAppSessionPool(settings, driver=FakeDriver(link), shelf=shelf)
            app = create_app(pool, keys=[CONFIGURED], request_limit=None)
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
            serving = asyncio.create_task(server.serve())
            await listening(server)
            for client in range(clients):
                await pool.create_session(company(client))
                await pool.wait_until_connected(company(client), timeout=30)
            made, _ = await StoredKeys(shelf).create(rights=["send"])
            port = server.servers[0].sockets[0].getsockname()[1]
            say({"port": port, "configured": CONFIGURED, "made": made})

            async def send(client: int) -> None:
                await pool.send_message(company(client), BOB, TEXT)

            while line := await asyncio.to_thread(sys.stdin.readline):
                say(await measure(send, *json.loads(line)))
            server.should_exit = True
            await serving


async def listening(server: uvicorn.Server) -> None:
    while not server.started:  # noqa: ASYNC110 - it has no event for it
        await asyncio.sleep(0.01)


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Run:
    """One side's figures for a number of clients, a value a block."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.latencies: list[float] = []
        self.slowest: list[float] = []

    def note(self, seconds: float, taken: list[float]) -> None:
        self.rates.append(len(taken) / seconds)
        self.latencies.append(1e3 * median(taken))
        self.slowest.append(1e3 * quantiles(taken, n=100)[-1])


async def compare(options: argparse.Namespace) -> dict[tuple[str, int], Run]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", "--clients", str(options.clients),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    ready = json.loads(await child.stdout.readline())
    runs = {(side, clients): Run() for side in SIDES for clients in (1, options.clients)}
    for block in range(-1, options.blocks):
        for side in SIDES if block % 2 else reversed(SIDES):
            for clients in (1, options.clients):
                if side == "bare":
                    child.stdin.write(json.dumps([options.sends, clients]).encode() + b"\n")
                    found = json.loads(await child.stdout.readline())
                else:
                    lines = [await Connection.open(ready["port"], company(n), ready[side]) for n in range(clients)]
                    found = await measure(lambda client, lines=lines: lines[client].send(), options.sends, clients)  # type: ignore[misc]
                    for line in lines:
                        await line.close()
                if block >= 0:
                    runs[side, clients].note(*found)
    child.stdin.close()
    await child.wait()
    return runs


def spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def report(runs: dict[tuple[str, int], Run], clients: int) -> None:
    print(f"{'':30}" + "".join(f"{side:>26}" for side in SIDES))

    def row(name: str, cells: list[str]) -> None:
        print(f"{name:30}" + "".join(f"{cell:>26}" for cell in cells))

    for count in (1, clients):
        found = [runs[side, count] for side in SIDES]
        bare = found[0]
        row(f"{count} client{'s' * (count > 1)}: messages a second", [spread(one.rates, ".0f") for one in found])
        row("  latency, ms: median", [spread(one.latencies, ".2f") for one in found])
        row("  latency, ms: 99 %", [spread(one.slowest, ".2f") for one in found])
        added = [[a - b for a, b in zip(one.latencies, bare.latencies, strict=True)] for one in found[1:]]
        row("  added to the median, ms", ["", *(spread(values, ".2f") for values in added)])
        ratios = [[a / b for a, b in zip(one.rates, bare.rates, strict=True)] for one in found[1:]]
        row("  throughput, of the bare", ["", *(spread(values, ".3f") for values in ratios)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--sends", type=int, default=500, help="messages in a block, of each side")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="try it: the figures mean nothing")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.blocks, options.sends = 2, 100
    if options.serve:
        asyncio.run(serve(options.clients))
        return
    print(f"Python {platform.python_version()}, {platform.machine()}, uvicorn {uvicorn.__version__}")
    report(asyncio.run(compare(options)), options.clients)


if __name__ == "__main__":
    main()
