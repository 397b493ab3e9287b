"""What a worker does with what it should never be told, and how it keeps to itself; frames by hand, no driver."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wasessionpool.drivers.neonize.database import uri_path
from wasessionpool.drivers.neonize.wire import MAX_FRAME, Answer, Log, Over, Perform, Refused, SendText, Start, Stop
from wasessionpool.drivers.neonize.worker import DESCRIPTORS
from wasessionpool.links import LinkEnded, LinkUp, PairingOffered
from wasessionpool.models import DisconnectReason
from wasessionpool.operations import CheckNumbers, LogOut, MarkRead, React, ShowTyping
from wasessionpool.testing.whatsapp.server import WORKER_MODULE, WhatsAppServer

from .conftest import NOWHERE
from .raw_worker import RawWorker, ready_worker

pytestmark = pytest.mark.anyio

JID = "79001234567@s.whatsapp.net"
REQUESTS = [
    SendText(to=JID, text="x"),
    MarkRead(message_ids=("1",), chat=JID, sender=JID),
    React(message_id="1", emoji="x", chat=JID, sender=JID),
    ShowTyping(chat=JID, state="paused"),
    CheckNumbers(numbers=("79001234567",)),
    LogOut(),
]


def start(directory: Path, session: str, *, name: str = "wasessionpool", pairing: bool = True) -> Start:
    path = directory / session.replace(":", "-")
    path.mkdir(exist_ok=True)
    return Start(
        session=session,
        database=uri_path(path / "device.db"),
        inbox=str(path / "inbox"),
        inbox_max_bytes=1 << 20,
        device_name=name,
        pairing=pairing,
    )


@pytest.fixture
async def worker() -> AsyncIterator[RawWorker]:
    async with ready_worker(NOWHERE) as worker:
        yield worker


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppServer]:
    async with WhatsAppServer() as server:
        yield server


@pytest.fixture
async def hosting(whatsapp: WhatsAppServer) -> AsyncIterator[RawWorker]:
    """A worker that reaches the loopback WhatsApp."""
    async with ready_worker(whatsapp.environment, WORKER_MODULE) as worker:
        yield worker


async def test_calls_on_sessions_that_are_not_live_never_reach_go(worker: RawWorker, tmp_path: Path) -> None:
    ended = "a:main:1"
    await worker.say(start(tmp_path, ended))
    assert (await worker.event(ended, LinkEnded)).reason is DisconnectReason.NETWORK
    await worker.hear(Over)
    for session in (ended, "never:main:1", "", "é\x00", "%s%n"):
        for request in REQUESTS:
            answer = await worker.ask(session, request)
            assert answer.failure is not None
            # What Go itself would say is "client is nil".
            assert (answer.failure.kind, answer.failure.detail) == ("not_connected", "no such session")
        await worker.say(Stop(session=session))
        assert (await worker.hear(Over)).session == session
    assert worker.process.returncode is None


async def test_an_operation_that_is_unknown_is_answered_with_a_failure(worker: RawWorker) -> None:
    perform = {"type": "perform", "session": "a:main:1"}
    read = {"type": "mark_read", "message_ids": ["1"], "chat": JID, "sender": JID}
    typing = {"type": "show_typing", "chat": JID, "state": 2}
    unknown = [{"type": "get_me"}, {"type": "stop_all"}, read | {"receipt": 99}, typing, typing | {"state": "x"}, None]
    for call, request in enumerate(unknown, 1):
        await worker.say(json.dumps(perform | {"call": call, "request": request}).encode())
        answer = await worker.hear(Answer)
        assert answer.failure is not None
        assert (answer.call, answer.failure.kind) == (call, "failed")
    assert worker.process.returncode is None


async def test_a_frame_that_is_unknown_costs_no_other(worker: RawWorker) -> None:
    known = Perform(call=1, session="a:main:1", request=LogOut())
    for body in (b"", b"nonsense", b'{"type":"reboot"}', b'{"call":"1"}', b'{"call":true}', b"[]"):
        await worker.say(body)
        await worker.say(known)
        log = await worker.hear(Log)
        assert (log.level, log.text.startswith("a frame is not understood")) == (logging.ERROR, True)
        assert (await worker.hear(Answer)).call == 1


async def test_a_length_that_cannot_be_ends_the_worker(worker: RawWorker) -> None:
    await worker._stream.send((MAX_FRAME + 1).to_bytes(4))
    assert "claims" in (await worker.hear(Refused)).detail
    assert await worker.process.wait() == 1


async def test_addresses_that_are_none_harm_nobody(
    whatsapp: WhatsAppServer, hosting: RawWorker, tmp_path: Path
) -> None:
    session = "a:main:1"
    await hosting.say(start(tmp_path, session))
    await whatsapp.phone("79001234567").scan((await hosting.event(session, PairingOffered)).text)
    await hosting.event(session, LinkUp)
    for address in ("", "@", "@s.whatsapp.net", "x@y@z", "\x00", "1" * 10_000, "1@nowhere"):
        answer = await hosting.ask(session, SendText(to=address, text="x"))
        assert answer.failure is not None, address
    whatsapp.contact("79007654321")
    assert (await hosting.ask(session, SendText(to="79007654321@s.whatsapp.net", text="x"))).sent is not None


async def test_an_id_that_runs_is_not_started_twice(
    whatsapp: WhatsAppServer, hosting: RawWorker, tmp_path: Path
) -> None:
    first, second = start(tmp_path, "a:main:1"), start(tmp_path, "other")
    await hosting.say(first)
    await hosting.event("a:main:1", PairingOffered)
    await hosting.say(second.model_copy(update={"session": "a:main:1"}))
    assert (await hosting.hear(Log)).text == "starts of a session that runs: 1 so far"
    await hosting.say(second.model_copy(update={"session": "b:main:1"}))
    await hosting.event("b:main:1", PairingOffered)
    assert whatsapp.connections_accepted == 2


async def test_a_device_without_a_row_ends_its_session_alone(
    whatsapp: WhatsAppServer, hosting: RawWorker, tmp_path: Path
) -> None:
    await hosting.say(start(tmp_path, "a:main:1", pairing=False))
    ended = await hosting.event("a:main:1", LinkEnded)
    assert (ended.reason, ended.detail) == (DisconnectReason.LOGGED_OUT, "the device's keys are gone")
    await hosting.say(start(tmp_path, "b:main:1"))
    await hosting.event("b:main:1", PairingOffered)


async def test_devices_in_one_worker_keep_their_names(
    whatsapp: WhatsAppServer, hosting: RawWorker, tmp_path: Path
) -> None:
    names = {"79001234561": "Anna's shop", "79001234562": "", "79001234563": "Иван"}
    codes = {}
    for number, name in names.items():
        await hosting.say(start(tmp_path, number, name=name))
        codes[number] = (await hosting.event(number, PairingOffered)).text
    for number, name in names.items():
        assert (await whatsapp.phone(number).scan(codes[number])).os == name


async def test_two_workers_never_open_one_database(
    whatsapp: WhatsAppServer, hosting: RawWorker, tmp_path: Path
) -> None:
    session = start(tmp_path, "a:main:1")
    await hosting.say(session)
    await hosting.event("a:main:1", PairingOffered)
    async with ready_worker(whatsapp.environment, WORKER_MODULE) as second:
        await second.say(session)
        assert (await second.event("a:main:1", LinkEnded)).reason is DisconnectReason.WORKER_CRASHED
        await second.hear(Over)
        assert whatsapp.connections_accepted == 1
        hosting.process.kill()
        await second.say(session)
        await second.event("a:main:1", PairingOffered)


async def test_sends_that_hang_keep_no_other_session_from_sending_or_stopping(
    whatsapp: WhatsAppServer, hosting: RawWorker, tmp_path: Path
) -> None:
    numbers = [f"7900000000{number}" for number in range(8)]
    other = whatsapp.contact("79007654321")
    for number in numbers:
        await hosting.say(start(tmp_path, number))
        await whatsapp.phone(number).scan((await hosting.event(number, PairingOffered)).text)
        await hosting.event(number, LinkUp)
    *stuck, free = numbers
    request = SendText(to="79007654321@s.whatsapp.net", text="x")
    for call, number in enumerate([*stuck, *stuck], 1000):
        whatsapp.phone(number).withhold_acks()
        await hosting.say(Perform(call=call, session=number, request=request))
    for _ in stuck:
        await other.next_message()
    assert (await hosting.ask(free, request)).sent is not None
    for number in stuck:
        await hosting.say(Stop(session=number))
        await hosting.hear(Over, lambda over, number=number: over.session == number)
    assert not [report for report in hosting.unclaimed if isinstance(report, Log) and "left behind" in report.text]


async def test_a_worker_may_open_as_much_as_the_system_allows() -> None:
    usual, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        async with ready_worker(NOWHERE) as worker:
            soft, _ = resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, hard))
    assert soft == (DESCRIPTORS if hard == resource.RLIM_INFINITY else hard)


async def test_signals_of_the_application_are_ignored(worker: RawWorker) -> None:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    [mask] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn")]
    assert all(mask >> number - 1 & 1 for number in (signal.SIGINT, signal.SIGTERM))


async def test_faulthandler_leaves_gos_signals_alone() -> None:
    async with ready_worker(NOWHERE | {"PYTHONFAULTHANDLER": "1"}) as worker:
        os.kill(worker.process.pid, signal.SIGSEGV)
        died, output = await worker.process.wait(), await worker.output()
        # Where the signal reaches one of Go's threads, Go tells of it and aborts.
        assert (died, output) == (-signal.SIGSEGV, "") or (died == -signal.SIGABRT and "SIGSEGV: " in output), output
        assert "Fatal Python error" not in output
