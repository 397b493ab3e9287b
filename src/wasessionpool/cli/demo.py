"""``demo``: the pool at work against a WhatsApp server on loopback, each claim checked."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from ..events import ConnectedEvent, DisconnectedEvent, Event, MessageEvent, ReconnectingEvent, StatusEvent
from ..models import DisconnectReason, Status
from ..pool import WhatsAppSessionPool
from ..settings import PoolSettings
from .ending import CommandFailed
from .output import Output
from .steps import E, Steps, Unseen, Watch, check

if TYPE_CHECKING:
    from ..drivers.neonize import NeonizeDriver
    from ..testing import Contact, Phone, WhatsAppServer

LINK = 20.0
"""Seconds to link or to connect, on a slow machine."""
MESSAGE = 15.0
"""Seconds for messages to arrive."""


async def demonstrate(session_path: Path | None, output: Output) -> None:
    """Run all steps; raises ``CommandFailed`` at the first that is not seen."""
    try:
        from ..testing import WhatsAppServer
    except ModuleNotFoundError as error:
        raise CommandFailed(f"{error.name} is not installed: pip install 'wasessionpool[cli,testing]'") from None
    with _directory(session_path) as path, _silence():
        async with anyio.create_task_group() as tasks:
            demonstration = Demonstration(WhatsAppServer(), path, output)
            steps = demonstration.steps
            try:
                async with steps.step("Start WhatsApp on loopback, and a pool", limit=LINK):
                    await tasks.start(demonstration.serve)
                    steps.say(f"WhatsApp: {demonstration.whatsapp.proxy_url}, the workers reach nothing else")
                    steps.say(f"session path: {path}{'' if session_path else ' (temporary)'}")
                await demonstration.show()
                async with steps.step("Close everything", limit=LINK):
                    await demonstration.close()
            finally:
                demonstration.stop()
    steps.finish()


@contextmanager
def _silence() -> Iterator[None]:
    """Keep out the log of the faults that the demonstration causes, which would stand between its lines."""
    library = logging.getLogger("wasessionpool")
    usual = library.level
    library.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        library.setLevel(usual)


class Company:
    """A company, the phone it is linked to, a customer, and all that was written."""

    def __init__(self, company_id: str, phone: Phone, customer: Contact) -> None:
        self.id = company_id
        self.phone = phone
        self.customer = customer
        self.sent: list[str] = []
        self.received: list[str] = []


class Demonstration:
    """The steps, and what they share."""

    def __init__(self, whatsapp: WhatsAppServer, path: Path, output: Output) -> None:
        self.steps = Steps(output)
        self.whatsapp = whatsapp
        self._output = output
        self._settings = PoolSettings(session_path=path, reconnect_base_delay=1.0, reconnect_reset_after=0.001)
        self._pool: WhatsAppSessionPool
        self._driver: NeonizeDriver
        self._companies: list[Company]
        self._watch = Watch()
        self._pids: set[int] = set()
        self._narrating = False
        self._stop, self._stopped = anyio.Event(), anyio.Event()

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Keep server, workers and pool open until ``stop``; shielded, so that they end in this order, reversed."""
        with anyio.CancelScope(shield=True):
            await self._serve(task_status)
        self._stopped.set()

    def stop(self) -> None:
        self._stop.set()

    async def _serve(self, task_status: TaskStatus[None]) -> None:
        async with self.whatsapp as whatsapp:
            self._driver = whatsapp.driver()
            self._pool = WhatsAppSessionPool(self._settings, driver=self._driver)
            self._companies = [
                Company("962302", whatsapp.phone("79686484488"), whatsapp.contact("79001234567", name="Ann")),
                Company("962303", whatsapp.phone("79686484499"), whatsapp.contact("79007654321", name="Boris")),
            ]
            self._pool.on()(self._hear)
            async with self._driver, self._pool:
                task_status.started()
                await self._stop.wait()

    async def show(self) -> None:
        step = self.steps.step
        async with step("Link each company to its phone by a QR", limit=LINK):
            await self._link()
        async with step("Each company writes to its customer", limit=MESSAGE):
            for company in self._companies:
                await self._send(company, f"Hello {company.customer.name}, this is company {company.id}")
        async with step("The customers answer", limit=MESSAGE):
            for company in self._companies:
                await self._receive(company, f"Hello {company.id}, this is {company.customer.name}")
        async with step("Neither company sees what is the other's", limit=MESSAGE):
            await self._write_to_both()
        async with step("Cut the line, and refuse new connections for a while", limit=60):
            await self._cut_the_line()
        async with step("Kill the worker process (kill -9)", limit=40):
            await self._kill_the_worker()
        async with step("What the pool says at the end", limit=MESSAGE):
            await self._sum_up()

    async def close(self) -> None:
        """Close the pool, and see that no worker process outlives it."""
        self._see_workers()
        self.stop()
        await self._stopped.wait()
        left = sorted(filter(_runs, self._pids))
        check(not left, f"worker processes are left: {left}")
        self.steps.say(f"the pool is closed, its {len(self._pids)} worker processes are gone")

    async def _link(self) -> None:
        for company in self._companies:
            status = await self._pool.create_session(company.id)
            if (qr := status.qr) is None:
                raise Unseen(f"{company.id} is {status.status}, without a QR")
            if company is self._companies[0]:
                self._output.qr(qr)
                self.steps.say(f"the QR of {company.id}; only this demonstration's phone can scan it")
            self._see_workers()
            await company.phone.scan(qr)
        for company in self._companies:
            linked = await self._pool.wait_until_connected(company.id, timeout=LINK)
            expected = f"+{company.phone.number}"
            check(linked.phone_number == expected, f"{company.id} is {linked.phone_number}, not {expected}")
            self.steps.say(f"{company.id} is connected as {linked.phone_number}")

    async def _send(self, company: Company, text: str) -> None:
        sent = await self._pool.send_message(company.id, company.customer.number, text)
        got = await company.customer.next_message(timeout=MESSAGE)
        check(got.text == text and got.sender == company.phone.number, f"{company.customer.name} got something else")
        copy = await company.phone.next_message(timeout=MESSAGE)
        check(copy.text == text, f"the phone of {company.id} got another copy")
        check(got.id == copy.id == sent.id, "the ids of the message differ")
        company.sent.append(text)
        self.steps.say(f"{company.customer.name} got, from +{got.sender}: {got.text}")

    async def _receive(self, company: Company, text: str, writer: Contact | None = None) -> None:
        writer = writer or company.customer
        await writer.send(company.phone.number, text)
        await self._received(company, text, writer)

    async def _received(self, company: Company, text: str, writer: Contact) -> None:
        event = await self._watch.until(MessageEvent, lambda e: e.company_id == company.id and e.text == text)
        sender = event.sender.phone_number
        check(sender == f"+{writer.number}", f"the sender is {sender}, not +{writer.number}")
        company.received.append(text)
        self.steps.say(f"{company.id} got, from {event.sender_name} ({sender}): {event.text}")

    async def _write_to_both(self) -> None:
        """Let each customer write to the other company as well, all at once, and compare what everybody has got."""
        async with anyio.create_task_group() as tasks:
            for company, other in zip(self._companies, reversed(self._companies), strict=True):
                writer = other.customer
                tasks.start_soon(self._receive, company, f"{writer.name}, to {company.id} only", writer)
                tasks.start_soon(self._send, company, f"{company.id}, to {company.customer.name} only")
        self._check_separation()

    def _check_separation(self) -> None:
        for company in self._companies:
            heard = [e.text for e in self._watch.events if isinstance(e, MessageEvent) and e.company_id == company.id]
            check(sorted(map(str, heard)) == sorted(company.received), f"{company.id} heard {heard}")
            got = [(message.sender, message.text) for message in company.customer.received]
            expected = [(company.phone.number, text) for text in company.sent]
            check(got == expected, f"{company.customer.name} got {got}")
            copies = [copy.text for copy in company.phone.copies]
            check(copies == company.sent, f"the phone of {company.id} has copies of {copies}")
            check(company.customer.undecryptable == 0, f"{company.customer.name} could not decrypt all")
        own, other = (len(company.received) + len(company.sent) for company in self._companies)
        ids = " and ".join(company.id for company in self._companies)
        self.steps.say(f"{ids}: {own} and {other} messages, each with its own company only")

    async def _cut_the_line(self) -> None:
        since = len(self._watch.events)
        with self._narrated():
            self.whatsapp.refuse()
            dropped = await self.whatsapp.drop()
            self.steps.say(f"{dropped} connections are cut")
            for company in self._companies:
                await self._event(ReconnectingEvent, company, since, lambda e: e.attempt == 2)
                status = await self._pool.get_session_status(company.id)
                check(status.status is Status.RECONNECTING, f"{company.id} is {status.status} without a line")
                await company.customer.send(company.phone.number, f"Are you there, {company.id}?")
            self.whatsapp.accept()
            self.steps.say(f"WhatsApp lets clients in again; {self.whatsapp.tunnels_refused} were turned away")
            await self._all_connected(since)
        for company in self._companies:
            await self._received(company, f"Are you there, {company.id}?", company.customer)
            await self._send(company, f"{company.id} is back after the line was cut")

    async def _kill_the_worker(self) -> None:
        since = len(self._watch.events)
        pid = self._shard()
        with self._narrated():
            os.kill(pid, signal.SIGKILL)
            self.steps.say(f"worker {pid} is killed; both sessions were in it, this process is untouched")
            for company in self._companies:
                end = await self._event(DisconnectedEvent, company, since)
                check(end.reason is DisconnectReason.WORKER_CRASHED, f"{company.id} was disconnected by {end.reason}")
            await self._all_connected(since)
        check(self._shard() != pid, f"worker {pid} was killed and still works")
        self.steps.say(f"worker {self._shard()} has taken over")
        for company in self._companies:
            await self._send(company, f"{company.id} is back after its worker was killed")
            await self._receive(company, f"Good to hear, {company.id}")

    async def _sum_up(self) -> None:
        self._check_separation()
        statuses = await self._pool.get_sessions()
        for status in statuses:
            counts = f"{status.messages_sent} sent, {status.messages_received} received"
            self.steps.say(f"{status.company_id}: {status.status} as {status.phone_number}, {counts}")
        metrics = await self._pool.get_metrics()
        self.steps.say(", ".join(f"{name} {value}" for name, value in metrics.model_dump(mode="json").items()))
        for company, status in zip(self._companies, statuses, strict=True):
            check(status.status is Status.CONNECTED, f"{company.id} is {status.status}")
            check(status.messages_sent == len(company.sent), f"{company.id} counts {status.messages_sent} sent")
            check(status.messages_received == len(company.received), f"{company.id} counts {status.messages_received}")
        check(metrics.active_connections == len(self._companies), "not every session counts as active")
        check(metrics.reconnects == 2 * len(self._companies), f"{metrics.reconnects} reconnects are counted")
        check(metrics.events_dropped == 0, f"{metrics.events_dropped} events were dropped")

    async def _all_connected(self, since: int) -> None:
        for company in self._companies:
            await self._event(ConnectedEvent, company, since)
            await self._pool.wait_until_connected(company.id, timeout=LINK)
        self._see_workers()

    async def _event(
        self, kind: type[E], company: Company, since: int, wanted: Callable[[E], bool] = lambda _: True
    ) -> E:
        return await self._watch.until(kind, lambda e: e.company_id == company.id and wanted(e), since=since)

    @contextmanager
    def _narrated(self) -> Iterator[None]:
        """Print what the pool says of its links, as it says it."""
        self._narrating = True
        try:
            yield
        finally:
            self._narrating = False

    async def _hear(self, event: Event) -> None:
        self._watch.take(event)
        if not self._narrating:
            return
        match event:
            case StatusEvent():
                said = f"status: {event.previous} → {event.current}"
            case DisconnectedEvent():
                said = f"disconnected: {event.reason}"
            case ReconnectingEvent():
                said = f"reconnecting: attempt {event.attempt} in {event.delay:.1f} s"
            case ConnectedEvent():
                said = "connected"
            case _:
                return
        self.steps.say(f"{event.company_id} {said}")

    def _shard(self) -> int:
        pids = [worker.pid for worker in self._driver.workers() if worker.role == "shard"]
        check(len(pids) == 1, f"there are {len(pids)} shard workers for two sessions")
        return pids[0]

    def _see_workers(self) -> None:
        self._pids |= {worker.pid for worker in self._driver.workers()}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    """Lend a private directory for the sessions: a temporary one, or the one that is ``given``, where it is empty."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="wasessionpool-demo-") as temporary:
            yield Path(temporary)
        return
    if given.exists() and (not given.is_dir() or any(given.iterdir())):
        raise CommandFailed(f"{given} is not an empty directory; the demonstration does not touch what is there")
    yield given
