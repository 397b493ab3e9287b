"""Whole processes: restart, `kill -9` of the application, many pairings, and what stays behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from wasessionpool import PoolSettings, Status, WhatsAppSessionPool
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]


class RemoteApplication:
    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._commands = process.stdin
        self._answers = BufferedByteReceiveStream(process.stdout)

    async def answer(self) -> dict[str, Any]:
        with anyio.fail_after(PATIENCE):
            line = await self._answers.receive_until(b"\n", 65536)
        return dict(json.loads(line))

    async def tell(self, *command: str | bool) -> None:
        await self._commands.send(json.dumps(command).encode() + b"\n")

    async def do(self, *command: str | bool) -> dict[str, Any]:
        await self.tell(*command)
        return await self.answer()

    async def end(self) -> int:
        """Close its stdin, on which it leaves its pool, and return its exit code."""
        await self._commands.aclose()
        with anyio.fail_after(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def start(
    whatsapp: WhatsAppServer,
    path: Path,
    backend: str = "asyncio",
    stderr: BinaryIO | None = None,
    *,
    durably: bool = False,
) -> AsyncIterator[RemoteApplication]:
    script = str(Path(__file__).with_name("application.py"))
    arguments = [str(path), json.dumps(dict(whatsapp.environment)), backend, *(["durably"] if durably else [])]
    process = await anyio.open_process([sys.executable, script, *arguments], stderr=stderr)
    try:
        application = RemoteApplication(process)
        await application.answer()
        yield application
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.wait()
            await process.aclose()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int, timeout: float = 5.0) -> None:
    """Wait for a process that is not our child to be gone, which nothing announces."""
    with anyio.fail_after(timeout):
        while alive(pid):  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_a_restarted_application_goes_on_without_a_qr(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with start(whatsapp, tmp_path / "sessions") as application:
        await phone.scan((await application.do("create", COMPANY))["qr"])
        workers = (await application.do("wait", COMPANY))["workers"]
        await application.do("send", COMPANY, BOB, "before")
        assert await application.end() == 0
    for pid in workers:
        assert not alive(pid)
    await bob.send(PHONE, "meanwhile")
    async with start(whatsapp, tmp_path / "sessions") as application:
        await application.do("wait", COMPANY)
        assert (await application.do("message"))["text"] == "meanwhile"
        await application.do("send", COMPANY, BOB, "after")
        assert await application.end() == 0
    assert [message.text for message in bob.received] == ["before", "after"]
    assert len(phone.devices) == 1


async def test_a_killed_application_leaves_nothing_that_stops_the_next(
    whatsapp: WhatsAppServer, tmp_path: Path
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with start(whatsapp, tmp_path / "sessions") as application:
        await phone.scan((await application.do("create", COMPANY))["qr"])
        workers = (await application.do("wait", COMPANY))["workers"]
        os.kill(application.process.pid, signal.SIGKILL)
        await application.process.wait()
        async with start(whatsapp, tmp_path / "sessions") as second:
            await second.do("wait", COMPANY)
            await second.do("send", COMPANY, BOB, "back")
            for pid in workers:
                await gone(pid)
            assert await second.end() == 0
    assert [message.text for message in bob.received] == ["back"]
    assert len(phone.devices) == 1


@pytest.mark.timeout(120)
async def test_twelve_pair_at_once_and_nothing_is_left(
    whatsapp: WhatsAppServer, tmp_path: Path, nothing_left: Callable[[], None]
) -> None:
    bob = whatsapp.contact(BOB)
    most = 0

    async def one(pool: WhatsAppSessionPool, number: int) -> None:
        company_id = f"company-{number}"
        while not (status := await pool.create_session(company_id, timeout=60)).qr:
            assert status.status is not Status.FAILED, status
        await whatsapp.phone(f"7968648{number:04}").scan(status.qr)
        await pool.wait_until_connected(company_id, timeout=60)
        await pool.send_message(company_id, BOB, company_id)

    async with whatsapp.driver(max_pairings=3) as driver:
        settings = PoolSettings(session_path=tmp_path / "sessions", max_pairings=3)
        async with WhatsAppSessionPool(settings, driver=driver) as pool:

            async def watch() -> None:
                nonlocal most
                async with pool.events("status", "qr") as events:
                    async for _ in events:
                        most = max(most, sum(worker.role == "pairing" for worker in driver.workers()))

            async with anyio.create_task_group() as watching:
                watching.start_soon(watch)
                async with anyio.create_task_group() as tasks:
                    for number in range(12):
                        tasks.start_soon(one, pool, number)
                watching.cancel_scope.cancel()
            assert len(await pool.get_active_sessions()) == 12
            assert len(whatsapp.connected) == 12
    assert most == 3
    assert {message.text for message in bob.received} == {f"company-{number}" for number in range(12)}
    await whatsapp.wait_open(0)
    assert whatsapp.connected == ()
    nothing_left()


async def test_the_driver_runs_on_trio(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with start(whatsapp, tmp_path / "sessions", backend="trio") as application:
        await phone.scan((await application.do("create", COMPANY))["qr"])
        await application.do("wait", COMPANY)
        await application.do("send", COMPANY, BOB, "from trio")
        await bob.send(PHONE, "to trio")
        assert (await application.do("message"))["text"] == "to trio"
        assert await application.end() == 0
    assert [message.text for message in bob.received] == ["from trio"]
