"""The application's memory while its sessions come and go; the server is in another process than it.

`MEMORY_CYCLES=200 pytest tests/protocol/test_memory.py -s` is the long form, and shows what was measured.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import linear_regression, mean
from typing import Any

import pytest

from wasessionpool.testing import WhatsAppServer

from .conftest import PHONES
from .test_processes import RemoteApplication, start

CYCLES = int(os.environ.get("MEMORY_CYCLES", "40"))
WARM_UP = 25
ENOUGH = 200
"""Cycles after which bytes say something: Python takes them from the system by the megabyte."""

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120 + 4 * (CYCLES + WARM_UP))]

COMPANY = "962302"
PHONE = PHONES[COMPANY]
Cycle = Callable[[int], Awaitable[None]]


async def measure(application: RemoteApplication, cycle: Cycle) -> None:
    """Repeat ``cycle``; the application must not grow by 1 % in 100 times. Workers do, and are replaced."""
    measured: list[dict[str, Any]] = []
    for number in range(WARM_UP + CYCLES):
        await cycle(number)
        if number >= WARM_UP:
            measured.append(await application.do("memory"))
    asserted = {"application, objects"} | ({"application, bytes"} if CYCLES >= ENOUGH else set())
    for name, values in (
        ("application, bytes", [one["own"][0] for one in measured]),
        ("application, objects", [one["blocks"] for one in measured]),
        ("workers, bytes", [sum(one["own"][1:]) for one in measured]),
    ):
        growth = linear_regression(range(CYCLES), values).slope * 100 / mean(values)
        print(f"{name}: {values[0]} to {values[-1]}, {growth:+.2%} in 100 cycles")
        if name in asserted:
            assert growth < 0.01, (name, values)


async def test_creating_and_closing_a_session(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    async with start(whatsapp, tmp_path / "sessions") as application:
        await whatsapp.phone(PHONE).scan((await application.do("create", COMPANY))["qr"])
        await application.do("wait", COMPANY)

        async def cycle(_: int) -> None:
            await application.do("disconnect", COMPANY)
            await application.do("create", COMPANY)
            await application.do("wait", COMPANY)

        await measure(application, cycle)


async def test_a_line_that_is_lost_again_and_again(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phone = whatsapp.phone(PHONE)
    async with start(whatsapp, tmp_path / "sessions") as application:
        await phone.scan((await application.do("create", COMPANY))["qr"])
        await application.do("wait", COMPANY)

        async def cycle(_: int) -> None:
            logins = phone.logins
            await phone.drop()
            await phone.wait_connected(logins=logins + 1)
            await application.do("wait", COMPANY)

        await measure(application, cycle)
