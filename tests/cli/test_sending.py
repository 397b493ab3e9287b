"""``send``, with a driver that has no WhatsApp."""

from __future__ import annotations

import json
import signal
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
from wasessionpool.testing.driver import FakeDriver, FakeInbox, FakeLink

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


@pytest.mark.anyio
@pytest.mark.parametrize("command", [["send", ANN, "Hello"], ["logout"], ["delete"]], ids=lambda command: command[0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stopped_session_stays_stopped_when_a_signal_ends_the_command(
    start_command: Any, sessions: Path, command: list[str], number: signal.Signals
) -> None:
    await disconnect(sessions)
    name, *rest = command
    async with start_command(name, "962302", *rest, "--session-path", str(sessions), driver="silent") as running:
        with anyio.fail_after(30):
            while (await find(KEY, sessions)).desired == "stopped":  # noqa: ASYNC110 - a file tells nobody
                await anyio.sleep(0.01)
        running.process.send_signal(number)
        assert (await running.end(), running.stderr) == (128 + number, "wasessionpool: interrupted\n")
    record = await find(KEY, sessions)
    assert (record.desired, record.linked) == ("stopped", True)


@pytest.mark.anyio
async def test_what_arrives_meanwhile_is_kept_for_the_application(
    sessions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed, trim = anyio.Event(), FakeInbox.trim

    async def watched(inbox: FakeInbox, keep: int) -> int:
        expired = await trim(inbox, keep)
        trimmed.set()
        return expired

    async def wait(*_: object) -> None:
        await trimmed.wait()

    async def script(link: FakeLink) -> None:
        link.on_send = wait
        for text in ("one", "two", "three"):
            link.receive(text)
        link.up()

    monkeypatch.setattr(FakeInbox, "trim", watched)
    monkeypatch.setattr("wasessionpool.inbound.WELCOME", 0.0)
    driver = FakeDriver(script)
    place = SessionPath(PoolSettings(session_path=sessions, autostart=False, inbox_keep=1), driver=driver)
    await place.send(KEY, ANN, to_message("Hello"), timeout=30)
    assert len(await driver.inboxes[KEY].read(0, 10)) == 3
