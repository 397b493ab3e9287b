"""What the log and the errors show of the traffic, and what they must not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.nodes import Node, node
from wasessionpool.testing.whatsapp.wire import Wire, render

ANN = JID("7779001234567", "lid")
MESSAGE = node(
    "message",
    {"id": "3EB01", "to": ANN, "type": "text", "notify": "Ann Smith", "phash": "2:secret"},
    [node("enc", {"v": "2", "type": "msg"}, b"\x33ciphertext"), node("unavailable")],
)


def test_contents_and_unknown_attributes_are_shown_by_their_length() -> None:
    assert render(MESSAGE) == (
        f'<message id="3EB01" to="{ANN}" type="text" notify=(9) phash=(8)>'
        '<enc v="2" type="msg">(11 bytes)</enc><unavailable/></message>'
    )


def test_the_last_ten_stanzas_are_named() -> None:
    wire = Wire()
    assert wire.describe_recent() == "none"
    for number in range(12):
        wire.note("→", "7900:1", Node("iq", {"id": f"id{number}", "type": "get", "xmlns": "w:p"}))
    recent = wire.describe_recent().split("; ")
    assert (len(recent), recent[0], recent[-1]) == (10, "→ 7900:1 iq w:p/get id2", "→ 7900:1 iq w:p/get id11")
    wire.note("←", "7900:1", MESSAGE)
    assert wire.describe_recent().endswith("← 7900:1 message text (enc unavailable) 3EB01")


def test_the_file_is_private_and_gets_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    for _ in range(2):
        wire = Wire()
        wire.note("→", "7900:1", MESSAGE)
        wire.open(path)
        wire.note("→", "7900:1", MESSAGE)
        wire.close()
        wire.note("→", "7900:1", MESSAGE)
    lines = path.read_text("utf-8").splitlines()
    assert [line.partition(" ")[2] for line in lines] == [f"7900:1 → {render(MESSAGE)}"] * 2
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.anyio
async def test_a_whole_session_is_logged_without_a_secret(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ann = whatsapp.contact("79001234567", name="Ann Smith")
    async with start_client("Acme") as client:
        caplog.set_level(logging.DEBUG, "wasessionpool.testing.wire")
        await pair(client)
        sent = await client.call("send", ann.number, "the secret word")
        await ann.next_message()
        await ann.send("79686484488", "the secret answer")
        await client.next("Message")
    logged = [record.getMessage() for record in caplog.records if record.name == "wasessionpool.testing.wire"]
    assert any(line.startswith("unlinked → <iq") and "<pair-success>" in line for line in logged)
    assert any(line.startswith("79686484488:1 ← <message") and sent in line for line in logged)
    text = "\n".join(logged)
    assert "secret" not in text
    assert "Ann Smith" not in text
    assert whatsapp._network.account("79686484488").primary.identity.public.hex() not in text


@pytest.mark.anyio
async def test_nothing_is_logged_unasked(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with start_client("Acme") as client:
        await pair(client)
    assert [record for record in caplog.records if record.name == "wasessionpool.testing.wire"] == []
