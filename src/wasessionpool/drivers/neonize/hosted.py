"""One session inside a worker: its client's thread, what it received, and what it reports."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ...links import (
    DriverEvent,
    KeepAliveMissed,
    KeepAliveRestored,
    LinkEnded,
    LinkLost,
    LinkUp,
    PairingAccepted,
    PairingCodeOffered,
    PairingOffered,
)
from ...models import Contact, DisconnectReason
from . import convert
from .gate import Window
from .intake import Intake
from .lease import Lease
from .news import News
from .wire import Failure, Perform, Start

FIRST_CODE, NEXT_CODE = 60.0, 20.0
"""Seconds a code lives: whatsmeow shows the first of six for 60, any other for 20. neonize does not say how many the
server sent; WhatsApp sends six, and with fewer the first code's lifetime is said too long, never too short."""

ALL_CODES = FIRST_CODE + 5 * NEXT_CODE
"""Seconds until the last QR has expired and the line is closed; a code for typing in ends with them."""

LAST_CODE_SLACK = (-1.0, 2.0)
"""How far from its lifetime's end the last code is taken to have expired; else the line broke: both are ``timeout``.
Of a further code it may be any time later: on a line that lives another one would have followed."""

SERVER_FAULT = 5.0
"""Seconds for which a stream error explains the lost line that follows it."""

UNKNOWN_LOGOUT = 5
"""neonize's ``ConnectFailureReason`` for failure 406, which WhatsApp uses for banned accounts."""

LONGEST_BAN = 366 * 86400


class Hosted:
    """A session's state in the worker. Only the pump's thread calls ``interpret``."""

    def __init__(self, start: Start, credit: int) -> None:
        self.start = start
        self.key = start.session.encode()
        self.intake: Intake | None = None
        self.news = News(credit)
        self.window: Window | None = None
        self.started = threading.Event()
        self.lease: Lease | None = None
        self.stopping = threading.Event()
        self.returned = threading.Event()
        self.ended = False
        self.leaving = False
        self.over = False
        self.draw: Callable[[], bool] = lambda: False
        self.tell_news: Callable[[], bool] = lambda: False
        self.calls = 0
        self.waiting: deque[Perform] = deque()
        self.me = Contact(id="")
        self._push_name: str | None = None
        self._offers = 0
        self._offered_at = self._first_offered_at = 0.0
        self._fault_at = float("-inf")

    def interpret(self, name: str, event: Any) -> DriverEvent | None:
        """Say what neonize's ``event`` means for the link."""
        match name:
            case "Device":
                self.me = convert.contact(event.JID, event.LID)
                self._push_name = event.PushName or None
            case "PairStatus" if event.Status == event.SUCCESS:
                return PairingAccepted(jid=convert.jid(event.ID))
            case "PairStatus":
                return LinkEnded(reason=DisconnectReason.PAIRING_FAILED, detail=event.Error or None)
            case "Connected":
                return self._up()
            case "Disconnected":
                by_server = time.monotonic() - self._fault_at < SERVER_FAULT
                return LinkLost(reason=DisconnectReason.SERVER if by_server else DisconnectReason.NETWORK)
            case "StreamError":
                self._fault_at = time.monotonic()
            case "ConnectFailure":
                return LinkEnded(reason=DisconnectReason.SERVER, detail=f"login refused, reason {event.Reason}")
            case "TemporaryBan":
                until = datetime.now(UTC) + timedelta(seconds=min(max(event.Expire, 0), LONGEST_BAN))
                return LinkEnded(reason=DisconnectReason.TEMPORARILY_BANNED, detail=f"code {event.Code}", until=until)
            case "LoggedOut" if event.Reason == UNKNOWN_LOGOUT:
                return LinkEnded(reason=DisconnectReason.BANNED)
            case "LoggedOut":
                return LinkEnded(reason=DisconnectReason.LOGGED_OUT)
            case "StreamReplaced":
                return LinkEnded(reason=DisconnectReason.REPLACED)
            case "ClientOutdated":
                return LinkEnded(reason=DisconnectReason.OUTDATED)
            case "KeepAliveTimeout":
                answered_at = datetime.fromtimestamp(event.LastSuccess, UTC) if event.LastSuccess > 0 else None
                return KeepAliveMissed(failures=event.ErrorCount, answered_at=answered_at)
            case "KeepAliveRestored":
                return KeepAliveRestored()
        return None

    @property
    def wants_code(self) -> bool:
        """Whether a code for typing in is to be asked for now: the first QR shows that WhatsApp listens."""
        return self.start.pairing_number is not None and self._offers == 1

    def offered(self, code: str, at: float) -> DriverEvent | None:
        """Say what a QR code means, which the client showed at the monotonic time ``at``."""
        if not self.start.pairing:
            return LinkEnded(reason=DisconnectReason.LOGGED_OUT, detail="the device's keys are gone")
        lifetime = NEXT_CODE if self._offers else FIRST_CODE
        self._first_offered_at = self._first_offered_at if self._offers else at
        self._offers += 1
        self._offered_at = at
        if self.start.pairing_number is not None:
            return None
        return PairingOffered(text=code, lifetime=lifetime)

    def code_answered(self, outcome: str | Failure, at: float) -> DriverEvent:
        """Say what became of the question for a code to type in, which was answered at the monotonic time ``at``."""
        if isinstance(outcome, Failure):
            return LinkEnded(reason=DisconnectReason.PAIRING_FAILED, detail=f"no code: {outcome.detail}")
        return PairingCodeOffered(code=outcome, lifetime=max(0.0, self._first_offered_at + ALL_CODES - at))

    def pairing_ended(self, status: str, at: float) -> DriverEvent | None:
        """Say what the end of the codes means; a success is said by the pair event that follows."""
        if status == "success":
            return None
        if status == "err-client-outdated":
            return LinkEnded(reason=DisconnectReason.OUTDATED, detail=status)
        (early, late), past = LAST_CODE_SLACK, at - self._offered_at - NEXT_CODE
        if status == "timeout" and early <= past and (past <= late or self._offers > 1):
            return LinkEnded(reason=DisconnectReason.PAIRING_TIMEOUT, detail="the last code expired")
        detail = "the line broke" if status == "timeout" else status
        return LinkEnded(reason=DisconnectReason.PAIRING_FAILED, detail=detail)

    def _up(self) -> LinkUp:
        return LinkUp(
            jid=self.me.id,
            lid=self.me.lid,
            phone_number=self.me.phone_number or "",
            push_name=self._push_name,
        )
