"""What a connection reports, from a driver to its session."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from .models import DisconnectReason, Frozen, InboundMessage, InboundReceipt, Presence, Typing
from .notices import Notice


class PairingQueued(Frozen):
    """The device is not linked and waits for its turn to pair; no deadline runs meanwhile."""

    type: Literal["pairing_queued"] = "pairing_queued"


class PairingStarted(Frozen):
    """The turn to pair has come."""

    type: Literal["pairing_started"] = "pairing_started"


class PairingOffered(Frozen):
    """A QR's content waits for the phone, for ``lifetime`` seconds; the next code replaces it."""

    type: Literal["pairing_offered"] = "pairing_offered"
    text: str = Field(repr=False)
    lifetime: float


class PairingCodeOffered(Frozen):
    """A code of eight characters waits to be typed into the phone, for ``lifetime`` seconds."""

    type: Literal["pairing_code_offered"] = "pairing_code_offered"
    code: str = Field(repr=False)
    lifetime: float


class PairingAccepted(Frozen):
    """The phone confirmed; the keys are on disk. The live link follows as ``LinkUp``."""

    type: Literal["pairing_accepted"] = "pairing_accepted"
    jid: str


class LinkUp(Frozen):
    """The link is live: logged in, and WhatsApp's server answers."""

    type: Literal["link_up"] = "link_up"
    jid: str
    lid: str | None = None
    phone_number: str
    push_name: str | None = None


class LinkLost(Frozen):
    """The line broke and the driver tries to mend it: ``LinkUp`` or ``LinkEnded`` follows, or nothing."""

    type: Literal["link_lost"] = "link_lost"
    reason: Literal[DisconnectReason.NETWORK, DisconnectReason.SERVER] = DisconnectReason.NETWORK
    detail: str | None = None


class LinkEnded(Frozen):
    """The link is over; always the last event. ``until``: when a temporary ban ends."""

    type: Literal["link_ended"] = "link_ended"
    reason: DisconnectReason
    detail: str | None = None
    until: datetime | None = None


class LinkDoubted(Frozen):
    """The driver has a reason to doubt that the link lives, other than a keep-alive."""

    type: Literal["link_doubted"] = "link_doubted"
    detail: str


class KeepAliveMissed(Frozen):
    """``failures`` keep-alives in a row went unanswered; the last that was answered was so ``answered_at``."""

    type: Literal["keep_alive_missed"] = "keep_alive_missed"
    failures: int
    answered_at: datetime | None = None


class KeepAliveRestored(Frozen):
    """The server answers keep-alives again."""

    type: Literal["keep_alive_restored"] = "keep_alive_restored"


class PresenceChanged(Frozen):
    """Someone came or went; ``missed`` such events (with typing) were dropped since the last one told."""

    type: Literal["presence_changed"] = "presence_changed"
    presence: Presence
    missed: int = 0


class TypingChanged(Frozen):
    """Someone began or stopped to write; ``missed`` as in ``PresenceChanged``."""

    type: Literal["typing_changed"] = "typing_changed"
    typing: Typing
    missed: int = 0


class ReceiptsReceived(Frozen):
    """Messages of ours were delivered, read or played; ``missed`` receipts were dropped since the last ones told."""

    type: Literal["receipts_received"] = "receipts_received"
    receipts: tuple[InboundReceipt, ...]
    missed: int = 0


class NoticesReceived(Frozen):
    """Notices came together; ``missed`` were dropped since the last ones told."""

    type: Literal["notices_received"] = "notices_received"
    notices: tuple[Notice, ...]
    missed: int = 0


class InboxBlocked(Frozen):
    """Nothing more can be stored, so WhatsApp has to wait with messages."""

    type: Literal["inbox_blocked"] = "inbox_blocked"
    code: Literal["backlog_full", "storage_error"]
    detail: str


DriverEvent = Annotated[
    PairingQueued
    | PairingStarted
    | PairingOffered
    | PairingCodeOffered
    | PairingAccepted
    | LinkUp
    | LinkLost
    | LinkEnded
    | LinkDoubted
    | KeepAliveMissed
    | KeepAliveRestored
    | PresenceChanged
    | TypingChanged
    | ReceiptsReceived
    | NoticesReceived
    | InboxBlocked,
    Field(discriminator="type"),
]


InboxEvent = Literal["message", "reaction", "message_edited", "message_revoked"]
_DONE_TO_A_MESSAGE: Mapping[str, InboxEvent] = {
    "reaction": "reaction",
    "edited": "message_edited",
    "revoked": "message_revoked",
}


class InboxItem(Frozen):
    """A message in an inbox: its ``number`` there, and an id that it keeps for ever (a ULID)."""

    number: int
    event_id: str
    message: InboundMessage
    redelivered: bool = False

    @property
    def event_type(self) -> InboxEvent:
        """The type of the event that it becomes."""
        return _DONE_TO_A_MESSAGE.get(self.message.kind, "message") if self.message.quoted else "message"
