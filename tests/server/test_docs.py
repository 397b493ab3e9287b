"""The code in the docs about the loopback server runs on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import CoroutineType
from typing import Any

import anyio
import pytest

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.testing import WhatsAppServer

pytestmark = pytest.mark.anyio
DOCS = Path(__file__).parents[2] / "docs"
SERVER = (DOCS / "whatsapp-server.md").read_text("utf-8")
FAULTS = (DOCS / "faults.md").read_text("utf-8")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def run(page: str, **names: Any) -> None:
    """Run the one block of a page, as if it stood in an async function."""
    [block] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    outcome = eval(compile(block, "the docs", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)  # noqa: S307 - our own
    if isinstance(outcome, CoroutineType):
        await outcome


async def test_the_server(tmp_path: Path) -> None:
    settings = PoolSettings(session_path=tmp_path / "sessions")
    await run(SERVER, WhatsAppServer=WhatsAppServer, WhatsAppSessionPool=WhatsAppSessionPool, settings=settings)


async def test_the_faults(tmp_path: Path) -> None:
    async with WhatsAppServer() as whatsapp, whatsapp.driver() as driver:
        phone, bob = whatsapp.phone("79686484488"), whatsapp.contact("79001234567")
        async with WhatsAppSessionPool(PoolSettings(session_path=tmp_path / "sessions"), driver=driver) as pool:
            status = await pool.create_session("962302")
            assert status.qr is not None
            await phone.scan(status.qr)
            await pool.wait_until_connected("962302", timeout=30)
            with anyio.fail_after(30):
                await run(FAULTS, whatsapp=whatsapp, phone=phone, bob=bob)
