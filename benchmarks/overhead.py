"""What `NeonizeDriver` costs over calls of neonize's library from plain threads, on a loopback WhatsApp.

    python benchmarks/overhead.py [--sessions 50] [--blocks 10] [--sends 500] [--quick]

Both sides have accounts of their own, linked alike to one server, which runs in a process of its own; they take turns
in blocks, and what is reported is the median of the blocks' ratios, with their range. Ratios under 1 are in favour of
the plain threads. The server's CPU share is of one core: it is one process, and near 100 % it is what is measured.

A third side, "bare", has the plain calls in another process than the application, and nothing but a socket between
them: what no driver that keeps Go out of the application can do without.
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
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
CONTACTS = [f"7900{number:07}" for number in range(10)]
COMPANIES = 79680000000
IDLE = "import anyio, pydantic, sys; print('null', flush=True); sys.stdin.read()"
TICK = os.sysconf("SC_CLK_TCK")
LEAST_THROUGHPUT, MOST_LATENCY, MOST_MEMORY = 0.9, 0.002, 1.3
SIDES = ("raw", "driver")
ALL = ("raw", "bare", "driver")


class Child:
    """A process that answers a JSON line with a JSON line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, *command: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} has ended")
        return json.loads(line)


@contextmanager
def start(*command: str, environment: dict[str, str] | None = None) -> Iterator[Child]:
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, *command], env={**os.environ, **(environment or {})}, **pipes) as process:
        try:
            yield Child(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


class Server:
    """The loopback WhatsApp, by its control API."""

    def __init__(self, child: Child) -> None:
        self.ready = child.read()
        self.pid = self.ready["pid"]

    def link(self, client: Child, number: str, database: Path) -> None:
        code = client.call("open", str(database))
        self._post(f"phone/{number}/scan", qr=code, timeout=30)
        while client.call("wait"):
            pass

    def make_contacts(self) -> None:
        for number in CONTACTS:
            self._post(f"contact/{number}")

    def _post(self, path: str, **arguments: Any) -> None:
        address, body = f"{self.ready['control']}/{path}", json.dumps(arguments).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            answer.read()


@contextmanager
def start_server() -> Iterator[Server]:
    with start("-m", "wasessionpool.testing.server") as child:
        try:
            yield Server(child)
        finally:
            os.kill(child.pid, 15)


@contextmanager
def start_side(side: str, server: Server, databases: list[Path]) -> Iterator[Child]:
    """Start one side with a session for each database, all connected, and all acquainted with all contacts."""
    if side == "driver":
        arguments, environment = [str(HERE / "overhead_driver.py"), json.dumps(server.ready)], None
    else:
        arguments, environment = [str(HERE / f"overhead_{side}.py")], server.ready["environment"]
    with start(*arguments, environment=environment) as child:
        for database in databases:
            child.call("open", str(database))
        child.call("serial" if side == "bare" else "concurrent", CONTACTS, len(CONTACTS))
        yield child


def cpu(processes: list[int]) -> float:
    """Return the seconds of CPU that these processes have used."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes)
    return sum(int(one[11]) + int(one[12]) for one in fields) / TICK


def proportional(processes: list[int]) -> float:
    """Return the memory of these processes in MB, pages that others share counted in part."""
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in processes)
    return sum(int(rollup.split("\nPss:")[1].split()[0]) for rollup in rollups) * 1024 / 1e6


class Run:
    """One side's figures of one kind of traffic, a value a block."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.latencies: list[float] = []
        self.cpu: list[float] = []
        self.server: list[float] = []

    def measure(self, child: Child, server: Server, command: str, sends: int, sessions: int) -> None:
        processes = child.call("processes")
        own, servers, begun = cpu(processes), cpu([server.pid]), time.perf_counter()
        taken = child.call(command, CONTACTS, sends // sessions)
        self.server.append((cpu([server.pid]) - servers) / (time.perf_counter() - begun))
        self.cpu.append((cpu(processes) - own) / sends)
        if isinstance(taken, list):
            self.latencies.append(median(taken))
            taken = sum(taken)
        self.rates.append(sends // sessions * sessions / taken)


def measure_traffic(
    options: argparse.Namespace, server: Server, databases: dict[str, list[Path]]
) -> dict[tuple[str, str], Run]:
    kinds = {"serial": (1, ALL), "concurrent": (options.sessions, SIDES)}
    runs = {(kind, side): Run() for kind, (_, sides) in kinds.items() for side in sides}
    with ExitStack() as stack:
        children = {side: stack.enter_context(start_side(side, server, databases[side])) for side in ALL}
        for block in range(options.blocks):
            for kind, (sessions, sides) in kinds.items():
                for side in sides if block % 2 == 0 else reversed(sides):
                    runs[kind, side].measure(children[side], server, kind, options.sends, sessions)
    return runs


def measure_memory(
    options: argparse.Namespace, server: Server, databases: dict[str, list[Path]]
) -> dict[str, list[float]]:
    """Measure each side alone, since both map one library; the plain threads are given an idle application."""
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(options.memory):
        for side in SIDES if turn % 2 == 0 else reversed(SIDES):
            with start_side(side, server, databases[side]) as child, start("-c", IDLE) as idle:
                idle.read()
                child.call("concurrent", CONTACTS, options.sends // options.sessions)
                extra = [idle.pid] if side == "raw" else []
                found[side].append(proportional(child.call("processes") + extra))
    return found


def spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def scaled(values: list[float], factor: float, form: str) -> str:
    return spread([factor * value for value in values], form)


def quotients(ours: list[float], raw: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, raw, strict=True)]


def report(runs: dict[tuple[str, str], Run], memory: dict[str, list[float]]) -> list[tuple[str, str, bool]]:
    """Print the table, and return each target's name, figure and whether it is met."""
    print(f"{'':24}{'raw':>28}{'bare':>28}{'driver':>28}")

    def row(name: str, figures: dict[str, str]) -> None:
        print(f"{name:24}" + "".join(f"{figures.get(side, ''):>28}" for side in ALL))

    verdicts = []
    for kind in ("serial", "concurrent"):
        sides = {side: runs[kind, side] for side in ALL if (kind, side) in runs}
        row(f"{kind}: sends a second", {side: spread(one.rates, ".0f") for side, one in sides.items()})
        row("  CPU a send, ms", {side: scaled(one.cpu, 1e3, ".2f") for side, one in sides.items()})
        row("  server's CPU, %", {side: scaled(one.server, 100, ".0f") for side, one in sides.items()})
        ratios = quotients(sides["driver"].rates, sides["raw"].rates)
        met = median(ratios) >= LEAST_THROUGHPUT
        verdicts.append((f"{kind} throughput, at least {LEAST_THROUGHPUT}", spread(ratios, ".2f"), met))
    raw, bare, ours = (runs["serial", side] for side in ALL)
    row("latency of a send, ms", {side: scaled(runs["serial", side].latencies, 1e3, ".2f") for side in ALL})
    more = [one - other for one, other in zip(ours.latencies, raw.latencies, strict=True)]
    met = median(more) <= MOST_LATENCY
    verdicts.append((f"latency in ms, at most +{1e3 * MOST_LATENCY:g}", scaled(more, 1e3, "+.2f"), met))
    row("memory, MB", {side: spread(memory[side], ".0f") for side in SIDES})
    ratios = quotients(memory["driver"], memory["raw"])
    verdicts.append((f"memory, at most {MOST_MEMORY}", spread(ratios, ".2f"), median(ratios) <= MOST_MEMORY))
    print(f"serial throughput, bare of raw: {spread(quotients(bare.rates, raw.rates), '.2f')}")
    print(f"serial throughput, driver of bare: {spread(quotients(ours.rates, bare.rates), '.2f')}")
    return verdicts


def main(options: argparse.Namespace) -> None:
    sessions = options.sessions
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", end="; ")
    print(f"{sessions} sessions, {options.blocks} blocks of {options.sends} sends; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder, start_server() as server:
        server.make_contacts()
        databases: dict[str, list[Path]] = {}
        for place, side in enumerate(ALL):
            count = 1 if side == "bare" else sessions
            databases[side] = [Path(folder, f"{side}{number}", "device.db") for number in range(count)]
            with start(str(HERE / "overhead_raw.py"), environment=server.ready["environment"]) as client:
                for number, database in enumerate(databases[side]):
                    database.parent.mkdir()
                    server.link(client, str(COMPANIES + place * sessions + number), database)
        memory = measure_memory(options, server, databases)
        runs = measure_traffic(options, server, databases)
    verdicts = report(runs, memory)
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    for name, figure, met in verdicts:
        print(f"{'met' if met else 'MISSED'}: {name}: {figure}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--sends", type=int, default=500, help="messages of a block, for each side and kind")
    parser.add_argument("--memory", type=int, default=3, help="how often the memory is measured")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: 5 sessions, 2 blocks of 50 sends")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sessions, arguments.blocks, arguments.sends, arguments.memory = 5, 2, 50, 1
    main(arguments)
