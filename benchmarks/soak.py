"""Many sessions for a long time: mixed traffic both ways, lines that drop, and whether anything grows.

    python benchmarks/soak.py [--sessions 100] [--minutes 30] [--pause 4] [--drop-every 300]

The server and the traffic from outside are in this process, the application with its pool is in another, so that what
is measured of it is its own. Each contact writes to its company, and each company to its contact, every ``pause``
seconds; each line is cut every ``drop-every`` seconds on average, and all lines at once in the middle. A line of
figures is printed each minute; slopes are least squares over the last third: by default it takes 17 minutes until each
client remembers the 256 messages that it has sent last, as whatsmeow does.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Its neighbour limits.py would hide the library of that name.
sys.path.pop(0)

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from wasessionpool import MessageEvent, PoolSettings, SendTimeout, WhatsAppPoolError, WhatsAppSessionPool
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.server import WORKER_MODULE

MINUTE = 60.0
MIB = 1 << 20
LONGEST_LINE = 1 << 26
MAX_TEXT = 400


class Application:
    """The application: it sends, receives, and tells each minute what it did since the last."""

    def __init__(self, pool: WhatsAppSessionPool, pause: float) -> None:
        self._pool = pool
        self._pause = pause
        self.sent: list[float] = []
        self.received: list[float] = []
        self.failed = 0
        self.unknown = 0

    async def talk(self, company_id: str, contact: str) -> None:
        chance = random.Random(company_id)
        while True:
            await anyio.sleep(chance.uniform(0.5, 1.5) * self._pause)
            begun = time.monotonic()
            try:
                await self._pool.send_message(company_id, contact, "m" * chance.randrange(1, MAX_TEXT))
            except SendTimeout:
                self.unknown += 1
            except WhatsAppPoolError:
                self.failed += 1
            else:
                self.sent.append(time.monotonic() - begun)

    async def receive(self, event: MessageEvent) -> None:
        self.received.append(time.monotonic() - float((event.text or "").split()[0]))

    async def tell(self) -> dict[str, Any]:
        metrics = await self._pool.get_metrics()
        sent, received, self.sent, self.received = self.sent, self.received, [], []
        return {
            "sent": [round(seconds, 4) for seconds in sent],
            "received": [round(seconds, 4) for seconds in received],
            "failed": self.failed,
            "unknown": self.unknown,
            "connected": metrics.active_connections,
            "reconnects": metrics.reconnects,
            "dropped": metrics.events_dropped,
            "restarts": metrics.worker_restarts,
        }


async def application(options: dict[str, Any]) -> None:
    """Run the application: commands by stdin, answers to stdout."""
    companies: dict[str, str] = options["companies"]
    settings = PoolSettings(
        session_path=options["path"], max_sessions=len(companies), rate_limit_max=10**6, rate_limit_recipient_max=10**6
    )
    driver = NeonizeDriver(worker_module=WORKER_MODULE, environment=options["environment"])
    async with driver, WhatsAppSessionPool(settings, driver=driver) as pool, anyio.create_task_group() as tasks:
        app = Application(pool, options["pause"])
        pool.on("message")(app.receive)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            answer: dict[str, Any] = {}
            match json.loads(line):
                case ["link", company_id]:
                    status = await pool.create_session(company_id, timeout=None)
                    answer = {"qr": status.qr.text if status.qr else None}
                case ["linked", company_id]:
                    await pool.wait_until_connected(company_id, timeout=120)
                case ["talk"]:
                    for company_id, contact in companies.items():
                        tasks.start_soon(app.talk, company_id, contact)
                case ["tell"]:
                    answer = await app.tell()
            print(json.dumps(answer), flush=True)
        tasks.cancel_scope.cancel()


class Remote:
    """The application's process, as the server's sees it."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._stdin = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def do(self, *command: str) -> dict[str, Any]:
        await self._stdin.send(json.dumps(command).encode() + b"\n")
        with anyio.fail_after(3 * MINUTE):
            answer: dict[str, Any] = json.loads(await self._lines.receive_until(b"\n", LONGEST_LINE))
            return answer

    async def leave(self) -> None:
        await self._stdin.aclose()
        await self.process.wait()


@asynccontextmanager
async def start(options: dict[str, Any]) -> AsyncIterator[Remote]:
    command = [sys.executable, __file__, "--application", json.dumps(options)]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            yield Remote(process)
        finally:
            if process.returncode is None:
                process.kill()


@dataclass
class Cost:
    """What a process, or several together, held at one moment; CPU seconds are since they began."""

    memory: int = 0
    descriptors: int = 0
    threads: int = 0
    cpu: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.memory + other.memory,
            self.descriptors + other.descriptors,
            self.threads + other.threads,
            self.cpu + other.cpu,
        )


def cost(pid: int) -> Cost:
    """Return what the kernel says of a process: its share of memory (PSS), descriptors, threads and CPU time."""
    proc = Path(f"/proc/{pid}")
    try:
        memory = next(int(line.split()[1]) for line in (proc / "smaps_rollup").open() if line.startswith("Pss:"))
        fields = (proc / "stat").read_text().rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
        descriptors, threads = (sum(1 for _ in (proc / name).iterdir()) for name in ("fd", "task"))
    except (FileNotFoundError, ProcessLookupError):
        return Cost()
    return Cost(memory * 1024, descriptors, threads, ticks / os.sysconf("SC_CLK_TCK"))


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end before its file is read.
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return found


@dataclass
class Figures:
    """What was seen, minute by minute."""

    sent: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    application: list[Cost] = field(default_factory=list)
    workers: list[Cost] = field(default_factory=list)
    written: int = 0
    dropped_lines: int = 0
    last: dict[str, Any] = field(default_factory=dict)

    async def note(self, remote: Remote) -> None:
        pid = remote.process.pid
        self.last = await remote.do("tell")
        self.sent += self.last["sent"]
        self.received += self.last["received"]
        self.application.append(cost(pid))
        self.workers.append(sum(map(cost, children(pid)), Cost()))

    def minute(self, number: int) -> str:
        last, app, workers = self.last, self.application, self.workers
        cpu = [each[-1].cpu - each[-2].cpu for each in (app, workers)]
        return (
            f"{number:3} min: {last['connected']} connected, {len(last['sent'])} sent in {percentiles(last['sent'])}, "
            f"{len(last['received'])} received in {percentiles(last['received'])}, {last['reconnects']} reconnects, "
            f"{last['unknown']} unknown, {last['failed']} not sent; application {app[-1].memory / MIB:.1f} MiB, "
            f"{app[-1].descriptors} fds, {cpu[0] / MINUTE:.1%} CPU; workers {workers[-1].memory / MIB:.0f} MiB, "
            f"{workers[-1].descriptors} fds, {cpu[1] / MINUTE:.1%} CPU"
        )

    def summary(self, at_contacts: int) -> list[str]:
        last = self.last
        lines = [
            f"sent: {len(self.sent)}, {percentiles(self.sent)}; {at_contacts} at the contacts",
            f"not sent: {last['failed']}; of unknown outcome: {last['unknown']}",
            f"received: {len(self.received)} of {self.written} written, {percentiles(self.received)}",
            f"lines cut: {self.dropped_lines}; reconnects of the pool: {last['reconnects']}",
            f"worker restarts: {last['restarts']}; events dropped: {last['dropped']}",
        ]
        for name, costs in (("application", self.application), ("workers", self.workers)):
            kept = costs[-(len(costs) // 3) - 1 :]
            memory, descriptors = [each.memory for each in kept], [each.descriptors for each in kept]
            lines.append(
                f"{name}: {memory[0] / MIB:.1f} to {memory[-1] / MIB:.1f} MiB ({slope(memory)} in 10 min), "
                f"{descriptors[0]} to {descriptors[-1]} descriptors ({slope(descriptors)}), {kept[-1].threads} "
                f"threads, {costs[-1].cpu:.0f} s of CPU"
            )
        return lines


def percentiles(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "–"
    cuts = statistics.quantiles(seconds, n=100)
    return f"{cuts[49] * 1e3:.0f}/{cuts[94] * 1e3:.0f}/{cuts[98] * 1e3:.0f} ms"


def slope(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "–"
    return f"{statistics.linear_regression(range(len(values)), values).slope * 10 / statistics.mean(values):+.2%}"


class Soak:
    """The server, what is written from outside, and the lines that are cut."""

    def __init__(self, whatsapp: WhatsAppServer, options: argparse.Namespace) -> None:
        self._whatsapp = whatsapp
        self._options = options
        self._numbers = {f"company-{number}": f"7968{number:07}" for number in range(options.sessions)}
        self._contacts = {name: whatsapp.contact(f"7900{number[4:]}") for name, number in self._numbers.items()}
        self._figures = Figures()

    async def run(self, path: Path) -> None:
        options = self._options
        given = {
            "path": str(path),
            "environment": dict(self._whatsapp.environment),
            "pause": options.pause,
            "companies": {name: contact.number for name, contact in self._contacts.items()},
        }
        async with start(given) as remote:
            for name, number in self._numbers.items():
                await self._whatsapp.phone(number).scan((await remote.do("link", name))["qr"], timeout=60)
                await remote.do("linked", name)
            await remote.do("talk")
            async with anyio.create_task_group() as tasks:
                for name in self._numbers:
                    tasks.start_soon(self._write, name)
                tasks.start_soon(self._cut)
                begun = anyio.current_time()
                await self._figures.note(remote)
                for minute in range(1, options.minutes + 1):
                    await anyio.sleep_until(begun + minute * MINUTE)
                    await self._figures.note(remote)
                    print(self._figures.minute(minute), flush=True)
                tasks.cancel_scope.cancel()
            for number in self._numbers.values():
                await self._whatsapp.phone(number).wait_delivered(timeout=MINUTE)
            await self._figures.note(remote)
            await remote.leave()
        at_contacts = sum(len(contact.received) for contact in self._contacts.values())
        print(*self._figures.summary(at_contacts), sep="\n")

    async def _write(self, name: str) -> None:
        contact, number, chance = self._contacts[name], self._numbers[name], random.Random(f"from outside {name}")
        while True:
            await anyio.sleep(chance.uniform(0.5, 1.5) * self._options.pause)
            await contact.send(number, f"{time.monotonic()} {'m' * chance.randrange(1, MAX_TEXT)}")
            self._figures.written += 1

    async def _cut(self) -> None:
        """Cut one line after another, and all of them in the middle."""
        options, chance = self._options, random.Random(self._options.seed)
        middle = anyio.current_time() + options.minutes * MINUTE / 2
        while True:
            await anyio.sleep(chance.expovariate(options.sessions / options.drop_every))
            if anyio.current_time() > middle:
                middle = float("inf")
                self._figures.dropped_lines += await self._whatsapp.drop()
                continue
            phone = self._whatsapp.phone(chance.choice(list(self._numbers.values())))
            self._figures.dropped_lines += await phone.drop(reset=chance.random() < 0.5)


async def main(options: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}")
    print(f"{options.sessions} sessions, {options.minutes} min, a message each {options.pause:g} s each way")
    print("times are the median, and what one in 20 and one in 100 is over; CPU is of one core")
    with tempfile.TemporaryDirectory() as folder:
        async with WhatsAppServer() as whatsapp:
            await Soak(whatsapp, options).run(Path(folder, "sessions"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between two messages of a session, each way")
    parser.add_argument("--drop-every", type=float, default=300.0, help="seconds between two cuts of one line")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="10 sessions and 2 minutes, to see that it works")
    parser.add_argument("--application", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.sessions, chosen.minutes, chosen.drop_every = 10, 2, 20.0
    if chosen.application:
        logging.basicConfig(level=logging.ERROR)
        anyio.run(application, json.loads(chosen.application))
    else:
        anyio.run(main, chosen)
