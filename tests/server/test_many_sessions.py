"""Many sessions at once; `benchmarks/server.py` does the same with 200 and measures it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool.testing import WhatsAppServer

pytestmark = pytest.mark.anyio

ANN = "79001234567"
NUMBERS = [f"796800000{number:02}" for number in range(30)]


async def test_thirty_sessions_pair_talk_and_come_back(
    whatsapp: WhatsAppServer, spawn_sessions: Any, tmp_path: Path
) -> None:
    ann = whatsapp.contact(ANN)

    async def talk(text: str) -> None:
        async with anyio.create_task_group() as tasks:
            for number in NUMBERS:
                tasks.start_soon(clients.call, "send", number, ANN, f"{text} from {number}")
        said = {(await ann.next_message()).text for _ in NUMBERS}
        assert said == {f"{text} from {number}" for number in NUMBERS}
        for number in NUMBERS:
            await ann.send(number, text)
        for number in NUMBERS:
            await whatsapp.phone(number).wait_delivered()
            await clients.next("Message")

    async with spawn_sessions(whatsapp.environment) as clients:
        for number in NUMBERS:
            await clients.call("start", number, str(tmp_path / f"{number}.db"))
            await whatsapp.phone(number).scan((await clients.next("QR"))["text"])
            await clients.next("Connected")
            await clients.next("Message")  # by which its phone hands over the key of the app state
        await talk("hello")
        assert await whatsapp.drop() == len(NUMBERS)
        for number in NUMBERS:
            await whatsapp.phone(number).wait_connected(logins=2)
            await clients.next("Connected")
        await talk("hello again")
        assert sorted(whatsapp.connected) == NUMBERS
        assert (ann.undecryptable, ann.retries_asked, len(ann.received)) == (0, 0, 2 * len(NUMBERS))
