"""How ``pair`` shows its code and how it ends, with a driver that has no WhatsApp."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import SessionKey
from wasessionpool.cli.records import find, holder_of
from wasessionpool.testing.driver import FakeDriver

ENTRY = Path(__file__).with_name("entry.py")
KEY = SessionKey("962302")


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly(start_command: Any, tmp_path: Path, number: signal.Signals) -> None:
    async with start_command("pair", "962302", "--session-path", str(tmp_path), driver="fake") as pairing:
        assert (await pairing.next(event="qr"))["text"] == "2@fake"
        pairing.process.send_signal(number)
        assert (await pairing.end(), pairing.stderr) == (128 + number, "wasessionpool: interrupted\n")
    record = await find(KEY, tmp_path)
    assert (record.desired, record.linked, holder_of(record, tmp_path)) == ("stopped", False, None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("driver", "timeout", "says"),
    [
        ("fake", "5", "nobody scanned the QR code within 5 s"),
        ("silent", "0.5", "is still connecting after 0.5 s"),
    ],
)
async def test_its_time_ends(start_command: Any, tmp_path: Path, driver: str, timeout: str, says: str) -> None:
    arguments = ["pair", "962302", "--session-path", str(tmp_path), "--timeout", timeout]
    async with start_command(*arguments, driver=driver) as pairing:
        assert await pairing.end() == 1
        assert says in pairing.stderr
        assert pairing.stderr.count("\n") == 1
    assert (await find(KEY, tmp_path)).desired == "stopped"


def test_the_code_is_drawn_in_a_pipe(tmp_path: Path) -> None:
    with running(tmp_path, "scanned", stdout=subprocess.PIPE) as process:
        output = process.communicate(timeout=20)[0].decode()
    assert process.returncode == 0
    lines = output.splitlines()
    assert set(lines[0]) == {"█"}
    assert "Linked devices › Link a device" in output
    assert lines[-1] == "linked as +79686484488"
    assert "\x1b" not in output
    assert (anyio.run(find, KEY, tmp_path)).desired == "running"


def test_a_linked_session_says_so(tmp_path: Path) -> None:
    for line in ("linked as +79686484488", "already linked as +79686484488"):
        with running(tmp_path, "scanned" if line.startswith("linked") else "fake", stdout=subprocess.PIPE) as process:
            assert process.communicate(timeout=20)[0].decode().splitlines()[-1] == line


def test_a_terminal_gets_a_countdown_and_ctrl_c(tmp_path: Path) -> None:
    with terminal(lines=50) as (ours, theirs), running(tmp_path, "fake", terminal=theirs) as process:
        seen = read_until(ours, r"(?s)(\d\d) s left.*(?!\1)\d\d s left")
        assert "█" in seen
        left = [int(number) for number in re.findall(r"(\d+) s left", seen)]
        assert left == sorted(left, reverse=True)
        assert left[0] <= 60
        os.write(ours, b"\x03")
        assert "wasessionpool: interrupted" in read_until(ours, "interrupted")
        assert process.wait(20) == 130


def test_a_terminal_that_is_too_low_gets_the_code_once(tmp_path: Path) -> None:
    with terminal(lines=24) as (ours, theirs), running(tmp_path, "scanned", terminal=theirs) as process:
        seen = read_until(ours, r"linked as \+79686484488")
        assert "and scan this before " in seen
        assert "s left" not in seen
        assert process.wait(20) == 0


@contextmanager
def running(path: Path, driver: str, terminal: int | None = None, stdout: int | None = None) -> Iterator[Any]:
    """Run ``pair 962302``, with a terminal as its own or with ``stdout``."""

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, str(ENTRY), driver, "pair", "962302", "--session-path", str(path)],
        stdin=terminal,
        stdout=stdout if terminal is None else terminal,
        stderr=terminal,
        env={name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")} | {"TERM": "xterm"},
        start_new_session=True,
        preexec_fn=None if terminal is None else take_terminal,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def terminal(*, lines: int) -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def read_until(descriptor: int, wanted: str) -> str:
    """Read what the terminal shows until the pattern ``wanted`` is there; the test's own deadline is the limit."""
    seen = b""
    while not re.search(wanted.encode(), seen):
        seen += os.read(descriptor, 65536)
    return seen.decode(errors="replace")


def test_a_code_to_type_in_is_shown_as_the_phone_shows_it(command: Any, drivers: list[FakeDriver]) -> None:
    done = command("pair", "962302", "--phone-number", "+7 968 648-44-88", "--timeout", "5")
    assert (done.returncode, done.stderr.startswith("wasessionpool: nobody typed in the code")) == (1, True)
    assert "ABCD-1234" in done.stdout.splitlines()
    assert "Link with phone number" in done.stdout
    assert command("pair", "962302", "--phone-number", "nobody").returncode == 2
    assert len(drivers) == 1
