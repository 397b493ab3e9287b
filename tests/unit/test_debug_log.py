"""A session's own log: by ids, private, bounded, and never in the way."""

from __future__ import annotations

import logging
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import DisconnectReason, PoolSettings, SessionKey, WhatsAppSessionPool, debug_log
from wasessionpool.counts import Counts
from wasessionpool.events import QrEvent
from wasessionpool.qr import QRCode
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool

pytestmark = pytest.mark.anyio
KEY = SessionKey("962302")
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|WARNING|ERROR) \S.*")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said last is on disk when a session has ended, however slow the machine is."""
    monkeypatch.setattr(debug_log, "PATIENCE", 60.0)


def open_on_disk(path: Path, driver: FakeDriver, **settings: Any) -> WhatsAppSessionPool:
    return WhatsAppSessionPool(PoolSettings(session_path=path, reconnect_base_delay=0, **settings), driver=driver)


async def connect(link: FakeLink) -> None:
    if link.record.linked or link.record.company_id == "962302":
        link.up()
    else:
        link.offer_pairing("2@secret-of-the-code")


def told(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    assert all(map(LINE.fullmatch, lines)), lines
    return [line.split(" ", 2)[2] for line in lines]


async def test_what_happens_is_told_by_ids(tmp_path: Path) -> None:
    driver, received = FakeDriver(connect), anyio.Event()
    async with open_on_disk(tmp_path / "s", driver) as pool:

        @pool.on("message")
        async def receive(event: Any) -> None:
            received.set()

        await pool.create_session("962302", metadata={"plan": "gold"}, proxy="http://user:hush@127.0.0.1:9")
        driver.link.receive("a secret text")
        with anyio.fail_after(10):
            await received.wait()
        sent = await pool.send_message("962302", "79001234567", "another secret")
        async with pool.events("reconnecting", "message") as events:
            driver.link.end(DisconnectReason.KEEPALIVE, "keep-alives went unanswered")
            async for event in events:
                if event.type == "reconnecting":
                    break
        await pool.wait_until_connected("962302", timeout=10)
    log = tmp_path / "s" / "962302" / "debug.log"
    assert log.stat().st_mode & 0o777 == 0o600
    lines = told(log)
    assert lines[0] == "status previous=disconnected current=connecting"
    assert "connected jid=79686484488:1@s.whatsapp.net" in lines
    assert any(line.startswith("message kind=text message_id=IN1 chat=79001234567@s.whatsapp.net") for line in lines)
    assert any(line.startswith(f"message_sent message_id={sent.id} send_id=") for line in lines)
    assert "link ended: keepalive, keep-alives went unanswered" in lines
    assert "reconnecting attempt=1 delay=0.0" in lines
    assert lines[-1] == "disconnected reason=shutdown"
    for secret in ("secret", "hush", "gold", "Fake"):
        assert secret not in log.read_text()


async def test_a_code_is_never_told(tmp_path: Path) -> None:
    async with open_on_disk(tmp_path / "s", FakeDriver(connect)) as pool:
        assert (await pool.create_session("other")).qr is not None
    text = (tmp_path / "s" / "other" / "debug.log").read_text()
    assert " qr\n" in text
    assert "2@" not in text


async def test_a_warning_is_in_the_log_of_the_session_that_it_names(tmp_path: Path) -> None:
    library = logging.getLogger("wasessionpool.anything")
    async with open_on_disk(tmp_path / "s", FakeDriver(connect)) as pool:
        await pool.create_session("962302")
        await pool.create_session("other")
        library.warning("session %s: %s", KEY, "look\nhere")
        library.info("session %s: not this", KEY)
        library.warning("not of a session: %s", "962302")
        library.warning("nor this")
    assert [line for line in told_anyhow(tmp_path / "s" / "962302") if "look" in line]
    assert "not this" not in (tmp_path / "s" / "962302" / "debug.log").read_text()
    assert "nor this" not in (tmp_path / "s" / "962302" / "debug.log").read_text()
    assert "look" not in (tmp_path / "s" / "other" / "debug.log").read_text()
    assert not any(isinstance(each, debug_log.DebugLog) for each in logging.getLogger("wasessionpool").handlers)


def told_anyhow(directory: Path) -> list[str]:
    return (directory / "debug.log").read_text().splitlines()


async def test_nothing_of_it_outlives_its_session(tmp_path: Path) -> None:
    async with open_on_disk(tmp_path / "s", FakeDriver(connect)) as pool:
        await pool.create_session("962302")
        await pool.delete_session("962302")
        assert not (tmp_path / "s" / "962302").exists()


async def test_it_is_rotated_and_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug_log, "SIZE", 3000)
    path = tmp_path / "debug.log"
    async with debug_log.debug_log(KEY, path, Counts()) as log:
        assert log is not None
        for number in range(250):
            log.say(f"line {number}")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["debug.log", "debug.log.1", "debug.log.2"]
    assert all(file.stat().st_size <= 3000 and file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert told(path)[-1] == "line 249"


async def test_a_disk_that_hangs_blocks_nothing_and_what_is_dropped_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, goes_on, opened = threading.Event(), threading.Event(), debug_log._PrivateFile._open

    def hang(file: Any) -> Any:
        hangs.set()
        goes_on.wait(20)
        return opened(file)

    monkeypatch.setattr(debug_log._PrivateFile, "_open", hang)
    monkeypatch.setattr(debug_log, "WAITING", 10)
    path, counts = tmp_path / "debug.log", Counts()
    async with debug_log.debug_log(KEY, path, counts) as log, anyio.create_task_group() as tasks:
        assert log is not None
        tasks.start_soon(log.write)
        log.say("first")
        await anyio.to_thread.run_sync(hangs.wait, 20)
        for number in range(13):
            log.say(f"line {number}")
        goes_on.set()
        tasks.cancel_scope.cancel()
    assert told(path) == ["first", *(f"line {number}" for number in range(10)), "3 lines were dropped"]
    assert counts.log_lines_dropped == 3


async def test_a_disk_that_hangs_for_ever_delays_the_end_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_: Any) -> None:
        hangs.set()
        goes_on.wait(60)
        raise OSError("input/output error")

    monkeypatch.setattr(debug_log._PrivateFile, "_open", hang)
    monkeypatch.setattr(debug_log, "PATIENCE", 0.05)
    try:
        with anyio.fail_after(30):
            async with (
                debug_log.debug_log(KEY, tmp_path / "debug.log", Counts()) as log,
                anyio.create_task_group() as tasks,
            ):
                assert log is not None
                tasks.start_soon(log.write)
                log.say("first")
                assert await anyio.to_thread.run_sync(hangs.wait, 20)
                log.say("last")
                tasks.cancel_scope.cancel()
    finally:
        goes_on.set()
    with log._writing:
        pass  # The thread that was left behind must not open the file once nothing is patched any more.


async def test_a_thread_that_is_too_slow_makes_no_file_of_a_session_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def slowly(at: float, said: Any) -> str:
        hangs.set()
        goes_on.wait(60)
        return f"{at} {said}"

    monkeypatch.setattr(debug_log, "PATIENCE", 0.05)
    monkeypatch.setattr(debug_log, "_line", slowly)
    monkeypatch.setattr(debug_log, "TOGETHER", 1)
    path = tmp_path / "debug.log"
    async with debug_log.debug_log(KEY, path, Counts()) as log:
        assert log is not None
        log.say("first")
        log.say("second")
    assert hangs.is_set()
    goes_on.set()
    with log._writing:
        assert log._file.stream is None
    assert not path.exists()


async def test_a_full_disk_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "debug.log"
    path.symlink_to("/dev/full")
    async with debug_log.debug_log(KEY, path, Counts()) as log:
        assert log is not None
        log.say("first")
    assert capsys.readouterr() == ("", "")


async def test_a_store_without_files_has_none(open_pool: OpenPool, driver: FakeDriver) -> None:
    driver.script = connect
    async with open_pool() as pool:
        await pool.create_session("962302")
        assert pool._sessions[SessionKey("962302")].standing.log is None


def test_an_event_of_a_code_has_no_fields() -> None:
    event = QrEvent(
        id="1", time=(now := datetime.now(UTC)), company_id="962302", device="main", sequence=1, qr=QRCode("2@s", now)
    )
    assert debug_log.line_of(event) == "qr"
