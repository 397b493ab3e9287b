"""One worker process, as the pool sees it."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass

import anyio
from anyio.abc import ByteReceiveStream, Process

from ...errors import ConfigurationError, DriverError, SendTimeout, WhatsAppPoolError, WorkerCrashed
from ...links import DriverEvent, LinkDoubted, LinkEnded, LinkUp
from ...models import DisconnectReason, SessionKey, WorkerMetrics, WorkerRole
from .frame_socket import FrameSocket
from .quarantine import ABORTS
from .wire import (
    REPORTS,
    Answer,
    Command,
    FrameDecoder,
    FrameError,
    Happened,
    Hello,
    Log,
    Over,
    Perform,
    Quit,
    Refused,
    Report,
    Request,
    Running,
    SendText,
    Start,
    Stop,
    Stored,
    Vitals,
    encode,
)

logger = logging.getLogger("wasessionpool.worker")

START_TIMEOUT = 30.0
END_TIMEOUT = 2.0
LINE_LIMIT = 200
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "GOMAXPROCS": "8"}
"""What suits a worker, where the application's environment does not say otherwise.

By default glibc keeps memory apart for up to eight threads a processor; a worker has many that do little. Go runs as
many goroutines at once as there are processors, and for a while takes those that wait for SQLite to be running.
"""

LOOKS = 3
"""How often in a row nothing was heard of a worker that counts as frozen. A loop that was blocked looks but once, and
reads what waits in the socket before it looks again."""

CALLS_OPEN = 64
"""Calls of one session that a worker may owe an answer; it refuses some itself before, unless it is frozen."""

_CRASH = re.compile(r"(fatal error: |panic: |SIG[A-Z]+: |runtime: )")


@dataclass(frozen=True)
class Launch:
    """How every worker of a fleet is started.

    It tells its vitals each ``vitals_interval`` seconds, and is taken for frozen after ``silence_timeout`` without a
    word.
    """

    module: str
    environment: Mapping[str, str]
    vitals_interval: float
    silence_timeout: float


class Hosting:
    """A session's client on a worker. ``over`` is set once its database is free again."""

    def __init__(self, session: str, sink: Callable[[DriverEvent], None], stored: Callable[[], None]) -> None:
        company_id, device, _generation = session.split(":")
        self.session = session
        self.key = SessionKey(company_id, device)
        self.sink = sink
        self.stored = stored
        self.calls = 0
        self.starting = True
        self.running = anyio.Event()
        self.ended = anyio.Event()
        self.over = anyio.Event()

    def take(self, event: DriverEvent) -> None:
        """Pass on what happened, nothing after ``LinkEnded``."""
        if self.ended.is_set():
            return
        if isinstance(event, LinkEnded):
            self.ended.set()
            self.running.set()
        elif isinstance(event, LinkUp):
            self.starting = False
        self.sink(event)

    def finish(self) -> None:
        self.stored()
        self.running.set()
        self.ended.set()
        self.over.set()


class _Call:
    def __init__(self, session: str, request: Request) -> None:
        self.session = session
        self.request = request
        self.done = anyio.Event()
        self.answer: Answer | None = None
        self.error: WhatsAppPoolError | None = None


class WorkerProcess:
    """Runs the process in ``run``; speaks with it meanwhile.

    ``watch`` is called when it told its vitals. Where it aborted, ``judge`` is given what it hosted, and returns the
    sessions that are poisonous.
    """

    def __init__(
        self,
        role: WorkerRole,
        launch: Launch,
        *,
        watch: Callable[[], None],
        judge: Callable[[Collection[Hosting]], Collection[SessionKey]],
    ) -> None:
        self.role: WorkerRole = role
        self.starts = 0
        self.began = time.monotonic()
        self.vitals: Vitals | None = None
        self.late_answers = 0
        self.unknown_lines = 0
        self.gone = anyio.Event()
        self._launch = launch
        self._watch = watch
        self._judge = judge
        self._heard = False
        self._ready = anyio.Event()
        self._refusal: WhatsAppPoolError | None = None
        self._death: str | None = None
        self._quitting = False
        self._killed = False
        self._ending = False
        self._process: Process | None = None
        self._hostings: dict[str, Hosting] = {}
        self._calls: dict[int, _Call] = {}
        self._last_call = 0
        self._last_lines: deque[str] = deque(maxlen=5)
        self._crash: str | None = None
        self._line: FrameSocket | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        return not (self._quitting or self._killed or self._ending or self._refusal)

    @property
    def failed(self) -> bool:
        """Whether it ended, or is ending, without having been asked to."""
        return self._crash is not None or not (self._quitting or self._killed)

    def metrics(self) -> WorkerMetrics | None:
        """Say what it is and costs; ``None`` where there is no process."""
        if self.pid is None or self.gone.is_set():
            return None
        sessions = tuple(str(hosting.key) for hosting in self._hostings.values())
        measured = self.vitals.model_dump(include={"rss", "descriptors", "threads"}) if self.vitals else {}
        return WorkerMetrics(pid=self.pid, role=self.role, sessions=sessions, **measured)

    async def ready(self) -> None:
        """Wait until the worker can host sessions.

        Raises ``ConfigurationError`` or ``DriverError`` where this installation cannot have one, ``WorkerCrashed``
        where this one died.
        """
        await self._ready.wait()
        if self._refusal is not None:
            raise self._refusal
        if self._death is not None:
            raise WorkerCrashed(self._death)

    def host(self, start: Start, sink: Callable[[DriverEvent], None], stored: Callable[[], None]) -> Hosting:
        """Start a session, whose events go to ``sink``; ``stored`` is called when its inbox has more."""
        self.starts += 1
        hosting = self._hostings[start.session] = Hosting(start.session, sink, stored)
        if self.alive:
            self.send(start)
        else:
            self._bury(hosting)
        return hosting

    def stop(self, hosting: Hosting) -> None:
        """Ask for the end of a session, once; ``hosting.over`` tells when it has come."""
        if hosting.session in self._hostings:
            self.send(Stop(session=hosting.session))

    def send(self, command: Command) -> None:
        """Queue a command; raises ``DriverError`` where it is too long. One that reads none any more is killed."""
        if self._line is None:
            return
        try:
            self._line.send(encode(command))
        except FrameError as error:
            raise DriverError(str(error)) from None
        except anyio.WouldBlock:
            self._give_up("does not read")

    async def call(self, hosting: Hosting, request: Request) -> Answer:
        """Return the answer to ``request``, however long it takes; the caller sets the deadline.

        Where the worker dies or the session is over without one, raises ``SendTimeout`` for a send,
        ``WorkerCrashed`` or ``DriverError`` for anything else.
        """
        if hosting.session not in self._hostings or not self.alive:
            raise WorkerCrashed("the worker of this session has ended")
        if hosting.calls >= CALLS_OPEN:
            raise DriverError("too many calls of this session")
        hosting.calls += 1
        self._last_call += 1
        number = self._last_call
        call = self._calls[number] = _Call(hosting.session, request)
        try:
            self.send(Perform(call=number, session=hosting.session, request=request))
            await call.done.wait()
        finally:
            del self._calls[number]
            hosting.calls -= 1
        if call.answer is not None:
            return call.answer
        raise call.error or DriverError(f"{request.type} was not answered")

    def quit(self) -> None:
        """Ask the worker to stop its sessions and end."""
        if self.alive:
            self._quitting = True
            self.send(Quit())

    def kill(self) -> None:
        """End the process at once."""
        self._killed = True
        self._signal(signal.SIGKILL)

    def _give_up(self, why: str) -> None:
        logger.error("worker %s %s: it is killed", self.pid, why)
        self._crash = self._crash or why
        self.kill()

    async def run(self) -> None:
        """Run the process until it ends or this is cancelled; leaves neither process nor descriptor behind."""
        try:
            line = self._line = await self._spawn()
            if self._killed:
                self._signal(signal.SIGKILL)
            elif self._quitting:
                self.send(Quit())
            await self._converse(line)
        except Exception as error:
            # One worker's fault must not end the driver's others.
            logger.exception("worker %s", self.pid)
            self._death = f"the worker cannot run: {type(error).__name__}: {error}"
        finally:
            with anyio.CancelScope(shield=True):
                await self._reap()
            self._close()

    async def _spawn(self) -> FrameSocket:
        command = [sys.executable, "-m", self._launch.module, f"{self._launch.vitals_interval:g}"]
        ours, theirs = socket.socketpair()
        with theirs, anyio.CancelScope(shield=True):
            try:
                self._process = await anyio.open_process(
                    [*command, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env={**ENVIRONMENT, **os.environ, **self._launch.environment},
                    pass_fds=(theirs.fileno(),),
                )
            except BaseException:
                ours.close()
                raise
        return FrameSocket(ours)

    async def _converse(self, line: FrameSocket) -> None:
        decoder = FrameDecoder[Report](REPORTS)

        def take(data: bytes) -> None:
            self._heard = True
            for report in decoder.feed(data):
                if isinstance(report, Hello):
                    starting.deadline = float("inf")
                self._take(report)

        with anyio.CancelScope() as starting:
            starting.deadline = anyio.current_time() + START_TIMEOUT
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(line.drain)
                tasks.start_soon(self._watch_output)
                # Not from `take`: it may run in a callback of the loop, where no task can be started.
                tasks.start_soon(self._watch_silence)
                try:
                    await line.receive(take)
                except FrameError as error:
                    self._crash = f"protocol error: {error}"
                tasks.cancel_scope.cancel()
        if starting.cancelled_caught and not self._ready.is_set():
            self._crash = f"not ready within {START_TIMEOUT:g} s"

    async def _watch_silence(self) -> None:
        await self._ready.wait()
        silent = 0
        while silent < LOOKS:
            self._heard = False
            await anyio.sleep(self._launch.silence_timeout / LOOKS)
            silent = 0 if self._heard else silent + 1
            if silent:
                for hosting in tuple(self._hostings.values()):
                    hosting.take(LinkDoubted(detail="its worker is silent"))
        self._give_up(f"said nothing for {self._launch.silence_timeout:g} s")

    def _take(self, report: Report) -> None:
        match report:
            case Hello():
                self._ready.set()
            case Refused() if self._ready.is_set():
                self._crash = report.detail
            case Refused(kind="configuration"):
                self._refusal = ConfigurationError(report.detail)
            case Refused():
                self._refusal = DriverError(report.detail)
            case Vitals():
                self.vitals = report
                self._watch()
            case Log():
                logger.log(report.level, "worker %s: %s", self.pid, report.text)
            case Answer():
                self._settle(report)
            case Happened() | Running() | Stored() | Over():
                hosting = self._hostings.get(report.session)
                if hosting is not None:
                    self._pass_on(hosting, report)

    def _pass_on(self, hosting: Hosting, report: Happened | Running | Stored | Over) -> None:
        match report:
            case Happened():
                hosting.take(report.event)
            case Running():
                hosting.running.set()
            case Stored():
                hosting.stored()
            case Over():
                del self._hostings[hosting.session]
                self._fail_calls(hosting.session, DriverError("the session ended first"))
                hosting.finish()

    def _settle(self, answer: Answer) -> None:
        call = self._calls.get(answer.call)
        if call is None:
            self.late_answers += 1
            logger.info("worker %s: an answer came that nobody waited for, %s so far", self.pid, self.late_answers)
            return
        call.answer = answer
        call.done.set()

    async def _watch_output(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        async for line in _lines(self._process.stdout):
            if not self._ready.is_set():
                self._last_lines.append(line)
            elif crash := _CRASH.match(line):
                self._crash = self._crash or line
                logger.error("worker %s: %s", self.pid, line if crash[1] != "runtime: " else "runtime error")
            else:
                # Go prints errors of sends and libsignal's complaints here, with pieces of messages in them.
                self.unknown_lines += 1

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return

    async def _reap(self) -> None:
        self._ending = True
        if self._line is not None:
            # A worker ends by itself, within milliseconds, once its socket has no other end.
            self._line.close()
            self._line = None
        if self._process is not None:
            with anyio.move_on_after(END_TIMEOUT):
                await self._process.wait()
            self._signal(signal.SIGKILL)
            await self._process.wait()
            with anyio.move_on_after(END_TIMEOUT):
                await self._watch_output()
            await self._process.aclose()

    def _close(self) -> None:
        if self._death is None:
            self._death = self._describe_death()
        level = logging.DEBUG if self._quitting or self._killed else logging.ERROR
        logger.log(
            level,
            "worker %s ended: %s; %s lines of its output were not shown, %s answers came late",
            *(self.pid, self._death, self.unknown_lines, self.late_answers),
        )
        hostings = tuple(self._hostings.values())
        aborted = self._process is not None and self._process.returncode in ABORTS
        poisonous = self._judge(hostings) if aborted and hostings and not self._quitting else ()
        for hosting in hostings:
            self._bury(hosting, poisonous=hosting.key in poisonous)
        self._ready.set()
        self.gone.set()

    def _fail_calls(self, session: str, error: WhatsAppPoolError) -> None:
        for call in self._calls.values():
            if call.session == session and not call.done.is_set():
                call.error = SendTimeout(error.message) if isinstance(call.request, SendText) else error
                call.done.set()

    def _bury(self, hosting: Hosting, *, poisonous: bool = False) -> None:
        self._hostings.pop(hosting.session, None)
        death = self._death or "it is ending"
        self._fail_calls(hosting.session, WorkerCrashed(f"the worker died: {death}"))
        reason = DisconnectReason.SHUTDOWN if self._quitting else DisconnectReason.WORKER_CRASHED
        if poisonous:
            reason = DisconnectReason.POISONED
        hosting.take(LinkEnded(reason=reason, detail=death))
        hosting.finish()

    def _describe_death(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is not None and code < 0:
            names = {int(number): number.name for number in signal.Signals}
            death = f"signal {-code} ({names.get(-code, 'unknown')})"
        else:
            death = f"exit status {code}"
        said = self._crash or ("; ".join(self._last_lines) if not self._ready.is_set() else None)
        return f"{death}: {said}" if said else death


async def _lines(stream: ByteReceiveStream) -> AsyncIterator[str]:
    rest = b""
    while True:
        try:
            data = await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line[:LINE_LIMIT].decode(errors="replace")
        rest = rest[:LINE_LIMIT]
    if rest:
        yield rest.decode(errors="replace")
