"""The command line: in this process, or in one of its own where that matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.text import TextReceiveStream
from typer.testing import CliRunner

from wasessionpool import PoolSettings, WhatsAppSessionPool, defaults
from wasessionpool.cli.app import app
from wasessionpool.testing.driver import FakeDriver, FakeLink

ENTRY = Path(__file__).with_name("entry.py")
"""The command line with another driver, named first."""
UNREACHABLE = {"HTTPS_PROXY": "http://127.0.0.1:9", "SSL_CERT_DIR": "/nonexistent"}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WHATSAPP_")}
    return {**inherited, **UNREACHABLE, "PYTHONWARNINGS": "error", **(extra or {})}


RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def debug_logs_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the last lines of a session's log however slow the machine is."""
    monkeypatch.setattr("wasessionpool.debug_log.PATIENCE", 30.0)


@pytest.fixture
def drivers() -> list[FakeDriver]:
    """The driver of each pool that ``command`` has opened."""
    return []


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drivers: list[FakeDriver]) -> RunCommand:
    """Run a command in this process and in an empty directory, and return how it ended."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WHATSAPP_")]:
        monkeypatch.delenv(name)

    def make_driver(settings: PoolSettings) -> FakeDriver:
        drivers.append(FakeDriver())
        return drivers[-1]

    monkeypatch.setattr(defaults, "make_driver", make_driver)

    def run(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        result = CliRunner().invoke(app, arguments, input=stdin, env=env, catch_exceptions=False)
        return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process(tmp_path: Path) -> RunCommand:
    """Run a command in a process of its own and in an empty directory, and return how it ended."""

    def run(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wasessionpool", *arguments],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=60,
            cwd=tmp_path,
            env=environment(env),
            check=False,
        )

    return run


class Running:
    """A command under way, with the JSON objects that it has printed."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self.stderr = ""
        self.printed: list[dict[str, Any]] = []
        self._changed = anyio.Event()
        self._silent = anyio.Event()

    async def next(self, **wanted: Any) -> dict[str, Any]:
        """Return the first object with these values, as soon as it is printed."""
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            found.extend(record for record in self.printed if wanted.items() <= record.items())
            return bool(found)

        await self._until(seen)
        return found[0]

    async def said(self, text: str) -> None:
        """Wait until stderr has ``text``."""
        await self._until(lambda: text in self.stderr)

    async def end(self) -> int:
        """Wait for the end and return the exit code; by then ``stderr`` is complete."""
        with anyio.fail_after(30):
            await self._silent.wait()
            return await self.process.wait()

    async def _until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(30):
            while not condition():
                await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def read(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_errors)
            assert self.process.stdout is not None
            rest = ""
            async for text in TextReceiveStream(self.process.stdout):
                *lines, rest = (rest + text).split("\n")
                self.printed.extend(map(json.loads, lines))
                self._change()
        self._silent.set()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        async for text in TextReceiveStream(self.process.stderr):
            self.stderr += text
            self._change()


StartCommand = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start_command(tmp_path: Path) -> StartCommand:
    """Start ``wasessionpool … --json``; leaving the context waits for what it prints, and ends it for sure."""

    @asynccontextmanager
    async def start(*arguments: str, driver: str | None = None, **env: str) -> AsyncIterator[Running]:
        entry = ["-m", "wasessionpool"] if driver is None else [str(ENTRY), driver]
        process = await anyio.open_process(
            [sys.executable, *entry, *arguments, "--json"], cwd=tmp_path, env=environment(env)
        )
        running = Running(process)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(running.read)
                try:
                    yield running
                finally:
                    if process.returncode is None:
                        process.kill()
        finally:
            with anyio.CancelScope(shield=True):
                await process.wait()
                await process.aclose()

    return start


@pytest.fixture
def start_service(start_command: StartCommand) -> Callable[..., AbstractAsyncContextManager[tuple[Running, str]]]:
    """Start ``wasessionpool serve`` on a free port, and yield it and its URL once it serves."""

    @asynccontextmanager
    async def start(*arguments: str, driver: str = "fake", **env: str) -> AsyncIterator[tuple[Running, str]]:
        async with start_command("serve", "--port", "0", *arguments, driver=driver, **env) as service:
            yield service, (await service.next(event="serving"))["url"]

    return start


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    """A session path as a pool has left it: one session linked, one whose QR nobody scanned."""
    path = tmp_path / "sessions"

    async def script(link: FakeLink) -> None:
        if link.record.company_id == "962302":
            link.up()
        else:
            link.offer_pairing()

    async def fill() -> None:
        async with WhatsAppSessionPool(PoolSettings(session_path=path), driver=FakeDriver(script)) as pool:
            await pool.create_session("962302", proxy="http://user:secret@127.0.0.1:9")
            await pool.create_session("962303", device="sales")

    anyio.run(fill)
    return path


@pytest.fixture
def held(sessions: Path, command: RunCommand) -> Iterator[int]:
    """A process that runs ``962302``, by its id."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("hold.py")), str(sessions), "962302"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
    finally:
        process.communicate(timeout=20)
