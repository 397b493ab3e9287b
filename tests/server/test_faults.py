"""Faults of the server and what follows, as plain neonize sees it; each by itself is in the fault table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool.testing import WhatsAppServer

pytestmark = pytest.mark.anyio

OWN = "79686484488"
ANN = "79001234567"


@pytest.fixture
def anyio_backend() -> str:
    """One backend: what differs between them is below the faults."""
    return "asyncio"


async def pair(whatsapp: WhatsAppServer, client: Any) -> None:
    qr = await client.next("QR")
    await whatsapp.phone(OWN).scan(qr["text"])
    await client.next("Connected")


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "end of stream"])
async def test_a_cut_connection_comes_back(whatsapp: WhatsAppServer, start_client: Any, reset: bool) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(whatsapp, client)
        for number in range(3):
            assert await whatsapp.drop(OWN, reset=reset) == 1
            await client.next("Disconnected")
            await client.next("Connected")
            await phone.wait_connected(logins=number + 2)
            await client.call("send", ANN, f"back {number}")
            assert (await ann.next_message()).text == f"back {number}"
        assert await whatsapp.drop() == 1


async def test_a_message_sent_again_is_delivered_once(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(whatsapp, client)
        await client.call("send", ANN, "first")
        phone.withhold_acks()
        with pytest.raises(TimeoutError):
            await client.call("send", ANN, "once", timeout=0.5)
        assert [(await ann.next_message()).text for _ in range(2)] == ["first", "once"]
        phone.withhold_acks(False)
        await whatsapp.drop()
        await client.next("Connected")
        await client.call("send", ANN, "last")
        assert (await ann.next_message()).text == "last"
        assert len(ann.received) == 3
        assert (len(phone.copies), ann.undecryptable) == (3, 0)


async def keys_are_deleted(database: Path, timeout: float = 10.0) -> None:
    """Wait for what whatsmeow does after it has said `LoggedOut`, and does not announce."""
    with anyio.fail_after(timeout), closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        while connection.execute("select count(*) from whatsmeow_device").fetchone() != (0,):  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_a_phone_unlinks_a_device_that_is_online(
    whatsapp: WhatsAppServer, start_client: Any, tmp_path: Path
) -> None:
    phone = whatsapp.phone(OWN)
    async with start_client() as client:
        await pair(whatsapp, client)
        await phone.unlink()
        await client.next("LoggedOut")
        assert phone.devices == ()
        await keys_are_deleted(tmp_path / "Raw.db")
    async with start_client() as client:
        await pair(whatsapp, client)
        assert len(phone.devices) == 1


async def test_a_silent_server_keeps_the_connection(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(whatsapp, client)
        await phone.wait_delivered()
        phone.silence()
        await ann.send(OWN, "nobody hears")
        with pytest.raises(TimeoutError):
            await client.call("send", ANN, "nobody answers", timeout=0.5)
        assert (phone.connected, phone.undelivered, ann.received) == (True, 1, ())
        phone.speak()
        await whatsapp.drop()
        assert (await client.next("Message"))["text"] == "nobody hears"


async def test_the_number_of_codes(start_client: Any) -> None:
    async with WhatsAppServer(refs=1) as stingy, start_client(server=stingy) as client:
        qr = await client.next("QR")
        assert len(stingy._network.pairings) == 1
        await stingy.phone(OWN).scan(qr["text"])
        await client.next("Connected")
        assert stingy._network.pairings == {}
