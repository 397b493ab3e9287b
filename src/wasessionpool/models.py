"""The nouns that every layer speaks of: sessions, their status and record, sent messages, metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .errors import InvalidCompanyId
from .qr import QRCode

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", re.ASCII)
MAIN_DEVICE = "main"


class Status(StrEnum):
    """Where a session stands."""

    CONNECTING = "connecting"
    PAIRING = "pairing"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    RESTRICTED = "restricted"
    SLEEPING = "sleeping"
    DISCONNECTED = "disconnected"
    LOGGED_OUT = "logged_out"
    FAILED = "failed"


class DisconnectReason(StrEnum):
    """Why a link ended."""

    REQUESTED = "requested"
    SHUTDOWN = "shutdown"
    IDLE = "idle"
    NETWORK = "network"
    SERVER = "server"
    KEEPALIVE = "keepalive"
    STALLED = "stalled"
    PUMP_DEAD = "pump_dead"
    WORKER_CRASHED = "worker_crashed"
    POISONED = "poisoned"
    REPLACED = "replaced"
    LOGGED_OUT = "logged_out"
    BANNED = "banned"
    TEMPORARILY_BANNED = "temporarily_banned"
    OUTDATED = "outdated"
    PAIRING_TIMEOUT = "pairing_timeout"
    PAIRING_FAILED = "pairing_failed"
    STORAGE = "storage"
    LEASE_LOST = "lease_lost"


class Frozen(BaseModel):
    """A value: immutable, without unknown fields, and silent about its input when validation fails.

    pydantic would keep short strings that it reads, such as ids and texts, for others to come that are the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, cache_strings="keys")


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """One company's device inside the pool, printed ``962302`` or ``962302:sales``.

    Both ids are 1–64 of ``[A-Za-z0-9_-]``, not beginning with ``-``; raises ``InvalidCompanyId`` otherwise,
    before the id reaches a path, a key or a log line.
    """

    company_id: str
    device: str = MAIN_DEVICE

    def __post_init__(self) -> None:
        for what, value in (("company id", self.company_id), ("device", self.device)):
            if not isinstance(value, str) or not _ID.fullmatch(value):
                raise InvalidCompanyId(
                    f"{what} {ascii(value)[:80]} is not 1–64 of A-Z a-z 0-9 _ - (not beginning with -)"
                )
        if self.device == "any":
            raise InvalidCompanyId("the device name 'any' is reserved")

    def __str__(self) -> str:
        return self.company_id if self.device == MAIN_DEVICE else f"{self.company_id}:{self.device}"

    @property
    def directory(self) -> PurePath:
        """Where this session's files lie, below the session path."""
        company = PurePath(self.company_id)
        return company if self.device == MAIN_DEVICE else company / "devices" / self.device

    def folded(self) -> tuple[str, str]:
        """Return what two keys share that differ only in case, which some file systems do not tell apart."""
        return self.company_id.casefold(), self.device.casefold()


@dataclass(frozen=True, slots=True)
class DeviceLocation:
    """Where a driver keeps one device: its key ``database`` (SQLite) and its ``inbox``, both in private directories.

    ``log`` is where the session's own log goes; ``None``: nowhere.
    """

    database: Path
    inbox: Path
    log: Path | None = None


class Contact(Frozen):
    """A person or a chat. ``id`` is the JID to write to; ``phone_number`` reads ``+79001234567``."""

    id: str
    phone_number: str | None = None
    lid: str | None = None


class InboundMessage(Frozen):
    """A message as WhatsApp delivered it; ``kind`` is ``text`` or the name of a kind without text of its own.

    What is done to an earlier message, ``quoted``, comes as one too: a ``reaction``, or that it was ``edited`` or
    ``revoked``.
    """

    message_id: str
    chat: Contact
    sender: Contact
    sender_name: str | None = None
    from_me: bool = False
    is_group: bool = False
    kind: str = "text"
    text: str | None = Field(default=None, repr=False)
    quoted: str | None = None
    timestamp: datetime


class InboundReceipt(Frozen):
    """Messages that this session sent were ``delivered``, ``read`` or ``played``."""

    message_ids: tuple[str, ...]
    chat: Contact
    sender: Contact
    receipt: Literal["delivered", "read", "played"]
    timestamp: datetime


class Presence(Frozen):
    """Whether someone is online; ``last_seen`` where WhatsApp tells."""

    contact: Contact
    available: bool
    last_seen: datetime | None = None


class Typing(Frozen):
    """Someone writes in a chat, speaks into it, or has stopped."""

    chat: Contact
    sender: Contact
    state: Literal["composing", "recording", "paused"]


class SentMessage(Frozen):
    """What WhatsApp's server acknowledged; ``timestamp`` is the server's time, in UTC."""

    id: str
    to: str
    company_id: str
    device: str
    timestamp: datetime


class Transition(Frozen):
    """One change of a session's status."""

    time: datetime
    previous: Status
    current: Status
    reason: DisconnectReason | None = None


class ReachOut(Frozen):
    """WhatsApp refused (463) a message to a stranger, the ``recipient``; ``restricted``: it refuses all of them.

    ``until`` says how long (``None``: unknown), ``tried_at`` when a message was let through to find that out.
    """

    recipient: str
    refused_at: datetime
    restricted: bool = False
    until: datetime | None = None
    tried_at: datetime | None = None


class SessionRecord(Frozen):
    """What the pool remembers of a session between two runs; ``desired`` is what the user asked for last.

    ``pairing_number`` holds the digits of the phone that is to link the device by a code; ``None``: by a QR.
    """

    version: Literal[1] = 1
    company_id: str
    device: str = MAIN_DEVICE
    desired: Literal["running", "stopped"] = "running"
    status: Status = Status.DISCONNECTED
    disconnect_reason: DisconnectReason | None = None
    linked: bool = False
    jid: str | None = None
    lid: str | None = None
    phone_number: str | None = None
    push_name: str | None = None
    pairing_number: str | None = None
    proxy: str | None = Field(default=None, repr=False)
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime
    connected_at: datetime | None = None
    restricted_until: datetime | None = None
    reach_out: ReachOut | None = None

    @property
    def key(self) -> SessionKey:
        """The session that the record is of."""
        return SessionKey(self.company_id, self.device)

    def restriction(self, now: datetime) -> ReachOut | None:
        """Return the restriction by which the account may not write to strangers, where there is one at this time."""
        held = self.reach_out
        return held if held and held.restricted and (held.until is None or held.until > now) else None

    def blank(self) -> SessionRecord:
        """Return the record of the same session as it is before it was ever linked."""
        return SessionRecord(
            company_id=self.company_id,
            device=self.device,
            proxy=self.proxy,
            metadata=self.metadata,
            created_at=self.created_at,
        )


class SessionStatus(BaseModel):
    """A snapshot of one session. Times are aware UTC; counts are since the pool opened."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    company_id: str
    device: str
    status: Status
    health: Literal["ok", "suspect"] = "ok"
    phone_number: str | None = None
    jid: str | None = None
    push_name: str | None = None
    connected_at: datetime | None = None
    last_activity_at: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    disconnect_reason: DisconnectReason | None = None
    reconnect_attempts: int = 0
    next_retry_at: datetime | None = None
    restriction: Literal["reach_out"] | None = None
    restricted_until: datetime | None = None
    qr: QRCode | None = None
    pairing_code: str | None = Field(default=None, repr=False)
    messages_sent: int = 0
    messages_received: int = 0
    metadata: dict[str, Any] = Field(default_factory=dict)
    history: tuple[Transition, ...] = ()


WorkerRole = Literal["shard", "pairing", "spare"]


class WorkerMetrics(Frozen):
    """A worker process of the driver, and what it said of itself last.

    A ``shard`` hosts linked sessions; one that is ``pairing`` hosts a device for as long as that takes, a ``spare``
    waits for the next. ``sessions`` are keys as they are printed, ``rss`` is in bytes.
    """

    pid: int
    role: WorkerRole
    sessions: tuple[str, ...] = ()
    rss: int | None = None
    descriptors: int | None = None
    threads: int | None = None


BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram(Frozen):
    """How long something took, in seconds: ``count`` times, ``sum`` in all.

    ``counts[i]`` is how often it took at most ``bounds[i]`` and more than the bound before; the last of ``counts``,
    which are one more than the bounds, how often it took longer than all of them.
    """

    bounds: tuple[float, ...] = BOUNDS
    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    sum: float = 0.0
    count: int = 0


class QueueDepths(Frozen):
    """What waits at this moment.

    ``handler_events`` for a handler that is busy, ``stream_events`` to be taken from an ``events()``,
    ``sends_waiting`` for the limit or the sends ahead. ``sends_in_flight`` are with the driver and not acknowledged by
    WhatsApp, ``messages_in_flight`` with handlers and not acknowledged by them.
    """

    handler_events: int = 0
    stream_events: int = 0
    sends_waiting: int = 0
    sends_in_flight: int = 0
    messages_in_flight: int = 0


class PoolMetrics(Frozen):
    """A pool's figures. What is counted is so since the pool opened, and never falls; a page of the docs explains all.

    Of this moment are ``total_sessions``, ``active_connections``, ``sessions`` (by status), ``health`` (of those
    connected), ``queue_depths`` and ``workers``. ``errors`` are ``error`` events, ``sends_failed`` calls of a send
    that raised, both by the error's code; ``rate_limited`` those that the limit refused. ``rate_limit_degraded`` says
    that limits are kept in memory now, since Redis is gone, ``rate_limit_fallbacks`` how often it came to that.
    ``send_latency`` is from the handing over to WhatsApp's acknowledgement, ``time_to_connect`` from the start of a
    link until it is live.

    ``blips`` are lost lines that were back within ``reconnect_grace``, which ``reconnects`` does not count.

    ``events_dropped`` did not fit a subscriber's queue; ``presences_dropped`` (with ``typing``), ``receipts_dropped``
    and ``notices_dropped`` (calls, groups, what could not be read) came faster than they were taken;
    ``messages_expired`` were beyond the newest ``inbox_keep`` while nobody subscribed to messages;
    ``log_lines_dropped`` did not fit a ``debug.log``; ``statistics_dropped`` are hours of sessions, of a shelf that
    failed for days. ``worker_restarts`` are workers that crashed, froze or were recycled since the driver was entered.
    ``false_connected_seconds`` is how long links were called connected from their last proof of life until they were
    found dead.
    """

    total_sessions: int
    active_connections: int
    sessions: dict[Status, int] = Field(default_factory=dict)
    health: dict[Literal["ok", "suspect"], int] = Field(default_factory=dict)
    messages_sent: int = 0
    messages_received: int = 0
    sends_failed: dict[str, int] = Field(default_factory=dict)
    rate_limited: int = 0
    rate_limit_degraded: bool = False
    rate_limit_fallbacks: int = 0
    receipts: dict[str, int] = Field(default_factory=dict)
    errors: int = 0
    errors_by_code: dict[str, int] = Field(default_factory=dict)
    reconnects: int = 0
    reconnects_by_reason: dict[DisconnectReason, int] = Field(default_factory=dict)
    blips: int = 0
    connected_seconds: float = 0.0
    false_connected_seconds: float = 0.0
    send_latency: Histogram = Histogram()
    time_to_connect: Histogram = Histogram()
    queue_depths: QueueDepths = QueueDepths()
    events_dropped: int = 0
    presences_dropped: int = 0
    receipts_dropped: int = 0
    notices_dropped: int = 0
    messages_expired: int = 0
    log_lines_dropped: int = 0
    statistics_dropped: int = 0
    ignored_signals: int = 0
    workers: tuple[WorkerMetrics, ...] = ()
    worker_restarts: int = 0


class HourlyStatistics(Frozen):
    """What one session did from ``hour`` (aware UTC) on, for an hour.

    ``sends_failed`` has calls of a send that raised, by the error's code; ``delivered`` and ``read`` count receipts, of
    which a message to a group has one from each member. ``connected_seconds`` is how long the session was connected.
    """

    company_id: str
    device: str
    hour: datetime
    messages_sent: int = 0
    messages_received: int = 0
    sends_failed: dict[str, int] = Field(default_factory=dict)
    delivered: int = 0
    read: int = 0
    reconnects: int = 0
    connected_seconds: float = 0.0
