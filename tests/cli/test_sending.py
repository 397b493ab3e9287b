"""``send``, with a driver that has no WhatsApp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import PoolSettings, SessionKey, WhatsAppSessionPool
from wasessionpool.cli.output import Output
from wasessionpool.cli.records import find
from wasessionpool.cli.sending import send
from wasessionpool.cli.session_path import SessionPath
from wasessionpool.errors import MessageRejected
from wasessionpool.messages import Text, to_message
from wasessionpool.testing.driver import FakeDriver, FakeLink

KEY = SessionKey("962302")
ANN = "+7 900 123-45-67"


def test_it_prints_the_id(command: Any, sessions: Path) -> None:
    done = command("send", "962302", ANN, "Hello", "--session-path", str(sessions))
    assert (done.returncode, done.stdout, done.stderr) == (0, "sent FAKE1 to 79001234567@s.whatsapp.net\n", "")
    done = command("send", "962302", ANN, "Hello", "--session-path", str(sessions), "--json")
    assert json.loads(done.stdout)["id"] == "FAKE1"


@pytest.mark.parametrize(("stdin", "text"), [("one\ntwo\n", "one\ntwo"), ("no end", "no end"), ("two\n\n", "two\n")])
def test_standard_input_is_the_message(
    command: Any, sessions: Path, drivers: list[FakeDriver], stdin: str, text: str
) -> None:
    assert command("send", "962302", ANN, "-", "--session-path", str(sessions), stdin=stdin).returncode == 0
    assert drivers[-1].link.sent[0][1] == Text(text=text)


def test_standard_input_that_is_not_text_is_wrong_usage(process: Any, sessions: Path) -> None:
    done = process("send", "962302", ANN, "-", "--session-path", str(sessions), stdin="caf\udce9")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "wasessionpool: standard input is not UTF-8: unexpected end of data at byte 3\n"


@pytest.mark.parametrize("desired", ["running", "stopped"])
def test_what_is_desired_of_the_session_stays(command: Any, sessions: Path, desired: str) -> None:
    if desired == "stopped":
        anyio.run(disconnect, sessions)
    assert anyio.run(find, KEY, sessions).desired == desired
    assert command("send", "962302", ANN, "Hello", "--session-path", str(sessions)).returncode == 0
    assert anyio.run(find, KEY, sessions).desired == desired


async def disconnect(path: Path) -> None:
    async with WhatsAppSessionPool(PoolSettings(session_path=path, autostart=False), driver=FakeDriver()) as pool:
        await pool.disconnect("962302")


def test_only_the_session_that_sends_is_started(command: Any, sessions: Path, drivers: list[FakeDriver]) -> None:
    assert command("send", "962302", ANN, "Hello", "--session-path", str(sessions)).returncode == 0
    assert [link.record.company_id for link in drivers[-1].links] == ["962302"]
    assert drivers[-1].open_links == 0


@pytest.mark.anyio
async def test_a_stopped_session_that_cannot_send_stays_stopped(sessions: Path) -> None:
    await disconnect(sessions)

    async def reject(*_: object) -> None:
        raise MessageRejected("the server refused the message", server_code=479)

    async def script(link: FakeLink) -> None:
        link.on_send = reject
        link.up()

    place = SessionPath(PoolSettings(session_path=sessions, autostart=False), driver=FakeDriver(script))
    with pytest.raises(MessageRejected):
        await send(place, KEY, ANN, to_message("Hello"), timeout=30, output=Output(as_json=True))
    assert (await find(KEY, sessions)).desired == "stopped"
