"""Two links of one device at once: counted, and never mistaken for one that follows another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from wasessionpool.testing import WhatsAppServer

pytestmark = pytest.mark.anyio

OWN = "79686484488"


async def test_a_second_client_with_a_devices_keys_is_counted(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any, tmp_path: Path
) -> None:
    phone = whatsapp.phone(OWN)
    async with start_client("One") as client:
        await pair(client)
        await phone.wait_delivered()
    await phone.wait_disconnected()
    for path in tmp_path.glob("One.db*"):
        shutil.copy(path, path.with_name(path.name.replace("One", "Two")))
    async with start_client("One") as one:
        await one.next("Connected")
        assert phone.overlapping_logins == 0
        async with start_client("Two") as two:
            await two.next("Connected")
            await one.next("StreamReplaced")
            assert phone.overlapping_logins == 1


async def test_a_client_that_comes_back_is_not(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    phone = whatsapp.phone(OWN)
    async with start_client("One") as client:
        await pair(client)
        for fault in (phone.drop(), phone.drop(reset=False), phone.stream_error(503), phone.stream_error(515)):
            logins = phone.logins
            await fault
            await phone.wait_connected(logins=logins + 1)
    async with start_client("One") as client:
        await client.next("Connected")
    assert phone.overlapping_logins == 0
