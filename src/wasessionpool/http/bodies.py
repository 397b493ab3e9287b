"""The bodies of the REST interface: what is asked and what is answered, in camelCase, times in UTC with ``Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from ..messages import TEXT_SCHEMA, Text
from ..models import (
    MAIN_DEVICE,
    DisconnectReason,
    Histogram,
    PoolMetrics,
    QueueDepths,
    SentMessage,
    SessionStatus,
    Status,
    Transition,
    WorkerMetrics,
)


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


Time = Annotated[
    datetime,
    PlainSerializer(_iso, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time as JavaScript's ``toISOString`` writes it: ``2025-09-10T10:00:00.000Z``."""

ID_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
COMPANY_SCHEMA: dict[str, Any] = {"pattern": ID_PATTERN, "maxLength": 64, "examples": ["962302"]}
DEVICE_SCHEMA: dict[str, Any] = {**COMPANY_SCHEMA, "not": {"const": "any"}, "examples": [MAIN_DEVICE, "sales"]}
"""What is documented of an id; ``SessionKey`` checks it, and its error says what is wrong. So it is of what follows."""
_GAP = r"[ ().\-/]*"
_NUMBER = rf"{_GAP}(\+|00)?{_GAP}[1-9]({_GAP}[0-9]){{6,14}}{_GAP}"
_PERSON = r"[1-9][0-9]{6,14}(:[0-9]{1,3})?@s\.whatsapp\.net"
_GROUP_OR_LID = r"[0-9]{5,20}(-[0-9]{5,20})?(:[0-9]{1,3})?@(g\.us|lid)"
NUMBER_SCHEMA: dict[str, Any] = {"pattern": f"^{_NUMBER}$", "examples": ["+7 968 648-44-88"]}
RECIPIENT_SCHEMA: dict[str, Any] = {
    "pattern": f"^({_NUMBER}|{_PERSON}|{_GROUP_OR_LID})$",
    "examples": ["79001234567", "+7 900 123-45-67", "120363@g.us"],
}
IDEMPOTENCY_SCHEMA: dict[str, Any] = {
    "pattern": "^[!-~]([ -~]{0,253}[!-~])?$",
    "examples": ["order-4711-paid"],
}
PROXY_SCHEMA: dict[str, Any] = {
    "pattern": r"^(https?|socks5)://([A-Za-z0-9]+(:[A-Za-z0-9]*)?@)?[A-Za-z0-9.-]+(:([1-9][0-9]{0,3}|[1-5][0-9]{4}))?/?$",
    "examples": ["http://127.0.0.1:3128"],
}

_PATH = re.compile(r"(?<![\w/])/[^\s/]")
"""The beginning of an absolute path, which is not that of a URL."""

EXAMPLE_SESSION: dict[str, Any] = {
    "companyId": "962302",
    "device": "main",
    "status": "connected",
    "health": "ok",
    "phoneNumber": "+79686484488",
    "jid": "79686484488:1@s.whatsapp.net",
    "pushName": "Shop",
    "connectedAt": "2025-09-10T10:00:00.000Z",
    "lastActivityAt": "2025-09-10T10:05:00.000Z",
    "lastError": None,
    "lastErrorAt": None,
    "disconnectReason": None,
    "reconnectAttempts": 0,
    "nextRetryAt": None,
    "restriction": None,
    "restrictedUntil": None,
    "messagesSent": 150,
    "messagesReceived": 200,
    "metadata": {},
    "history": [],
}
EXAMPLE_METRICS: dict[str, Any] = {
    "totalSessions": 2,
    "activeConnections": 2,
    "messagesSent": 150,
    "messagesReceived": 200,
}


def _example(**fields: Any) -> dict[str, Any]:
    return {"examples": [fields]}


class Asked(BaseModel):
    """A body that a client sends: no field that is not known, and its errors never repeat what was sent."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True)


class CreateSession(Asked):
    """Whose session is to start; ``phoneNumber`` asks for a pairing code in place of a QR."""

    model_config = ConfigDict(json_schema_extra=_example(companyId="962302"))

    company_id: str = Field(json_schema_extra=COMPANY_SCHEMA)
    device: str = Field(default=MAIN_DEVICE, json_schema_extra=DEVICE_SCHEMA)
    phone_number: str | None = Field(default=None, json_schema_extra=NUMBER_SCHEMA)
    metadata: dict[str, JsonValue] | None = Field(default=None, description="At most 4 kB of JSON.")
    proxy: str | None = Field(default=None, repr=False, json_schema_extra=PROXY_SCHEMA)


class SendMessage(Asked):
    """A message, as a text or a typed object, and who gets it: a phone number or a JID."""

    model_config = ConfigDict(json_schema_extra=_example(to="79001234567", message="Hello from WhatsApp Business!"))

    to: str = Field(json_schema_extra=RECIPIENT_SCHEMA)
    message: Annotated[str, Field(json_schema_extra=TEXT_SCHEMA)] | Text = Field(repr=False)


class Answer(BaseModel):
    """A body that is answered; what is ``None`` at its top is left out."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)

    def json_bytes(self) -> bytes:
        absent = {name for name in type(self).model_fields if getattr(self, name) is None}
        return self.model_dump_json(by_alias=True, exclude=absent).encode()


class TransitionBody(Answer):
    """A change of a session's status."""

    time: Time
    previous: Status = Field(alias="from")
    current: Status = Field(alias="to")
    reason: DisconnectReason | None = None

    @classmethod
    def of(cls, transition: Transition) -> Self:
        return cls(**dict(transition))


class SessionBody(Answer):
    """A session as it stands now; its history has the last 20 changes of its status."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SESSION]})

    company_id: str
    device: str
    status: Status
    health: Literal["ok", "suspect"]
    phone_number: str | None
    jid: str | None
    push_name: str | None
    connected_at: Time | None
    last_activity_at: Time | None
    last_error: str | None
    last_error_at: Time | None
    disconnect_reason: DisconnectReason | None
    reconnect_attempts: int
    next_retry_at: Time | None
    restriction: Literal["reach_out"] | None
    restricted_until: Time | None
    messages_sent: int
    messages_received: int
    metadata: dict[str, JsonValue]
    history: tuple[TransitionBody, ...]

    @classmethod
    def of(cls, status: SessionStatus) -> Self:
        shown = dict(public(status))
        return cls.model_validate({**shown, "history": tuple(map(TransitionBody.of, status.history))})


def public(status: SessionStatus) -> SessionStatus:
    """Return the status as it may be told: a last error that names a path of this host is for the log."""
    if status.last_error is None or not _PATH.search(status.last_error):
        return status
    return status.model_copy(update={"last_error": "It failed on the service's host; the log says more"})


class SessionCounts(Answer):
    """How many sessions there are, and what went through them since the service started."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_METRICS]})

    total_sessions: int
    active_connections: int
    messages_sent: int
    messages_received: int

    @classmethod
    def of(cls, sessions: list[SessionStatus]) -> Self:
        return cls(
            total_sessions=len(sessions),
            active_connections=sum(one.status is Status.CONNECTED for one in sessions),
            messages_sent=sum(one.messages_sent for one in sessions),
            messages_received=sum(one.messages_received for one in sessions),
        )


class WorkerBody(WorkerMetrics):
    """A worker process."""

    model_config = Answer.model_config


class HistogramBody(Histogram):
    """How long something took, in seconds."""

    model_config = Answer.model_config


class QueueDepthsBody(QueueDepths):
    """What waits at this moment."""

    model_config = Answer.model_config


class PoolMetricsBody(PoolMetrics):
    """All that the pool counts."""

    model_config = Answer.model_config

    # Each is of a narrower type than the pool's own, and frozen.
    send_latency: HistogramBody = HistogramBody()  # pyright: ignore[reportIncompatibleVariableOverride]
    time_to_connect: HistogramBody = HistogramBody()  # pyright: ignore[reportIncompatibleVariableOverride]
    queue_depths: QueueDepthsBody = QueueDepthsBody()  # pyright: ignore[reportIncompatibleVariableOverride]
    workers: tuple[WorkerBody, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]

    @classmethod
    def of(cls, metrics: PoolMetrics) -> Self:
        return cls.model_validate(metrics.model_dump())


class Done(Answer):
    """It is done."""

    success: Literal[True] = True


class Sessions(Done):
    """The sessions that the key reaches."""

    model_config = ConfigDict(
        json_schema_extra=_example(success=True, count=1, sessions=[EXAMPLE_SESSION], metrics=EXAMPLE_METRICS)
    )

    count: int
    sessions: list[SessionBody]
    metrics: SessionCounts


class OneSession(Done):
    """One session."""

    model_config = ConfigDict(json_schema_extra=_example(success=True, session=EXAMPLE_SESSION))

    session: SessionBody


class CreatedSession(OneSession):
    """One session, and what the phone has to confirm, where something waits."""

    model_config = ConfigDict(
        json_schema_extra=_example(
            success=True,
            session=EXAMPLE_SESSION | {"status": "pairing", "phoneNumber": None, "jid": None, "connectedAt": None},
            qrCode="data:image/png;base64,iVBORw0KGgo…",
        )
    )

    qr_code: str | None = Field(default=None, repr=False)
    pairing_code: str | None = Field(default=None, repr=False)

    @classmethod
    def of(cls, status: SessionStatus) -> Self:
        qr_code = status.qr.data_url() if status.qr else None
        return cls(session=SessionBody.of(status), qr_code=qr_code, pairing_code=status.pairing_code)


class WaitingQR(Done):
    """The QR that waits to be scanned: its raw text, and drawn."""

    text: str = Field(repr=False)
    data_url: str = Field(repr=False)
    expires_at: Time


class Sent(Done):
    """WhatsApp's server took the message."""

    model_config = ConfigDict(
        json_schema_extra=_example(
            success=True,
            messageId="3EB0C767D82B8A6E",
            to="79001234567@s.whatsapp.net",
            timestamp="2025-09-10T10:00:00.000Z",
        )
    )

    message_id: str
    to: str
    timestamp: Time

    @classmethod
    def of(cls, sent: SentMessage) -> Self:
        return cls(message_id=sent.id, to=sent.to, timestamp=sent.timestamp)


class Explanation(Done):
    """What happened to a session, what follows and when, in plain words."""

    text: str


class Metrics(Done):
    """Counts over the sessions that the key reaches; of the whole pool for a key that reaches every company."""

    metrics: PoolMetricsBody | SessionCounts


class Alive(Done):
    """The service answers."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """Whether the service can do its work, and what keeps it from that."""

    success: bool
    status: Literal["ok", "unavailable"]
    error: str | None = None
    code: str | None = None
    reasons: list[str] | None = None


class Detail(Answer):
    """What is wrong in a request, and where: ``body.message``, ``query.device``."""

    where: str
    problem: str


class ErrorBody(Answer):
    """What went wrong; ``code`` says it to programs. The fields below ``code`` are there where they apply."""

    model_config = ConfigDict(
        json_schema_extra=_example(
            success=False, error="Session not found for company 962302", code="session_not_found"
        )
    )

    success: Literal[False] = False
    error: str
    code: str
    retry_after: int | None = Field(default=None, description="Milliseconds; the header Retry-After has seconds.")
    qr_code: str | None = Field(default=None, repr=False)
    pairing_code: str | None = Field(default=None, repr=False)
    status: Status | None = None
    reason: DisconnectReason | None = None
    holder: str | None = None
    until: Time | None = None
    server_code: int | None = None
    limit: int | None = None
    outcome: str | None = None
    send_id: str | None = None
    details: list[Detail] | None = None
