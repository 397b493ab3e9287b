"""Runs sessions in the Go library: their threads, their calls, and what they report."""

from __future__ import annotations

import ctypes
import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from ...links import (
    DriverEvent,
    LinkEnded,
    NoticesReceived,
    PresenceChanged,
    ReceiptsReceived,
    TypingChanged,
)
from ...models import Contact, DisconnectReason
from ...operations import CheckNumbers, LogOut, MarkRead, React, ShowTyping
from . import convert, texts
from .binding import EVENT_CODES, Binding
from .gate import SETTLE, Gate
from .hosted import Hosted
from .inbox import InboxWriter
from .intake import BATCH, Intake
from .lease import Lease
from .library import Library
from .notices import NAMES, notices
from .pump import Pump
from .wire import (
    Answer,
    Credit,
    Failure,
    FrameError,
    Happened,
    Log,
    Over,
    Perform,
    Probe,
    Registered,
    Report,
    Running,
    SendText,
    Sent,
    Start,
    Stored,
)

CREDIT = 32
"""News that a session tells before the application has taken the first."""

LAST_ACK = 0.1
"""Seconds for whatsmeow to acknowledge what ended the pump, which would end the next one too. What else comes meanwhile
is lost, so they are few."""

QUIET, QUIET_LIMIT = 0.1, 30.0
"""Seconds without a message after which a closed line has told all it had acknowledged, and the most to wait for it:
some hundred may be on their way, and a busy disk takes its time for each."""

CALLS_AT_ONCE = 3
"""Calls of one session inside Go at a time: a send and a probe that hang do not keep a log-out from it."""

CALLS_WAITING = 16
LEASE_TIMEOUT = 10.0
"""Seconds to wait for a killed application's worker, which has the device open until it is gone."""

STOP_WINDOW = 1.0
ABANDON = 5.0
"""Seconds after which a stopped client that has not returned is left behind: one without keys never does, but it
has closed its line and no longer touches its database."""

OPEN_LIMIT = 35.0
"""Seconds in which a client has opened its database or given up (``library.py`` lets it wait for 30); until then
nothing can stop it, and its line would replace that of the next one."""

SESSION_STACK = 256 * 1024
_MESSAGE, _RECEIPT = EVENT_CODES["Message"], EVENT_CODES["Receipt"]
_PRESENCE, _TYPING = EVENT_CODES["Presence"], EVENT_CODES["ChatPresence"]
_NOTICES = frozenset(EVENT_CODES[name] for name in NAMES)
_NAMES = {code: name for name, code in EVENT_CODES.items()}
T = TypeVar("T")
_forever: list[object] = []
"""The callbacks handed to Go, whose goroutines may use them as long as the process lives."""


class Engine:
    """Every session of this worker. ``report`` is called from several threads."""

    def __init__(
        self,
        binding: Binding,
        report: Callable[[Report], None],
        *,
        check_proxy: Callable[[str | None], None] | None = None,
    ) -> None:
        self._binding = binding
        self._report = report
        self._check_proxy = check_proxy
        self._gate = Gate()
        self._hosted: dict[str, Hosted] = {}
        self._live: dict[bytes, Hosted] = {}
        self._counts: Counter[str] = Counter()
        self._scheduling = threading.Lock()
        self._library = Library(binding)
        self._callbacks = self._library.callbacks(self._on_qr, self._on_status, self._on_event, self._on_log)
        _forever.append(self._callbacks)
        self._pump = Pump(lambda error: self._count(f"faults of the pump: {type(error).__name__}", logging.ERROR))
        self._last_resort = Pump(lambda error: self._count(f"faults of stops: {type(error).__name__}", logging.ERROR))

    def start(self, start: Start) -> None:
        """Host a session, on a thread of its own: ``Neonize`` blocks for as long as the session lives.

        A second client under one id would live on where none could stop it, so an id that is in use is refused.
        """
        if start.session in self._hosted:
            self._count("starts of a session that runs", logging.ERROR)
            return
        session = self._hosted[start.session] = Hosted(start, CREDIT)
        session.draw, session.tell_news = partial(self._draw, session), partial(self._tell_news, session)
        usual = threading.stack_size(SESSION_STACK)
        try:
            threading.Thread(target=self._run, args=(session,), name=start.session, daemon=True).start()
        except RuntimeError as error:
            # The end of this session alone: the others have their threads.
            session.stopping.set()
            session.returned.set()
            session.started.set()
            ended = LinkEnded(reason=DisconnectReason.WORKER_CRASHED, detail=f"the worker is at a limit: {error}")
            self._pump.put(partial(self._say, session, ended))
            self._leave(session)
        finally:
            threading.stack_size(usual)

    def stop(self, name: str) -> None:
        """End a session; ``Over`` is reported once its database is free. An unknown one is over already."""
        session = self._hosted.get(name)
        if session is None:
            self._report(Over(session=name))
        else:
            self._stop(session)

    def stop_all(self, timeout: float) -> None:
        """End every session and wait until they are over, at most ``timeout`` seconds."""
        sessions = list(self._hosted.values())
        for session in sessions:
            self._stop(session)
        deadline = time.monotonic() + timeout
        for session in sessions:
            session.returned.wait(max(0.0, deadline - time.monotonic()))

    def part(self, timeout: float) -> None:
        """Close every line and store what was acknowledged on it, within ``timeout`` seconds, whatever Go is doing."""
        sessions = list(self._hosted.values())
        for session in sessions:
            session.stopping.set()
        deadline = time.monotonic() + timeout
        parting = []
        for session in sessions:
            thread = threading.Thread(target=self._quieten, args=(session,), name="parting", daemon=True)
            # Who gets none loses what was to come; the others do not.
            with suppress(RuntimeError):
                thread.start()
                parting.append(thread)
        for thread in parting:
            thread.join(max(0.0, deadline - time.monotonic()))

    def credit(self, credit: Credit) -> None:
        """Let a session tell more news."""
        if session := self._hosted.get(credit.session):
            session.news.grant(credit.news)
            self._pump.draw_later(session.tell_news)

    def admit(self, call: Perform) -> Callable[[], None] | None:
        """Take a call, whose answer is reported; what is returned does it, and may hang for as long as Go does.

        Nothing is returned where the session's earlier calls come first, or where it was refused.
        """
        session = self._hosted.get(call.session)
        if session is None:
            self._report(Answer(call=call.call, failure=Failure(kind="not_connected", detail="no such session")))
            return None
        with self._scheduling:
            if session.calls < CALLS_AT_ONCE:
                session.calls += 1
                return partial(self._perform, session, call)
            if len(session.waiting) < CALLS_WAITING:
                session.waiting.append(call)
                return None
        self._report(Answer(call=call.call, failure=Failure(kind="failed", detail="too many calls of this session")))
        return None

    def _on_event(self, key: bytes, address: int, size: int, code: int) -> None:
        session = self._hosted.get(key.decode())
        if session is None:
            self._count("events after a session's end")
            return
        self._has_started(session)
        data = ctypes.string_at(address, size) if size else b""
        if code == _MESSAGE:
            self._keep(session, data)
        elif code == _RECEIPT:
            session.news.put_receipt(data)
            self._pump.draw_later(session.tell_news)
        elif code in _NOTICES:
            session.news.put_notice(code, data)
            self._pump.draw_later(session.tell_news)
        elif code in (_PRESENCE, _TYPING):
            session.news.put_presence(code, data)
            self._pump.draw_later(session.tell_news)
        else:
            self._pump.put(partial(self._take, session, code, data))

    def _keep(self, session: Hosted, data: bytes) -> None:
        if session.intake is not None and not session.intake.keep(data):
            self._count("messages that could not be stored before the session's stop", logging.ERROR)

    def _on_qr(self, key: int, address: int) -> None:
        if session := self._live.get(ctypes.string_at(key)):
            self._has_started(session)
            code, now = ctypes.string_at(address).decode(), time.monotonic()
            self._pump.put(lambda: self._offer(session, code, now))

    def _on_status(self, key: int, address: int) -> None:
        if session := self._live.get(ctypes.string_at(key)):
            self._has_started(session)
            status, now = ctypes.string_at(address).decode(), time.monotonic()
            self._pump.put(lambda: self._say(session, session.pairing_ended(status, now)))

    def _on_log(self, address: int, size: int) -> None:
        # Go's log lines hold phone numbers and message ids: they are counted by their source, never passed on.
        data = ctypes.string_at(address, size) if address and size > 0 else b""
        self._pump.put(lambda: self._count_log(data))

    def _offer(self, session: Hosted, code: str, at: float) -> None:
        self._say(session, session.offered(code, at))
        if session.wants_code:
            # WhatsApp may take up to 75 s to answer.
            asking = threading.Thread(target=self._ask_for_code, args=(session,), name="pairing code", daemon=True)
            try:
                asking.start()
            except RuntimeError as error:
                failure = Failure(kind="failed", detail=f"the worker is at a limit: {error}")
                self._say(session, session.code_answered(failure, time.monotonic()))

    def _ask_for_code(self, session: Hosted) -> None:
        outcome: str | Failure = Failure(kind="not_connected", detail="the session has ended")
        try:
            with self._gate.call():
                if session.key in self._live:
                    outcome = self._library.pair_phone(session.key, session.start.pairing_number or "")
        except Exception as error:  # noqa: BLE001 - the pairing must end with a reason, whatever happened
            outcome = Failure(kind="failed", detail=type(error).__name__)
        answered = session.code_answered(outcome, time.monotonic())
        self._pump.put(lambda: self._say(session, answered))

    def _has_started(self, session: Hosted) -> None:
        session.started.set()
        if session.window is not None:
            session.window.close()
            session.window = None

    def _take(self, session: Hosted, code: int, data: bytes) -> None:
        name = _NAMES.get(code)
        if name is None:
            self._count("unknown events")
            return
        if name == "Device":
            self._report(Running(session=session.start.session))
        self._say(session, session.interpret(name, getattr(self._binding.events, name).FromString(data)))
        if name == "Device":
            # What an earlier worker left could not be read before it was known whose device this is.
            self._pump.draw(session.draw)

    def _draw(self, session: Hosted) -> bool:
        """Pass on some of the messages that a session received; returns whether there are more."""
        more = self._convert(session)
        if session.leaving and not more:
            self._close(session)
        return more

    def _convert(self, session: Hosted) -> bool:
        if session.intake is None or not session.me.id or session.over:
            return False
        if count := session.intake.convert():
            self._report(Stored(session=session.start.session))
        return count == BATCH

    def _tell_news(self, session: Hosted) -> bool:
        """Tell what there is a credit for; more is drawn when there are more of them."""
        while True:
            receipts, missed = session.news.take_receipts()
            if not receipts:
                break
            read = (self._read(convert.receipt, session, _RECEIPT, data) for data in receipts)
            known = tuple(receipt for receipt in read if receipt is not None)
            self._say(session, ReceiptsReceived(receipts=known, missed=missed))
        while told := session.news.take_notice():
            code, data, missed = told
            found = self._read(partial(notices, _NAMES[code]), session, code, data)
            self._say(session, NoticesReceived(notices=tuple(found or ()), missed=missed))
        while told := session.news.take_presence():
            code, data, missed = told
            if code == _PRESENCE and (presence := self._read(convert.presence, session, code, data)):
                self._say(session, PresenceChanged(presence=presence, missed=missed))
            elif code == _TYPING and (typing := self._read(convert.typing, session, code, data)):
                self._say(session, TypingChanged(typing=typing, missed=missed))
        return False

    def _read(self, read: Callable[[Any, Contact], T | None], session: Hosted, code: int, data: bytes) -> T | None:
        try:
            return read(getattr(self._binding.events, _NAMES[code]).FromString(data), session.me)
        except Exception as error:  # noqa: BLE001 - whatever a stranger sends, the next is read
            self._count(f"{_NAMES[code]} not understood: {type(error).__name__}", logging.WARNING)
            return None

    def _say(self, session: Hosted, event: DriverEvent | None) -> None:
        if event is None or session.ended or session.over:
            return
        if isinstance(event, LinkEnded):
            self._tell_news(session)
            self._tell(session, event)
            session.ended = True
            self._stop(session)
        else:
            self._tell(session, event)

    def _tell(self, session: Hosted, event: DriverEvent) -> None:
        try:
            self._report(Happened(session=session.start.session, event=event))
        except FrameError:
            self._count(f"too long: {event.type}", logging.WARNING)

    def _run(self, session: Hosted) -> None:
        try:
            ended = self._host(session)
        except OSError as error:
            ended = LinkEnded(reason=DisconnectReason.STORAGE, detail=f"{type(error).__name__}: {error.strerror}")
        except Exception as error:  # noqa: BLE001 - the session must end with a reason, whatever happened
            ended = LinkEnded(reason=DisconnectReason.PUMP_DEAD, detail=f"{type(error).__name__}: {error}")
        if ended is not None and ended.reason is DisconnectReason.PUMP_DEAD:
            session.stopping.wait(LAST_ACK)
        if not session.stopping.is_set():
            self._pump.put(partial(self._say, session, ended))
        # It may have returned by itself, with its line still open, or have come up only after it was stopped.
        self._disconnect(session)
        self._stop_client(session)
        session.returned.set()
        session.started.set()
        self._leave(session)

    def _host(self, session: Hosted) -> LinkEnded | None:
        start = session.start
        directory = Path(unquote_to_bytes(start.database).decode(errors="surrogateescape")).parent
        session.lease = Lease.take(directory, LEASE_TIMEOUT, session.stopping)
        if session.lease is None:
            # The pool owns the session, so it is a worker that its last owner left behind.
            return LinkEnded(reason=DisconnectReason.WORKER_CRASHED, detail="another process has the device open")
        try:
            inbox = InboxWriter(Path(start.inbox), start.inbox_max_bytes)
        except sqlite3.Error as error:
            return LinkEnded(reason=DisconnectReason.STORAGE, detail=f"the inbox cannot be opened: {error}")
        session.intake = Intake(
            inbox,
            self._pump,
            draw=session.draw,
            read=lambda data: self._read(convert.message, session, _MESSAGE, data),
            blocked=partial(self._say, session),
            stopping=session.stopping,
        )
        if self._check_proxy is not None:
            try:
                self._check_proxy(start.proxy)
            except ValueError as error:
                return LinkEnded(reason=DisconnectReason.NETWORK, detail=f"the proxy is refused: {error}")
        window = self._gate.open_window(SETTLE)
        try:
            if session.stopping.is_set():
                return None
            session.window = window
            self._live[session.key] = session
            text = self._library.run(start, session.key, self._callbacks)
        finally:
            window.close()
        return texts.ending(text, datetime.now(UTC))

    def _leave(self, session: Hosted) -> None:
        session.leaving = True
        self._pump.draw(session.draw)

    def _close(self, session: Hosted) -> None:
        # Again once a client that was left behind has returned: what it took meanwhile is given back, too.
        if session.intake is not None:
            session.intake.close()
        if session.lease is not None:
            session.lease.release()
        if session.over:
            return
        session.over = True
        del self._hosted[session.start.session]
        self._report(Over(session=session.start.session))

    def _stop(self, session: Hosted) -> None:
        with self._scheduling:
            if session.stopping.is_set():
                return
            session.stopping.set()
        try:
            threading.Thread(target=self._end, args=(session,), name="stop", daemon=True).start()
        except RuntimeError:
            # A thread that there is, which ends them one after another.
            self._last_resort.put(partial(self._end, session))

    def _end(self, session: Hosted) -> None:
        early = not session.started.is_set()
        self._quieten(session)
        # One without keys is there, and never says so.
        early = early and not self._has_opened(session)
        self._stop_client(session)
        if early and session.started.wait(OPEN_LIMIT) and not session.returned.is_set():
            # It may have been stopped before it was there to be.
            self._quieten(session)
            self._stop_client(session)
        if not session.returned.wait(ABANDON):
            self._count("clients left behind", logging.WARNING)
            self._leave(session)

    def _quieten(self, session: Hosted) -> None:
        """Close the line, and wait until what whatsmeow had acknowledged on it has come."""
        self._disconnect(session)
        if session.intake is None or not session.me.id:
            return
        # Also what it acknowledged a moment ago may be on its way.
        closed_at = time.monotonic()
        while (now := time.monotonic()) - closed_at <= QUIET_LIMIT:
            last = max(session.intake.stored_at, closed_at)
            if last + QUIET <= now or session.returned.wait(last + QUIET - now):
                return

    def _disconnect(self, session: Hosted) -> None:
        # This and Stop wait for a dial that hangs, up to a minute. Disconnect only reads Go's maps, so it does that
        # waiting outside a window; Stop, which writes them, then returns at once.
        with self._gate.call():
            self._library.disconnect(session.key)

    def _has_opened(self, session: Hosted) -> bool:
        # A question, which a closed line answers at once.
        with self._gate.call():
            return session.key in self._live and self._library.has_opened(session.key)

    def _stop_client(self, session: Hosted) -> None:
        with self._gate.window(STOP_WINDOW):
            self._live.pop(session.key, None)
            self._library.stop(session.key)

    def _perform(self, session: Hosted, call: Perform) -> None:
        while True:
            try:
                answer = self._answer(session, call)
            except Exception as error:  # noqa: BLE001 - the caller gets an answer, whatever happened
                kind = "timeout" if isinstance(call.request, SendText) else "failed"
                failure = Failure.model_validate({"kind": kind, "detail": type(error).__name__})
                answer = Answer(call=call.call, failure=failure)
            self._report(answer)
            if isinstance(call.request, LogOut) and answer.failure is None:
                # whatsmeow says nothing when it logged out by itself.
                ended = LinkEnded(reason=DisconnectReason.LOGGED_OUT, detail="requested")
                self._pump.put(partial(self._say, session, ended))
            with self._scheduling:
                if not session.waiting:
                    session.calls -= 1
                    return
                call = session.waiting.popleft()

    def _answer(self, session: Hosted, call: Perform) -> Answer:
        library, request = self._library, call.request
        with self._gate.call():
            if session.key not in self._live:
                return Answer(call=call.call, failure=Failure(kind="not_connected", detail="the session has ended"))
            match request:
                case SendText():
                    outcome: Sent | Registered | Failure | None = library.send(session.key, request)
                case Probe():
                    outcome = library.probe(session.key)
                case React():
                    outcome = library.react(session.key, request)
                case ShowTyping():
                    outcome = library.show_typing(session.key, request)
                case CheckNumbers():
                    outcome = library.check_numbers(session.key, request)
                case MarkRead():
                    outcome = library.mark_read(session.key, request)
                case LogOut():
                    outcome = library.log_out(session.key)
        if isinstance(outcome, Failure):
            return Answer(call=call.call, failure=outcome)
        if isinstance(outcome, Registered):
            return Answer(call=call.call, registered=outcome)
        return Answer(call=call.call, sent=outcome)

    def _count_log(self, data: bytes) -> None:
        entry = self._binding.events.LogEntry.FromString(data)
        self._count(f"{entry.Level} lines of {entry.Name}"[:80], logging.DEBUG)

    def _count(self, what: str, level: int = logging.INFO) -> None:
        self._counts[what] += 1
        times = self._counts[what]
        if times & (times - 1) == 0:
            self._report(Log(level=level, text=f"{what}: {times} so far"))
