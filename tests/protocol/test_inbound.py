"""Received messages and crashes, floods and slow handlers: nothing is lost, mixed up or late."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest

from wasessionpool import MessageEvent, Status
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES, Application, OpenApplication, lie_in_inbox
from .test_processes import start

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]


class Clerk:
    """A handler that works on nothing before its gate is open."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.got: list[MessageEvent] = []
        self._changed = anyio.Event()

    async def __call__(self, event: MessageEvent) -> None:
        await self.gate.wait()
        self.got.append(event)
        self._changed.set()
        self._changed = anyio.Event()

    async def finish(self, count: int) -> list[str | None]:
        """Open the gate, wait until ``count`` messages were worked on, and return their texts."""
        self.gate.set()
        with anyio.fail_after(50):
            while len(self.got) < count:
                await self._changed.wait()
        return [event.text for event in self.got]


def numbered(count: int) -> Sequence[str]:
    return [str(number) for number in range(count)]


@pytest.mark.timeout(180)
async def test_a_log_out_does_not_wait_behind_messages(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, clerk = whatsapp.phone(PHONE), Clerk()
    whatsapp.contact(BOB)
    async with application(hear=("status", "logout", "error")) as app:
        await app.link(phone)
        app.pool.on("message")(clerk)
        await phone.flood(BOB, 10_000, kind="message")
        await phone.wait_delivered(timeout=120)
        assert clerk.got == []
        with anyio.fail_after(30):
            await phone.unlink()
            await app.heard.wait_for(lambda event: event.type == "logout")
        assert (await app.pool.get_session_status(COMPANY)).status is Status.LOGGED_OUT
        assert clerk.got == []
        texts = await clerk.finish(10_000)
        assert len(set(texts)) == 10_000
        assert (await app.pool.get_metrics()).events_dropped == 0


async def test_a_killed_worker_loses_no_message(
    whatsapp: WhatsAppServer, application: OpenApplication, session_path: Path
) -> None:
    phone, bob, clerk = whatsapp.phone(PHONE), whatsapp.contact(BOB), Clerk()
    async with application() as app:
        await app.link(phone)
        app.pool.on("message", durable=True)(clerk)
        for text in numbered(300):
            await bob.send(PHONE, text)
        await lie_in_inbox(session_path / COMPANY, numbered(300))
        # Those that whatsmeow has acknowledged, and not handed over, die with the worker.
        for pid in app.shard_pids():
            os.kill(pid, signal.SIGKILL)
        await app.heard.status(Status.RECONNECTING)
        await bob.send(PHONE, "300")
        assert await clerk.finish(301) == numbered(301)
        assert not any(event.redelivered for event in clerk.got)


@pytest.mark.timeout(90)
async def test_a_killed_application_gets_again_what_it_had_not_done(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with start(whatsapp, tmp_path / "sessions", durably=True) as application:
        await phone.scan((await application.do("create", COMPANY))["qr"])
        await application.do("wait", COMPANY)
        for text in numbered(20):
            await bob.send(PHONE, text)
        await phone.wait_delivered()
        done = [(await application.do("work"))["text"] for _ in range(5)]
        assert done == numbered(5)
        # Before that, those that were done last would come again, too.
        await lie_in_inbox(tmp_path / "sessions" / COMPANY, numbered(20)[5:])
        os.kill(application.process.pid, signal.SIGKILL)
        await application.process.wait()
    async with start(whatsapp, tmp_path / "sessions", durably=True) as application:
        await application.do("wait", COMPANY)
        await bob.send(PHONE, "20")
        again = [await application.do("work") for _ in range(16)]
        assert [message["text"] for message in again] == numbered(21)[5:]
        assert [message["redelivered"] for message in again] == [True] * 15 + [False]
        assert await application.end() == 0


@pytest.mark.timeout(120)
async def test_an_application_killed_in_a_flood_loses_no_message(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phone, count = whatsapp.phone(PHONE), 1_500
    whatsapp.contact(BOB)
    async with start(whatsapp, tmp_path / "sessions", durably=True) as application:
        await phone.scan((await application.do("create", COMPANY))["qr"])
        await application.do("wait", COMPANY)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(phone.flood, BOB, count, kind="message"))
            done = {(await application.do("work"))["text"] for _ in range(5)}
            os.kill(application.process.pid, signal.SIGKILL)
        await application.process.wait()
    async with start(whatsapp, tmp_path / "sessions", durably=True) as application:
        await application.do("wait", COMPANY)
        with anyio.fail_after(60):
            while len(done) < count:
                done.add((await application.do("work"))["text"])
        assert await application.end() == 0


async def test_a_full_inbox_is_told_and_loses_nothing(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob, clerk = whatsapp.phone(PHONE), whatsapp.contact(BOB), Clerk()
    async with application(driver_options={"inbox_max_bytes": 200_000}) as app:
        await app.link(phone)
        app.pool.on("message", durable=True)(clerk)
        texts = [f"{number} " + "x" * 2_000 for number in range(300)]
        for text in texts:
            await bob.send(PHONE, text)
        await app.heard.wait_for(lambda event: event.type == "error" and event.code == "backlog_full")
        assert (await app.pool.get_session_status(COMPANY)).status is Status.CONNECTED
        assert await clerk.finish(300) == texts


async def test_stopping_in_a_flood_loses_nothing(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob, clerk = whatsapp.phone(PHONE), whatsapp.contact(BOB), Clerk()
    clerk.gate.set()
    async with application() as app:
        await app.link(phone)
        app.pool.on("message", durable=True)(clerk)
        async with anyio.create_task_group() as tasks:

            async def flood() -> None:
                for text in numbered(400):
                    await bob.send(PHONE, text)

            tasks.start_soon(flood)
            for _ in range(3):
                await app.pool.disconnect(COMPANY)
                await app.pool.create_session(COMPANY)
                await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        texts = await clerk.finish(400)
    assert sorted(texts, key=lambda text: int(text or "")) == numbered(400)


async def test_presences_are_dropped_and_counted(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(hear=("presence", "message")) as app:
        await app.link(phone)
        await phone.flood(BOB, 10_000)
        await bob.send(PHONE, "done")
        await app.heard.message("done")
        # The newest are told, and with them how many were dropped before.
        with anyio.fail_after(PATIENCE):
            while await known(app) < 10_000:  # noqa: ASYNC110 - a count that nothing announces
                await anyio.sleep(0.02)
        assert await known(app) == 10_000
        assert 0 < (await app.pool.get_metrics()).presences_dropped < 10_000


async def known(app: Application) -> int:
    metrics = await app.pool.get_metrics()
    told = sum(event.type == "presence" for event in app.heard.events)
    return told + int(metrics.presences_dropped) + int(metrics.events_dropped)
