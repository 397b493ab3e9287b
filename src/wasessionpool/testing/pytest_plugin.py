"""Fixtures for the tests of an application that uses WhatsApp; nothing is loaded until one of them is used.

They are async, and work in tests that anyio's pytest plugin runs (``pytest.mark.anyio``), on asyncio and on trio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from wasessionpool import PoolSettings, WhatsAppSessionPool
    from wasessionpool.drivers.neonize import NeonizeDriver
    from wasessionpool.testing import Phone, WhatsAppServer

    Link = Callable[..., Awaitable[Phone]]

LINK_TIMEOUT = 30.0


@pytest.fixture
async def whatsapp(anyio_backend: Any) -> AsyncIterator[WhatsAppServer]:  # noqa: ARG001 - has anyio run it
    """A WhatsApp of this test's own, on loopback."""
    try:
        from wasessionpool.testing.whatsapp.server import WhatsAppServer
    except ModuleNotFoundError as error:
        pytest.fail(f"{error.name} is not installed: pip install 'wasessionpool[testing]'", pytrace=False)
    async with WhatsAppServer() as server:
        yield server


@pytest.fixture
async def whatsapp_driver(whatsapp: WhatsAppServer) -> AsyncIterator[NeonizeDriver]:
    """The real driver, with workers that reach the loopback WhatsApp only; pass it to a pool of your own."""
    async with whatsapp.driver() as driver:
        yield driver


@pytest.fixture
def whatsapp_settings(tmp_path: Path) -> PoolSettings:
    """The settings of `whatsapp_pool`: its sessions lie in `tmp_path`, and it reconnects soon. Override it freely."""
    from wasessionpool import PoolSettings

    return PoolSettings(
        session_path=tmp_path / "whatsapp_sessions", reconnect_base_delay=0.2, reconnect_jitter=0, reconnect_grace=1.0
    )


@pytest.fixture
async def whatsapp_pool(
    whatsapp_driver: NeonizeDriver, whatsapp_settings: PoolSettings
) -> AsyncIterator[WhatsAppSessionPool]:
    """An open pool on the loopback WhatsApp, without sessions."""
    from wasessionpool import WhatsAppSessionPool

    async with WhatsAppSessionPool(whatsapp_settings, driver=whatsapp_driver) as pool:
        yield pool


@pytest.fixture
def whatsapp_link(whatsapp: WhatsAppServer, whatsapp_pool: WhatsAppSessionPool) -> Link:
    """Link a company's session to a phone by its QR: `phone = await whatsapp_link("962302")`."""

    async def link(company_id: str, number: str = "79686484488", pool: WhatsAppSessionPool = whatsapp_pool) -> Phone:
        phone = whatsapp.phone(number)
        status = await pool.create_session(company_id)
        if status.qr is not None:
            await phone.scan(status.qr)
        await pool.wait_until_connected(company_id, timeout=LINK_TIMEOUT)
        return phone

    return link
