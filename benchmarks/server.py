"""What the loopback WhatsApp costs, with plain neonize in another process as its client.

    python benchmarks/server.py [--sessions 200] [--messages 5000] [--accounts 1000] [--profile FILE]

CPU and memory are those of this process, in which the server runs, and in which next to nothing else is done.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from wasessionpool.testing import Contact, WhatsAppServer

CLIENTS = Path(__file__).with_name("raw_sessions.py")
CONTACTS = [f"7900{number:07}" for number in range(10)]
COMPANIES = 79680000000
THREADS = 20
MAX_REPLY = 1 << 20


class Clients:
    """The process with the sessions."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands = process.stdin
        self._replies = BufferedByteReceiveStream(process.stdout)

    async def call(self, *command: Any) -> Any:
        await self._commands.send(json.dumps(command).encode() + b"\n")
        return json.loads(await self._replies.receive_until(b"\n", MAX_REPLY))


@asynccontextmanager
async def start_clients(whatsapp: WhatsAppServer, folder: str) -> AsyncIterator[Clients]:
    environment = {**os.environ, **whatsapp.environment}
    command = [sys.executable, str(CLIENTS), folder]
    async with await anyio.open_process(command, env=environment, stderr=None) as process:
        try:
            yield Clients(process)
        finally:
            process.kill()


def resident() -> int:
    """This process's memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def link(whatsapp: WhatsAppServer, clients: Clients, numbers: range) -> None:
    for number in numbers:
        phone = whatsapp.phone(str(COMPANIES + number))
        await phone.scan(await clients.call("start"), timeout=30)
        await phone.wait_connected(timeout=30)


async def measure_sends(clients: Clients, contacts: list[Contact], messages: int, profile: Any) -> None:
    await clients.call("send", messages // 5, CONTACTS, THREADS)
    before, cpu = sum(len(contact.received) for contact in contacts), time.process_time()
    with profile:
        seconds = await clients.call("send", messages, CONTACTS, THREADS)
    cpu = time.process_time() - cpu
    got = sum(len(contact.received) for contact in contacts) - before
    broken = sum(contact.undecryptable for contact in contacts)
    print(
        f"client to contact (two decryptions): {cpu / messages * 1e3:.3f} ms CPU a message, {messages / seconds:.0f}/s"
    )
    print(f"  {got} of {messages} arrived, {broken} had to be asked for again")


async def measure_receipts(
    whatsapp: WhatsAppServer, clients: Clients, contacts: list[Contact], sessions: int, messages: int, profile: Any
) -> None:
    known = await clients.call("wait_received", 0)
    begun, cpu = time.perf_counter(), time.process_time()
    with profile:
        for number in range(messages):
            await contacts[number % len(contacts)].send(str(COMPANIES + number % sessions), f"message number {number}")
            if number % 100 == 99:
                await whatsapp.phone(str(COMPANIES + number % sessions)).wait_delivered(timeout=60)
        got = await clients.call("wait_received", known + messages) - known
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
    print(
        f"contact to client (one encryption): {cpu / messages * 1e3:.3f} ms CPU a message, {messages / seconds:.0f}/s"
    )
    print(f"  {got} of {messages} arrived")


async def measure_crowd(whatsapp: WhatsAppServer, clients: Clients, sessions: int, accounts: int) -> None:
    """Add accounts without clients until there are so many, and let each of them write to a session."""
    known, more = await clients.call("wait_received", 0), accounts - len(whatsapp.accounts)
    memory, cpu = resident(), time.process_time()
    for number in range(more):
        await whatsapp.contact(str(77000000000 + number)).send(str(COMPANIES + number % sessions), "hello")
    got = await clients.call("wait_received", known + more) - known
    cpu = time.process_time() - cpu
    print(f"{len(whatsapp.accounts)} accounts, {len(whatsapp.connected)} of them with a live client;", end=" ")
    print(f"{got} of {more} others have written: {cpu / more * 1e3:.2f} ms CPU and", end=" ")
    print(f"{(resident() - memory) / more / 1e3:.1f} kB each, session keys included")


async def measure_reconnects(whatsapp: WhatsAppServer, sessions: int) -> None:
    logins = [whatsapp.phone(str(COMPANIES + number)).logins for number in range(sessions)]
    begun, cpu = time.perf_counter(), time.process_time()
    dropped = await whatsapp.drop()
    for number in range(sessions):
        await whatsapp.phone(str(COMPANIES + number)).wait_connected(logins=logins[number] + 1, timeout=120)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
    print(f"all dropped and back: {dropped} in {seconds:.2f} s, {cpu / dropped * 1e3:.2f} ms CPU each")


async def measure_accounts(accounts: int) -> None:
    """Make accounts without clients, let each write to the next, and save and load them all."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state.json")
        async with WhatsAppServer(state=state) as whatsapp:
            memory, begun = resident(), time.perf_counter()
            people = [whatsapp.contact(str(78000000000 + number)) for number in range(accounts)]
            print(f"{accounts} accounts made: {(time.perf_counter() - begun) / accounts * 1e3:.2f} ms and", end=" ")
            print(f"{(resident() - memory) / accounts / 1e3:.1f} kB each")
            for one, other in zip(people, [*people[1:], people[0]], strict=True):
                await one.send(other.number, "hello")
            assert all(len(person.received) == 1 for person in people)
            begun = time.perf_counter()
        saved = time.perf_counter() - begun
        begun = time.perf_counter()
        async with WhatsAppServer(state=state) as whatsapp:
            assert len(whatsapp.accounts) == accounts
            print(f"  saved in {saved:.2f} s, loaded in {time.perf_counter() - begun:.2f} s,", end=" ")
            print(f"{(await anyio.Path(state).stat()).st_size / 1e6:.1f} MB")


async def main(options: argparse.Namespace) -> None:
    if options.sessions == 0:
        await measure_accounts(options.accounts)
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, the clients on the same")
    profiler = cProfile.Profile() if options.profile else nullcontext()
    with tempfile.TemporaryDirectory() as folder:
        async with WhatsAppServer() as whatsapp, start_clients(whatsapp, folder) as clients:
            contacts = [whatsapp.contact(number) for number in CONTACTS]
            await link(whatsapp, clients, range(1))
            memory, begun, cpu = resident(), time.perf_counter(), time.process_time()
            sessions = options.sessions
            more = sessions - 1
            await link(whatsapp, clients, range(1, sessions))
            seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
            print(f"{more} sessions linked in {seconds:.1f} s, {cpu / more * 1e3:.1f} ms CPU each;", end=" ")
            print(f"memory {(resident() - memory) / more / 1e3:.0f} kB a session")
            await measure_sends(clients, contacts, options.messages, profiler)
            await measure_receipts(whatsapp, clients, contacts, sessions, options.messages, profiler)
            print(f"memory after the traffic: {(resident() - memory) / more / 1e3:.0f} kB a session")
            await measure_crowd(whatsapp, clients, sessions, options.accounts)
            await measure_reconnects(whatsapp, sessions)
            await clients.call("send", sessions, CONTACTS, THREADS)
            print(f"each session has written again; connected: {len(whatsapp.connected)}", flush=True)
    # In a process of its own, whose memory nothing has used before.
    accounts = [sys.executable, __file__, "--sessions", "0", "--accounts", str(options.accounts)]
    await anyio.run_process(accounts, stdout=None)
    if options.profile:
        profiler.dump_stats(options.profile)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--profile", metavar="FILE")
    anyio.run(main, parser.parse_args())
