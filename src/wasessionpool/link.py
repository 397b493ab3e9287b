"""One link of a session, from its start to its end: what it reports, and how long that is waited for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from .abc import Connection
from .backends import Backends
from .drops import WINDOW
from .errors import ClientOutdated, StorageError, WhatsAppPoolError
from .events import NOTICES, PresenceEvent, ReceiptEvent, TypingEvent
from .health import Watch
from .links import (
    DriverEvent,
    InboxBlocked,
    KeepAliveMissed,
    KeepAliveRestored,
    LinkDoubted,
    LinkEnded,
    LinkLost,
    LinkUp,
    NoticesReceived,
    PairingAccepted,
    PairingCodeOffered,
    PairingOffered,
    PairingQueued,
    PairingStarted,
    PresenceChanged,
    ReceiptsReceived,
    TypingChanged,
)
from .models import DeviceLocation, DisconnectReason, Status
from .retries import is_final
from .standing import Standing
from .state import Signal

logger = logging.getLogger(__name__)

MOST_BLIPS = 3
"""How many times in a row whatsmeow may mend a link that never holds; then it backs off as any that was lost.

whatsmeow dials a lost line at once, without an end: of its own a link that breaks whenever it is up is made anew ten
times a second.
"""


class Link:
    """One link. ``save`` has the session's record stored soon, so that what the link reports is heard meanwhile.

    ``tell`` says why the link ended, before it is closed.
    """

    def __init__(
        self,
        standing: Standing,
        backends: Backends,
        *,
        save: Callable[[], object],
        tell: Callable[[LinkEnded], Awaitable[None]],
    ) -> None:
        self.connection: Connection | None = None
        """The connection once it is live, until it is given up or over."""
        self._standing = standing
        self._backends = backends
        self._save = save
        self._tell = tell
        self._scope = anyio.CancelScope()
        self._forced_end: LinkEnded | None = None
        self._begun: float | None = None
        self._watch: Watch | None = None
        self._up_at = 0.0
        self._blips = 0
        """How many times in a row it broke before it had held ``reconnect_reset_after``."""

    async def hold(self, device: DeviceLocation) -> LinkEnded:
        """Start the link once its turn has come, hold it, and return why it ended, which has been told by then."""
        try:
            started = await self._backends.starts.turn()
        except ClientOutdated as error:
            end = LinkEnded(reason=DisconnectReason.OUTDATED, detail=error.message)
            await self._tell(end)
            return end
        if self._standing.record.linked:
            self._begun = self._backends.clock.monotonic()
        told: LinkEnded | None = None
        try:
            async with self._backends.driver.connect(self._standing.record, device) as connection:
                end = LinkEnded(reason=DisconnectReason.PUMP_DEAD)
                with self._scope:
                    end = await self._listen(connection, started)
                told = end if is_final(end.reason) else self._forced_end or end
                self._down()
                await self._tell(told)
        except Exception as error:
            detail = str(error)
            if not isinstance(error, WhatsAppPoolError):
                detail = f"{type(error).__name__}, see the log"
                logger.exception("session %s: the driver failed", self._standing.record.key)
            if told is None:
                told = LinkEnded(reason=reason_of(error), detail=detail)
                await self._tell(told)
        finally:
            self._down()
            started()
        return told

    def give_up(self, end: LinkEnded, connection: Connection | None = None) -> None:
        """End the link, of this ``connection`` where one is named; what is over already is left alone."""
        if self.connection is not None and connection in (None, self.connection):
            self._forced_end = end
            self.connection = None
            self._scope.cancel()

    async def _listen(self, connection: Connection, started: Callable[[], None]) -> LinkEnded:
        settings, clock, drops = self._backends.settings, self._backends.clock, self._backends.drops
        events = aiter(connection)
        silent = LinkEnded(reason=DisconnectReason.PUMP_DEAD, detail="the driver ended without a reason")
        overdue = unanswered = LinkEnded(
            reason=DisconnectReason.NETWORK, detail=f"no answer within {settings.connect_timeout:g} s"
        )
        patience: float | None = settings.connect_timeout
        since = clock.monotonic()
        lost = False
        while True:
            event: DriverEvent | None = None
            with clock.move_on_after(None if patience is None else since + patience - clock.monotonic()):
                event = await anext(events, silent)
            if event is None:
                if lost and patience != settings.reconnect_grace and not drops.many_since(since):
                    patience = settings.reconnect_grace
                    continue
                return overdue
            started()
            match event:
                case LinkEnded():
                    return event
                case PairingQueued():
                    patience = None
                case PairingStarted() | PairingAccepted():
                    patience, since, overdue = settings.connect_timeout, clock.monotonic(), unanswered
                case PairingOffered() | PairingCodeOffered():
                    self._begun = None
                    patience, since = event.lifetime + settings.connect_timeout, clock.monotonic()
                    overdue = LinkEnded(reason=DisconnectReason.PAIRING_TIMEOUT, detail="the last code expired")
                case LinkUp():
                    self._count_start()
                    self._up_at = clock.monotonic()
                    self._standing.counts.blips += lost
                    patience, lost = None, False
                case LinkLost() if not lost:
                    if self._breaks_too_often():
                        return LinkEnded(reason=event.reason, detail=f"the line broke {self._blips} times in a row")
                    # A second tells whether many broke at once; then there is no more grace than that.
                    patience, since, lost = min(WINDOW, settings.reconnect_grace), clock.monotonic(), True
                    overdue = LinkEnded(reason=event.reason, detail=event.detail or "the line is lost")
                    if self._standing.status is Status.CONNECTED:
                        drops.note(self._standing.record.key)
            before = self._standing.status
            self._take(event)
            if isinstance(event, LinkUp):
                self._up(connection)
            pairs = self._standing.status is Status.PAIRING and before is not Status.PAIRING
            if pairs or isinstance(event, LinkUp | PairingAccepted):
                self._save()

    def _count_start(self) -> None:
        """Count how long the link took to be live; not again after a blip, and not where a person had to pair it."""
        if self._begun is not None:
            self._backends.time_to_connect.observe(self._backends.clock.monotonic() - self._begun)
            self._begun = None

    def _breaks_too_often(self) -> bool:
        """Count that the line broke just now, and say whether that was too often for another grace."""
        if self._backends.clock.monotonic() - self._up_at >= self._backends.settings.reconnect_reset_after:
            self._blips = 0
        self._blips += 1
        return self._blips > MOST_BLIPS

    def _up(self, connection: Connection) -> None:
        self._unwatch()
        self.connection = connection
        self._watch = self._backends.health.watch(self._standing, connection, self.give_up)

    def _down(self) -> None:
        self._unwatch()
        self.connection = None

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._backends.health.forget(self._watch)
            self._watch = None

    def _doubt(self) -> None:
        if self._watch is not None:
            self._backends.health.doubt(self._watch)

    def _take(self, event: DriverEvent) -> None:
        standing = self._standing
        if isinstance(event, PresenceChanged | TypingChanged | ReceiptsReceived | NoticesReceived):
            standing.pulse.inbound()
        match event:
            case PairingOffered():
                standing.offer_pairing(event)
            case PairingCodeOffered():
                standing.offer_code(event)
            case PairingAccepted():
                standing.pairing_accepted(event)
            case LinkUp():
                standing.link_up(event)
                self._backends.comebacks.note()
            case LinkLost():
                self._unwatch()
                standing.apply(Signal.LOST, event.reason)
            case LinkDoubted():
                self._doubt()
            case KeepAliveMissed():
                standing.pulse.keep_alive_missed(event.answered_at)
                self._doubt()
            case KeepAliveRestored():
                standing.trust()
            case PresenceChanged():
                standing.counts.presences_dropped += event.missed
                standing.emit(PresenceEvent, **dict(event.presence))
            case TypingChanged():
                standing.counts.presences_dropped += event.missed
                standing.emit(TypingEvent, **dict(event.typing))
            case ReceiptsReceived():
                standing.counts.receipts_dropped += event.missed
                for receipt in event.receipts:
                    standing.counts.receipts[receipt.receipt] += len(receipt.message_ids)
                    standing.emit(ReceiptEvent, **dict(receipt))
            case NoticesReceived():
                standing.counts.notices_dropped += event.missed
                for notice in event.notices:
                    standing.emit(NOTICES[notice.type], **dict(notice))
            case InboxBlocked():
                standing.error(event.code, event.detail)
            case _:
                pass


def reason_of(error: Exception) -> DisconnectReason:
    """Say why a link could not even be opened."""
    match error:
        case StorageError():
            return DisconnectReason.STORAGE
        case ClientOutdated():
            return DisconnectReason.OUTDATED
        case _:
            return DisconnectReason.WORKER_CRASHED
