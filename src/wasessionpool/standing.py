"""What is known of a session at this moment; every change is made here, at once, and told to the bus."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import anyio
from ulid import ULID

from .abc import Clock
from .bus import Bus
from .counts import Counts
from .debug_log import DebugLog
from .errors import PairingFailed, PairingTimeout, StorageError, WorkerCrashed
from .events import (
    BaseEvent,
    ConnectedEvent,
    DisconnectedEvent,
    ErrorEvent,
    Event,
    HealthCheckFailedEvent,
    LogoutEvent,
    PairingCodeEvent,
    QrEvent,
    RestrictedEvent,
    StatusEvent,
)
from .links import LinkEnded, LinkUp, PairingAccepted, PairingCodeOffered, PairingOffered
from .models import DisconnectReason, SessionRecord, SessionStatus, Status, Transition
from .pulse import Pulse
from .qr import QRCode
from .state import ENDED_BY, Signal, next_status

E = TypeVar("E", bound=BaseEvent)

HISTORY = 20
UNKNOWN_BAN = timedelta(hours=1)
"""How long to stay away where WhatsApp did not say when a ban ends."""

_KEPT_AT_REST = frozenset({Status.LOGGED_OUT, Status.FAILED})
_ERROR_CODES = {
    DisconnectReason.PAIRING_TIMEOUT: PairingTimeout.code,
    DisconnectReason.PAIRING_FAILED: PairingFailed.code,
    DisconnectReason.STORAGE: StorageError.code,
    DisconnectReason.POISONED: WorkerCrashed.code,
}


class Standing:
    """The state of one session. Its methods are synchronous: what they change is changed for everybody at once."""

    def __init__(self, record: SessionRecord, bus: Bus, clock: Clock) -> None:
        self.record = record
        self.status = record.status if record.status in _KEPT_AT_REST else Status.DISCONNECTED
        self.reason = record.disconnect_reason
        self.health: Literal["ok", "suspect"] = "ok"
        self.qr: QRCode | None = None
        self.pairing_code: str | None = None
        self.attempt = 0
        self.next_retry_at: datetime | None = None
        self.last_link_held: float | None = None
        self.pulse = Pulse(clock)
        self._up_since: float | None = None
        self._connected_since: float | None = None
        self._broke_by: DisconnectReason | None = None
        self._traffic_at = 0.0
        self.counts = Counts()
        self.log: DebugLog | None = None
        self._bus = bus
        self._clock = clock
        self._sequence = 0
        self._history: deque[Transition] = deque(maxlen=HISTORY)
        self._last_error: tuple[str, datetime] | None = None
        self._last_activity_at: datetime | None = None
        self._changed = anyio.Event()

    def snapshot(self) -> SessionStatus:
        record = self.record
        error, error_at = self._last_error or (None, None)
        connected = self.status is Status.CONNECTED
        reach_out = record.restriction(self._clock.now())
        return SessionStatus(
            company_id=record.company_id,
            device=record.device,
            status=self.status,
            health=self.health,
            phone_number=record.phone_number,
            jid=record.jid,
            push_name=record.push_name,
            connected_at=record.connected_at if connected else None,
            last_activity_at=self._last_activity_at,
            last_error=error,
            last_error_at=error_at,
            disconnect_reason=None if connected else self.reason,
            reconnect_attempts=0 if connected else self.attempt,
            next_retry_at=self.next_retry_at,
            restriction="reach_out" if reach_out else None,
            restricted_until=record.restricted_until or (reach_out.until if reach_out else None),
            qr=self.qr,
            pairing_code=self.pairing_code,
            messages_sent=self.counts.messages_sent,
            messages_received=self.counts.messages_received,
            metadata=deepcopy(record.metadata),
            history=tuple(self._history),
        )

    @property
    def confirmed(self) -> bool:
        """Whether the phone has confirmed a pairing whose link is not up yet."""
        return self.status is Status.PAIRING and self.qr is None and self.pairing_code is None

    @property
    def last_error(self) -> str | None:
        """What went wrong last, in words."""
        return self._last_error[0] if self._last_error else None

    def counted(self) -> Counts:
        """Return what happened until now, the time since the session was connected included."""
        if self._connected_since is not None:
            now = self._clock.monotonic()
            self.counts.connected_seconds += now - self._connected_since
            self._connected_since = now
        return self.counts

    @property
    def quiet_since(self) -> float | None:
        """The monotonic time of the last message or send over the link that is live, or of its beginning."""
        if self.status is not Status.CONNECTED or self._up_since is None:
            return None
        return max(self._up_since, self._traffic_at)

    def begin(self) -> None:
        """The session is starting."""
        if self.status is not Status.CONNECTING:
            self.apply(Signal.START)

    async def change(self) -> None:
        """Wait until something changes."""
        await self._changed.wait()

    def update(self, **fields: Any) -> None:
        """Change what is remembered."""
        self.record = self.record.model_copy(update=fields)

    def apply(self, signal: Signal, reason: DisconnectReason | None = None) -> None:
        """Take one step in the state machine; a signal that means nothing now is counted and ignored."""
        current = next_status(self.status, signal)
        if current is None:
            self.counts.ignored_signals += 1
            return
        self.reason = reason
        self.next_retry_at = None
        if current is not Status.PAIRING:
            self.qr = self.pairing_code = None
        if self.health == "suspect" and current is not Status.CONNECTED:
            self.counts.false_connected_seconds += self.pulse.dead_for
            self.health = "ok"
        if current is not self.status:
            self.counted()
            previous, self.status = self.status, current
            self._connected_since = self._clock.monotonic() if current is Status.CONNECTED else None
            self._history.append(Transition(time=self._clock.now(), previous=previous, current=current, reason=reason))
            self.update(status=current, disconnect_reason=reason)
            self.emit(StatusEvent, previous=previous, current=current, reason=reason)
        self._notify()

    def offer_pairing(self, offer: PairingOffered) -> None:
        self.apply(Signal.PAIRING_OFFERED)
        # Only a device without keys is offered a code, whatever was remembered.
        self.update(linked=False)
        self.qr = QRCode(offer.text, self._clock.now() + timedelta(seconds=offer.lifetime))
        self.emit(QrEvent, qr=self.qr)
        self._notify()

    def offer_code(self, offer: PairingCodeOffered) -> None:
        self.apply(Signal.PAIRING_OFFERED)
        self.pairing_code = offer.code
        expires_at = self._clock.now() + timedelta(seconds=offer.lifetime)
        self.emit(PairingCodeEvent, code=offer.code, expires_at=expires_at)
        self._notify()

    def pairing_accepted(self, pairing: PairingAccepted) -> None:
        """The phone confirmed: the device is linked, though not connected yet."""
        self.qr = self.pairing_code = None
        self.update(linked=True, jid=pairing.jid, pairing_number=None)
        self._notify()

    def link_up(self, link: LinkUp) -> None:
        """The link is live, for the first time or again."""
        blip = self._up_since is not None
        if not blip:
            self._up_since = self._clock.monotonic()
            if self._broke_by is not None:
                self.counts.reconnects[self._broke_by] += 1
        self.pulse.begin()
        self.health = "ok"
        self.update(
            linked=True,
            pairing_number=None,
            jid=link.jid,
            lid=link.lid or self.record.lid,
            phone_number=link.phone_number,
            push_name=link.push_name or self.record.push_name,
            connected_at=self.record.connected_at if blip else self._clock.now(),
            restricted_until=None,
        )
        self.apply(Signal.CONNECTED)
        if not blip:
            self.emit(ConnectedEvent, jid=link.jid, phone_number=link.phone_number)

    def link_ended(self, end: LinkEnded) -> None:
        """The link is over: change the status as its reason calls for, and say so."""
        was_up = self._up_since is not None
        self.last_link_held = None if self._up_since is None else self._clock.monotonic() - self._up_since
        self._up_since = None
        if was_up:
            self._broke_by = end.reason if end.reason is not DisconnectReason.IDLE else None
        was_linked = self.record.linked
        signal = ENDED_BY[end.reason]
        if end.detail is not None:
            self._last_error = end.detail, self._clock.now()
        if self.log is not None:
            self.log.say(f"link ended: {end.reason}{f', {end.detail}' if end.detail else ''}")
        now = self._clock.now()
        banned_until = end.until if end.until is not None and end.until > now else None
        if signal is Signal.RESTRICTED:
            self.update(restricted_until=banned_until or now + UNKNOWN_BAN)
        if signal is Signal.LOGGED_OUT:
            self.update(linked=False, reach_out=None)
        self.apply(signal, end.reason)
        if signal is Signal.RESTRICTED:
            self.emit(RestrictedEvent, kind="login", until=banned_until)
        elif signal is Signal.LOGGED_OUT and was_linked:
            self.emit(LogoutEvent, reason=end.reason)
        elif end.reason in _ERROR_CODES:
            self.error(_ERROR_CODES[end.reason], end.detail or end.reason.value.replace("_", " "))
        elif was_up and end.reason is not DisconnectReason.OUTDATED:
            self.emit(DisconnectedEvent, reason=end.reason)

    def retry_in(self, seconds: float) -> None:
        """The next attempt is ``seconds`` away."""
        self.next_retry_at = self._clock.now() + timedelta(seconds=seconds)
        self._notify()

    def forget_link(self) -> None:
        """The credentials are erased, and nobody wants a link before it is asked for again."""
        self.record = self.record.blank().model_copy(
            update={"desired": "stopped", "status": self.status, "disconnect_reason": self.reason}
        )

    def doubt(self, asked_at: float, error: str) -> None:
        """WhatsApp did not answer a probe that was sent at this monotonic time."""
        pulse = self.pulse
        pulse.failed(asked_at)
        self.health = "suspect"
        self.emit(
            HealthCheckFailedEvent,
            failures=pulse.failures,
            last_inbound_age=pulse.inbound_age,
            last_ack_age=pulse.ack_age,
            probe_error=error,
        )

    def trust(self) -> None:
        """WhatsApp answered."""
        self.pulse.answered()
        self.health = "ok"

    def error(self, code: str, detail: str, send_id: str | None = None) -> None:
        """Remember an error and tell it, with the send that it concerns; ``detail`` must not hold a message's text."""
        self.counts.errors[code] += 1
        self._last_error = detail, self._clock.now()
        self.emit(ErrorEvent, code=code, detail=detail, send_id=send_id)
        self._notify()

    def locked(self, holder: str) -> None:
        """Another pool runs the session."""
        self._last_error = f"run by {holder}", self._clock.now()
        self._stopped(DisconnectReason.LEASE_LOST)

    def disconnected(self) -> None:
        """Nothing runs the session, nor is going to by itself, since that was asked for."""
        self._stopped(DisconnectReason.REQUESTED)
        self.next_retry_at = None
        self._notify()

    def active(self) -> None:
        """A message came or went."""
        self._last_activity_at, self._traffic_at = self._clock.now(), self._clock.monotonic()

    def sent(self) -> None:
        """WhatsApp acknowledged a message."""
        self.counts.messages_sent += 1
        self.active()
        self.pulse.acknowledged()

    def emit(self, model: type[E], /, **fields: Any) -> None:
        self.publish(self.event(model, **fields))

    def event(self, model: type[E], /, *, event_id: str | None = None, **fields: Any) -> E:
        """Make the session's next event, with an id of its own where none is given."""
        self._sequence += 1
        now = self._clock.now()
        event = model(
            id=event_id or str(ULID.from_datetime(now)),
            time=now,
            company_id=self.record.company_id,
            device=self.record.device,
            sequence=self._sequence,
            metadata=deepcopy(self.record.metadata),
            **fields,
        )
        if self.log is not None:
            self.log.say(event)
        return event

    def publish(self, event: Event | BaseEvent) -> None:
        self._bus.publish(event)  # type: ignore[arg-type]

    def _stopped(self, reason: DisconnectReason) -> None:
        if self.status is not Status.DISCONNECTED:
            self.apply(Signal.STOP, reason)
        if self.status is Status.DISCONNECTED:
            # Also where it was so before, for another reason.
            self.reason = reason

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
