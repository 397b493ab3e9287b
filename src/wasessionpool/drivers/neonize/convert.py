"""neonize's protobuf messages as this library's values; pure, and without importing neonize."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ...messages import MAX_TEXT
from ...models import Contact, InboundMessage, InboundReceipt, Presence, Typing

if TYPE_CHECKING:
    from neonize.proto import Neonize_pb2
    from neonize.proto.waE2E import WAWebProtobufsE2E_pb2

PHONE = "s.whatsapp.net"
LID = "lid"

_KINDS = {
    "conversation": "text",
    "extendedTextMessage": "text",
    "ptvMessage": "video",
    "lottieStickerMessage": "sticker",
    "audioStickerMessage": "sticker",
    "contactsArrayMessage": "contact",
}
_NO_MESSAGES = frozenset(
    {
        "protocolMessage",
        "senderKeyDistributionMessage",
        "fastRatchetKeySenderKeyDistributionMessage",
        "messageContextInfo",
        "deviceSentMessage",
        "stickerSyncRmrMessage",
        "placeholderMessage",
        "messageHistoryBundle",
        "messageHistoryNotice",
        "groupRootKeyShare",
        "rootSecretDistributeMessage",
        "editedMessage",
    }
)
_EDITS = frozenset({"1", "3", "7", "8"})
"""Values of the ``edit`` attribute that change an earlier message: edited, by an admin, revoked, by an admin."""
_TEXTS = ("text", "caption", "selectedDisplayText", "name", "displayName")
_RECEIPTS = {1: "delivered", 4: "read", 6: "played"}
_MILLISECONDS = 10**11
"""Beyond it a timestamp counts milliseconds: as seconds it would lie after the year 5000."""


def message(event: Neonize_pb2.Message, me: Contact) -> InboundMessage | None:
    """Return the message, or ``None`` for what is no message to a reader: keys, statuses.

    An edit or a revoke is one of its kind, which quotes what it is about.

    ``me`` is the session's own account, which WhatsApp names by its LID alone in what its own phone sent.
    """
    info = event.Info
    source = info.MessageSource
    if not event.HasField("Message"):
        return None
    if source.Chat.Server not in (PHONE, LID, "g.us", "broadcast") or source.Chat.User == "status":
        return None
    read = _change(event.Message)
    if read is None and not event.IsEdit and info.Edit not in _EDITS:
        read = _message(event.Message)
    if read is None:
        return None
    kind, text, quoted = read
    chat, sender = people(source, me)
    return InboundMessage(
        message_id=info.ID,
        chat=chat,
        sender=sender,
        sender_name=info.Pushname or None,
        from_me=source.IsFromMe,
        is_group=source.IsGroup,
        kind=kind,
        text=text[:MAX_TEXT] if text or kind == "text" else None,
        quoted=quoted,
        timestamp=moment(info.Timestamp),
    )


def receipt(event: Neonize_pb2.Receipt, me: Contact) -> InboundReceipt | None:
    """Return the receipt, or ``None`` where it says neither delivered nor read nor played."""
    what = _RECEIPTS.get(event.Type)
    if what is None or event.MessageSource.IsFromMe or not event.MessageIDs:
        return None
    chat, sender = people(event.MessageSource, me)
    return InboundReceipt.model_validate(
        {
            "message_ids": tuple(event.MessageIDs),
            "chat": chat,
            "sender": sender,
            "receipt": what,
            "timestamp": moment(event.Timestamp),
        }
    )


def presence(event: Neonize_pb2.Presence, _me: Contact) -> Presence:
    last_seen = moment(event.LastSeen) if event.LastSeen > 0 else None
    return Presence(contact=contact(event.From), available=not event.Unavailable, last_seen=last_seen)


def typing(event: Neonize_pb2.ChatPresence, me: Contact) -> Typing:
    chat, sender = people(event.MessageSource, me)
    writing = "recording" if event.Media == event.AUDIO else "composing"
    state = writing if event.State == event.COMPOSING else "paused"
    return Typing.model_validate({"chat": chat, "sender": sender, "state": state})


def jid(value: Neonize_pb2.JID) -> str:
    """Return ``user@server``, without the device part."""
    return f"{value.User}@{value.Server}" if value.User else value.Server


def moment(timestamp: int) -> datetime:
    """Return the time for seconds or milliseconds since 1970: neonize counts messages in the latter."""
    seconds = timestamp / 1000 if abs(timestamp) > _MILLISECONDS else timestamp
    return datetime.fromtimestamp(min(max(seconds, 0), _MILLISECONDS), UTC)


def contact(value: Neonize_pb2.JID, other: Neonize_pb2.JID | None = None) -> Contact:
    """Return whom ``value`` names; ``other`` may hold the same person's other name: phone number or LID."""
    names = {name.Server: name for name in (other, value) if name is not None and name.User}
    phone, lid = names.get(PHONE), names.get(LID)
    if value.Server not in (PHONE, LID):
        return Contact(id=jid(value))
    return Contact(
        id=jid(phone if phone is not None else value),
        phone_number=f"+{phone.User}" if phone is not None else None,
        lid=jid(lid) if lid is not None else None,
    )


def people(source: Neonize_pb2.MessageSource, me: Contact) -> tuple[Contact, Contact]:
    """Return the chat that something belongs to, and who sent it."""
    sender = me if source.IsFromMe else contact(source.Sender, source.SenderAlt)
    if source.IsGroup:
        return contact(source.Chat), sender
    if source.IsFromMe:
        chat = contact(source.Chat, source.RecipientAlt)
        return (me if me.lid is not None and chat.lid == me.lid else chat), sender
    # Someone else's broadcast list shows as the chat; an answer belongs to the person.
    return sender, sender


def _change(content: WAWebProtobufsE2E_pb2.Message) -> tuple[str, str, str | None] | None:
    """Return what was done to an earlier message: the kind of change, the text that it has now, and its id."""
    protocol = content.protocolMessage
    if not protocol.key.ID:
        return None
    if protocol.type == protocol.REVOKE:
        return "revoked", "", protocol.key.ID
    if protocol.type != protocol.MESSAGE_EDIT or (edited := _content(protocol.editedMessage)) is None:
        return None
    return "edited", _text(edited[1]), protocol.key.ID


def _message(content: WAWebProtobufsE2E_pb2.Message) -> tuple[str, str, str | None] | None:
    """Return a message's kind, its text, and the id of what it quotes."""
    found = _content(content)
    if found is None:
        return None
    field, part = found
    return _kind(field), _text(part), _quoted(field, part)


def _content(content: WAWebProtobufsE2E_pb2.Message) -> tuple[str, Any] | None:
    for field, part in content.ListFields():
        if field.name == "protocolMessage":
            return None
        if field.name not in _NO_MESSAGES:
            return field.name, part
    return None


def _kind(field: str) -> str:
    if field in _KINDS:
        return _KINDS[field]
    if field.startswith("pollCreationMessage"):
        return "poll"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"Mess+age(V\d+)?$", "", field)).lower()


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    return next((text for name in _TEXTS if isinstance(text := getattr(part, name, None), str) and text), "")


def _quoted(field: str, part: Any) -> str | None:
    context = getattr(part, "contextInfo", None)
    if field == "reactionMessage":
        return part.key.ID or None
    return (context.stanzaID or None) if context is not None else None
