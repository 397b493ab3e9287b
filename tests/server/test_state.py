"""A server that is stopped and started again: another object, the same devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import TaskStatus

from wasessionpool.testing import StateError, WhatsAppServer
from wasessionpool.testing.whatsapp.state import load, save

pytestmark = pytest.mark.anyio

OWN = "79686484488"
ANN = "79001234567"


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "whatsapp.json"


async def pair(whatsapp: WhatsAppServer, client: Any) -> None:
    await whatsapp.phone(OWN).scan((await client.next("QR"))["text"])
    await client.next("Connected")


async def test_a_device_logs_in_after_a_restart_and_gets_what_was_queued(state_file: Path, start_client: Any) -> None:
    async with WhatsAppServer(state=state_file) as whatsapp:
        phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN, name="Ann")
        async with start_client("Acme", whatsapp) as client:
            await pair(whatsapp, client)
            first = await client.call("send", ANN, "before")
            assert (await ann.next_message()).text == "before"
            await ann.send(OWN, "hello")
            await client.next("Message")
            await phone.wait_delivered()
        await phone.wait_disconnected()
        queued = [await ann.send(OWN, f"queued {number}") for number in range(3)]
    assert state_file.stat().st_mode & 0o777 == 0o600

    async with WhatsAppServer(state=state_file) as whatsapp:
        phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
        assert [(device.os, device.connected) for device in phone.devices] == [("Acme", False)]
        assert ([message.id for message in ann.received], ann.name) == ([first], "Ann")
        async with start_client("Acme", whatsapp) as client:
            assert [(await client.next("Message"))["id"] for _ in queued] == queued
            await phone.wait_delivered()
            await client.call("send", ANN, "after")
            message = await ann.next_message()
            assert (message.text, message.encryption) == ("after", "msg")
            await ann.send(OWN, "goodbye")
            assert (await client.next("Message"))["text"] == "goodbye"
            assert client.of("QR") == []
        assert (ann.undecryptable, ann.retries_asked, len(phone.devices)) == (0, 0, 1)


async def test_a_client_that_lives_through_the_restart_delivers_a_message_once(
    state_file: Path, start_client: Any
) -> None:
    async def serve(port: int, stop: anyio.Event, *, task_status: TaskStatus[WhatsAppServer]) -> None:
        async with WhatsAppServer(state=state_file, port=port) as whatsapp:
            task_status.started(whatsapp)
            await stop.wait()
        stopped.set()

    async def send_once(client: Any) -> None:
        try:
            await client.call("send", ANN, "once", timeout=60)
        except RuntimeError as error:
            # whatsmeow sends it again only if it is connected within 5 s.
            if "websocket disconnected" not in str(error):
                raise

    stop, stopped = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        first: WhatsAppServer = await tasks.start(serve, 0, stop)
        async with start_client("Acme", first) as client, anyio.create_task_group() as sending:
            await pair(first, client)
            ann = first.contact(ANN)
            first.phone(OWN).withhold_acks()
            sending.start_soon(send_once, client)
            assert (await ann.next_message()).text == "once"
            stop.set()
            await stopped.wait()

            stop = anyio.Event()
            second: WhatsAppServer = await tasks.start(serve, urlsplit(first.proxy_url).port, stop)
            await second.phone(OWN).wait_connected(logins=2, timeout=30)
            await client.call("send", ANN, "twice")
            ann = second.contact(ANN)
            assert (await ann.next_message()).text == "twice"
            assert ([message.text for message in ann.received], ann.undecryptable) == (["once", "twice"], 0)
        stop.set()


async def test_what_a_client_needs_holds_in_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with WhatsAppServer(state="whatsapp.json") as server:
        assert server.environment["SSL_CERT_FILE"] == str(tmp_path / "whatsapp.json.pem")


async def test_the_file_is_whole_and_refuses_what_it_does_not_know(state_file: Path) -> None:
    async with WhatsAppServer(state=state_file) as whatsapp:
        whatsapp.contact(ANN, name="Ann")
        whatsapp.save(state_file)
    saved = json.loads(state_file.read_text())
    copy = state_file.with_name("copy")
    save(copy, *load(state_file))
    assert json.loads(copy.read_text()) == saved

    for wrong in ("", "[]", "{}", json.dumps(saved | {"format": 0}), json.dumps(saved | {"nouns": []})):
        state_file.write_text(wrong)
        with pytest.raises(StateError, match=r"whatsapp\.json is"):
            WhatsAppServer(state=state_file)


async def test_what_cannot_be_saved_is_named(state_file: Path) -> None:
    async with WhatsAppServer() as whatsapp:
        vars(whatsapp._network)["novelty"] = object()
        with pytest.raises(TypeError, match=r"a object cannot be saved: state\.py"):
            whatsapp.save(state_file)
    assert not state_file.exists()
