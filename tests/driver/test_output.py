"""What Go prints never makes it wait, whoever reads it or does not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

import anyio
import pytest
from anyio import to_thread

from wasessionpool.drivers.neonize.wire import (
    REPORTS,
    Answer,
    Command,
    FrameDecoder,
    Happened,
    Hello,
    Perform,
    Report,
    SendText,
    Start,
    encode,
)
from wasessionpool.testing.whatsapp.server import WORKER_MODULE, WhatsAppServer

from .conftest import OTHER, OWN, SessionFactory, paired

pytestmark = pytest.mark.anyio


class RawWorker:
    """A worker whose output goes to a pipe that nobody reads."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(20)
        self._reader, self._writer = os.pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER_MODULE, "5", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._writer,
                stderr=self._writer,
                env={**os.environ, **environment},
                pass_fds=(theirs.fileno(),),
            )
        self._reports = self._read()

    def _read(self) -> Iterator[Report]:
        decoder = FrameDecoder[Report](REPORTS)
        while data := self._socket.recv(65536):
            yield from decoder.feed(data)

    def fill(self) -> None:
        """Fill the pipe, through an opening of its own: whether a write blocks belongs to the opening."""
        descriptor = os.open(f"/proc/self/fd/{self._writer}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            for size in (4096, 1):
                with suppress(BlockingIOError):
                    while True:
                        os.write(descriptor, b"x" * size)
        finally:
            os.close(descriptor)

    def printed(self) -> bytes:
        return os.read(self._reader, 1024**2)

    def tell(self, command: Command) -> None:
        self._socket.sendall(encode(command))

    async def hear(self, kind: type[Report], event: str | None = None) -> Report:
        def read() -> Report:
            for report in self._reports:
                if isinstance(report, kind) and (event is None or report.event.type == event):
                    return report
            raise AssertionError("the worker has ended")

        return await to_thread.run_sync(read)

    def end(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()
        for descriptor in (self._reader, self._writer):
            os.close(descriptor)


@pytest.fixture
def raw_worker(whatsapp: WhatsAppServer) -> Iterator[RawWorker]:
    worker = RawWorker(dict(whatsapp.environment))
    yield worker
    worker.end()


async def test_a_full_pipe_does_not_stop_a_worker(
    whatsapp: WhatsAppServer, raw_worker: RawWorker, session: SessionFactory
) -> None:
    one, other = session(), whatsapp.contact(OTHER)
    async with whatsapp.driver(spare_timeout=0) as driver:
        await paired(one, driver, whatsapp)
    await raw_worker.hear(Hello)
    raw_worker.fill()
    start = Start(
        session="962302:main:1",
        database=quote(str(one.device.database)),
        inbox=str(one.device.inbox),
        inbox_max_bytes=1 << 20,
        device_name="raw",
    )
    raw_worker.tell(start)
    await raw_worker.hear(Happened, "link_up")
    phone = whatsapp.phone(OWN)
    phone.fail_send(479, times=2)
    for number, text in enumerate(["refused", "refused again", "arrives"]):
        request = SendText(to=f"{OTHER}@s.whatsapp.net", text=text)
        raw_worker.tell(Perform(call=number, session="962302:main:1", request=request))
        answer = await raw_worker.hear(Answer)
        assert isinstance(answer, Answer)
        assert (answer.call, answer.failure is None) == (number, text == "arrives")
    with anyio.fail_after(5):
        assert (await other.next_message()).text == "arrives"
    assert b"SendMessage" not in raw_worker.printed()
    phone.fail_send(479)
    raw_worker.tell(Perform(call=9, session="962302:main:1", request=request))
    await raw_worker.hear(Answer)
    assert b"SendMessage" in raw_worker.printed(), "Go does not print here any more: nothing was tested"
