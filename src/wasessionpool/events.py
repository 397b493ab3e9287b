"""What can happen to a session, as the application hears it: frozen models, discriminated on ``type``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, PrivateAttr

from .messages import OutgoingMessage
from .models import (
    Contact,
    DisconnectReason,
    Frozen,
    InboundMessage,
    InboundReceipt,
    Presence,
    SentMessage,
    SessionKey,
    Status,
    Typing,
)
from .notices import Call, GroupChange, HistorySync, Undecryptable
from .operations import MarkRead, Operation, React
from .qr import QRCode

_FOREIGN = "this event did not come from an open pool"


class BaseEvent(Frozen):
    """What every event has: a ULID, the time (aware UTC), the session, and its place in the session's order."""

    id: str
    time: datetime
    company_id: str
    device: str
    sequence: int
    metadata: dict[str, Any] = Field(default_factory=dict)
    redelivered: bool = False

    @property
    def key(self) -> SessionKey:
        """The session that the event is of."""
        return SessionKey(self.company_id, self.device)


class QrEvent(BaseEvent):
    """A QR waits to be scanned; the next one replaces it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    type: Literal["qr"] = "qr"
    qr: QRCode


class PairingCodeEvent(BaseEvent):
    """A code of eight characters waits to be typed into the phone, until ``expires_at``."""

    type: Literal["pairing_code"] = "pairing_code"
    code: str = Field(repr=False)
    expires_at: datetime


class ConnectedEvent(BaseEvent):
    """The session's link is live."""

    type: Literal["connected"] = "connected"
    jid: str
    phone_number: str


class DisconnectedEvent(BaseEvent):
    """The link ended, whatever follows."""

    type: Literal["disconnected"] = "disconnected"
    reason: DisconnectReason


class ReconnectingEvent(BaseEvent):
    """An attempt will be made in ``delay`` seconds; ``attempt`` counts from 1, 0 is a revival after giving up."""

    type: Literal["reconnecting"] = "reconnecting"
    attempt: int
    delay: float


class ReconnectFailedEvent(BaseEvent):
    """The attempts are spent."""

    type: Literal["reconnect_failed"] = "reconnect_failed"
    attempts: int
    reason: DisconnectReason


class HealthCheckFailedEvent(BaseEvent):
    """The link gives reason for doubt: ``failures`` checks in a row failed. Ages are in seconds."""

    type: Literal["health_check_failed"] = "health_check_failed"
    failures: int
    last_inbound_age: float | None = None
    last_ack_age: float | None = None
    probe_error: str | None = None


class RestrictedEvent(BaseEvent):
    """WhatsApp restricts the account: ``login`` (refused for a while) or ``reach_out`` (no cold sends)."""

    type: Literal["restricted"] = "restricted"
    kind: Literal["login", "reach_out"]
    until: datetime | None = None


class LogoutEvent(BaseEvent):
    """The device is not linked any more; it has to be paired anew."""

    type: Literal["logout"] = "logout"
    reason: DisconnectReason


class ErrorEvent(BaseEvent):
    """Something went wrong; ``code`` is for programs, ``detail`` for people."""

    type: Literal["error"] = "error"
    code: str
    detail: str
    send_id: str | None = None


class StatusEvent(BaseEvent):
    """The session's status changed."""

    type: Literal["status"] = "status"
    previous: Status
    current: Status
    reason: DisconnectReason | None = None


class MessageEvent(BaseEvent, InboundMessage):
    """A message came in, or was sent from the own phone (``from_me``)."""

    type: Literal["message"] = "message"
    _reply: Callable[..., Awaitable[SentMessage]] | None = PrivateAttr(default=None)
    _call: Callable[[Operation], Awaitable[None]] | None = PrivateAttr(default=None)

    async def reply(
        self,
        message: str | OutgoingMessage,
        *,
        idempotency_key: str | None = None,
        resend: bool = False,
        wait: bool = False,
        timeout: float | None = None,
    ) -> SentMessage:
        """Send ``message`` to the chat this one came from, as soon as the link is live.

        The keywords mean, and it raises, what ``send_message`` says: with ``wait`` it waits its turn in the limit.
        """
        if self._reply is None:
            raise RuntimeError(_FOREIGN)
        return await self._reply(
            self.chat.id, message, idempotency_key=idempotency_key, resend=resend, wait=wait, timeout=timeout
        )

    async def react(self, emoji: str) -> None:
        """React by an emoji, or take that back by an empty one, as soon as the link is live."""
        await self._ask(
            React(
                message_id=self.message_id,
                emoji=emoji,
                chat=self.chat.id,
                sender=self.sender.id,
                from_me=self.from_me,
            )
        )

    async def mark_read(self) -> None:
        """Show the sender the read marks, as soon as the link is live."""
        await self._ask(MarkRead(message_ids=(self.message_id,), chat=self.chat.id, sender=self.sender.id))

    async def _ask(self, operation: Operation) -> None:
        if self._call is None:
            raise RuntimeError(_FOREIGN)
        await self._call(operation)


class AboutMessage(BaseEvent):
    """What became of the message ``message_id`` in ``chat``; ``sender`` is who did it."""

    message_id: str
    chat: Contact
    sender: Contact
    from_me: bool = False
    is_group: bool = False
    timestamp: datetime


class ReactionEvent(AboutMessage):
    """Someone reacted to a message by an ``emoji``, or took that back, which leaves it empty."""

    type: Literal["reaction"] = "reaction"
    emoji: str = Field(repr=False)


class MessageEditedEvent(AboutMessage):
    """Someone edited a message: its ``text`` or caption is this now. Whether it was the author is not checked here."""

    type: Literal["message_edited"] = "message_edited"
    text: str = Field(repr=False)


class MessageRevokedEvent(AboutMessage):
    """Someone deleted a message for everyone. Whether its author or an admin of the group is not checked here."""

    type: Literal["message_revoked"] = "message_revoked"


class MessageSentEvent(BaseEvent):
    """WhatsApp's server acknowledged a message of ours, perhaps after a ``SendTimeout``, which has its ``send_id``."""

    type: Literal["message_sent"] = "message_sent"
    message_id: str
    to: str
    timestamp: datetime
    send_id: str | None = None


class ReceiptEvent(BaseEvent, InboundReceipt):
    """Messages of ours were delivered, read or played."""

    type: Literal["receipt"] = "receipt"


class PresenceEvent(BaseEvent, Presence):
    """Someone came online or went; only the newest are told where they come faster than they are taken."""

    type: Literal["presence"] = "presence"


class TypingEvent(BaseEvent, Typing):
    """Someone writes to us, or has stopped; dropped like ``presence``."""

    type: Literal["typing"] = "typing"


class UndecryptableEvent(BaseEvent, Undecryptable):
    """A message came that could not be decrypted; it may follow as ``message``, and is lost where it does not."""


class CallEvent(BaseEvent, Call):
    """Someone calls, the own phone accepted, or the call is over."""


class GroupEvent(BaseEvent, GroupChange):
    """A group that this account is in has changed."""


class HistorySyncEvent(BaseEvent, HistorySync):
    """The phone handed over old chats, in parts: how many, not what is in them."""


class ContactEvent(BaseEvent):
    """Someone is known who was not, or by another name, number or LID than before, as seen in a message."""

    type: Literal["contact"] = "contact"
    contact: Contact
    name: str | None = None


NOTICES: Mapping[str, type[UndecryptableEvent | CallEvent | GroupEvent | HistorySyncEvent]] = {
    "undecryptable": UndecryptableEvent,
    "call": CallEvent,
    "group": GroupEvent,
    "history_sync": HistorySyncEvent,
}
"""The events that notices become, by their type."""

Event = Annotated[
    QrEvent
    | PairingCodeEvent
    | ConnectedEvent
    | DisconnectedEvent
    | ReconnectingEvent
    | ReconnectFailedEvent
    | HealthCheckFailedEvent
    | RestrictedEvent
    | LogoutEvent
    | ErrorEvent
    | StatusEvent
    | MessageEvent
    | MessageEditedEvent
    | MessageRevokedEvent
    | ReactionEvent
    | MessageSentEvent
    | ReceiptEvent
    | PresenceEvent
    | TypingEvent
    | UndecryptableEvent
    | CallEvent
    | GroupEvent
    | ContactEvent
    | HistorySyncEvent,
    Field(discriminator="type"),
]
EVENT_TYPES = frozenset(str(model.model_fields["type"].default) for model in get_args(get_args(Event)[0]))
