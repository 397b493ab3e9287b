"""The bot that the docs begin with, as a newcomer runs it: in a process of its own, for three companies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from wasessionpool import SessionKey
from wasessionpool.coordinators.local import LocalCoordinator
from wasessionpool.testing import Contact, Phone, WhatsAppServer

from .conftest import BOB

pytestmark = pytest.mark.anyio
ECHO = Path(__file__).parents[2] / "examples" / "echo.py"
PHONES = {"962302": "79686484488", "962303": "79686484499", "962304": "79686484500"}


class Bot:
    """The process, and what it prints."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self.process = process
        self._out = TextReceiveStream(process.stdout)
        self.heard: list[str] = []
        self._lines: list[str] = []
        self._rest = ""

    async def line(self) -> str:
        while not self._lines:
            *self._lines, self._rest = (self._rest + await self._out.receive()).split("\n")
        self.heard.append(self._lines.pop(0))
        return self.heard[-1]

    async def scan(self, phones: dict[str, Phone]) -> None:
        """Scan the first code of each company."""
        missing = set(phones)
        while missing:
            line = await self.line()
            if line.startswith("Company ") and "scan this" in line:
                company_id = line.split()[1].rstrip(":")
                code = (await self.line()).removeprefix("QR ")
                if company_id in missing:
                    missing.discard(company_id)
                    await phones[company_id].scan(code)

    async def end(self, by: signal.Signals) -> int:
        os.kill(self.process.pid, by)
        return await self.process.wait()


@asynccontextmanager
async def start(whatsapp: WhatsAppServer, directory: Path) -> AsyncIterator[Bot]:
    launcher = str(Path(__file__).with_name("example.py"))
    process = await anyio.open_process(
        [sys.executable, launcher, str(ECHO), *PHONES],
        cwd=directory,
        env={**os.environ, **whatsapp.environment},
        stderr=None,
    )
    try:
        with anyio.fail_after(60):
            yield Bot(process)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.wait()
            await process.aclose()


async def echoed(customer: Contact, expected: set[tuple[str, str]]) -> None:
    """Wait until the customer got each of these texts back from each of these numbers."""
    while {(message.sender, message.text or "") for message in customer.received} < expected:
        await customer.next_message(timeout=40)


@pytest.mark.timeout(150)
async def test_a_killed_bot_answers_what_it_had_not(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phones = {company_id: whatsapp.phone(number) for company_id, number in PHONES.items()}
    customer = whatsapp.contact(BOB)
    asked: set[tuple[str, str]] = set()

    async def ask(first: int, last: int) -> None:
        for number in range(first, last):
            for phone in phones.values():
                asked.add((phone.number, f"question {number}"))
                await customer.send(phone.number, f"question {number}")

    async with start(whatsapp, tmp_path) as bot:
        await bot.scan(phones)
        for phone in phones.values():
            await phone.wait_connected(timeout=30)
        await ask(0, 3)
        await echoed(customer, asked)
        for phone in phones.values():
            phone.withhold_acks()
        await ask(3, 8)
        for phone in phones.values():
            await phone.wait_delivered()
        # Each company's bot has five messages now, and waits for WhatsApp to acknowledge its first answer.
        assert await bot.end(signal.SIGKILL) == -signal.SIGKILL
        assert len({(message.sender, message.text) for message in customer.received}) <= len(asked) - 12
    for phone in phones.values():
        phone.withhold_acks(False)
    await ask(8, 11)
    async with start(whatsapp, tmp_path) as bot:
        await echoed(customer, asked)
        assert await bot.end(signal.SIGTERM) == 0
    assert {(message.sender, message.text) for message in customer.received} == asked
    assert [len(phone.devices) for phone in phones.values()] == [1, 1, 1]


async def test_a_company_that_another_process_runs_keeps_the_bot_from_no_other(
    whatsapp: WhatsAppServer, tmp_path: Path
) -> None:
    held, *others = PHONES
    owned = LocalCoordinator(tmp_path / "whatsapp_sessions").own(SessionKey(held))
    async with owned, start(whatsapp, tmp_path) as bot:
        await bot.scan({company_id: whatsapp.phone(PHONES[company_id]) for company_id in others})
        for company_id in others:
            await whatsapp.phone(PHONES[company_id]).wait_connected(timeout=30)
        while not any(f"Company {held}: " in line and "is run by" in line for line in bot.heard):
            await bot.line()
        assert await bot.end(signal.SIGTERM) == 0
