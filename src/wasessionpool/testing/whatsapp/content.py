"""What stands inside a message: text, media, a reaction, a poll or a vote."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message, MessageKey

MediaKind = Literal["image", "video", "audio", "document", "sticker"]
ContentKind = Literal[
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "reaction",
    "poll",
    "vote",
    "edit",
    "revoke",
    "other",
]
Pointer = Message.Image | Message.Video | Message.Audio | Message.Document | Message.Sticker
"""Where a file lies, how to decrypt it, and what it must be."""

_REVOKE, _EDIT = 0, 14
_EDIT_MARKS: Final[Mapping[str, str]] = {"edit": "1", "revoke": "7"}
MEDIA_KINDS: Final[tuple[MediaKind, ...]] = ("image", "video", "audio", "document", "sticker")


@dataclass(frozen=True, slots=True)
class Content:
    """A message as it was read: `text` is a caption, an emoji or a question where `kind` is not text."""

    kind: ContentKind
    text: str = ""
    target: str = ""
    options: tuple[str, ...] = ()
    mimetype: str = ""
    pointer: Pointer | None = None


def read_content(message: Message) -> Content:
    """Say what a message is. What this server does not know is of kind `other`."""
    text = message.conversation or message.extended_text.text
    if text:
        return Content("text", text)
    for kind in MEDIA_KINDS:
        if message.HasField(kind):
            pointer: Pointer = getattr(message, kind)
            return Content(kind, getattr(pointer, "caption", ""), mimetype=pointer.mimetype, pointer=pointer)
    if message.HasField("reaction"):
        return Content("reaction", message.reaction.text, message.reaction.key.id)
    poll = poll_of(message)
    if poll is not None:
        return Content("poll", poll.name, options=tuple(option.name for option in poll.options))
    if message.protocol.HasField("key"):
        return Content(_change_of(message), message.protocol.edited.conversation, message.protocol.key.id)
    if message.HasField("poll_update"):
        return Content("vote", target=message.poll_update.poll.id)
    known = message.HasField("conversation") or message.HasField("extended_text")
    return Content("text" if known else "other")


def poll_of(message: Message) -> Message.Poll | None:
    """Return the poll that a message opens, whichever of its three versions it is written in."""
    for version in ("poll", "poll_v2", "poll_v3"):
        if message.HasField(version):
            poll: Message.Poll = getattr(message, version)
            return poll
    return None


def _change_of(message: Message) -> ContentKind:
    return "edit" if message.protocol.type == _EDIT else "revoke"


def stanza_type(message: Message) -> str:
    """Return the `type` that a message's stanza carries: text, media, reaction or poll."""
    kind = read_content(message).kind
    if kind in MEDIA_KINDS:
        return "media"
    return {"reaction": "reaction", "poll": "poll", "vote": "poll"}.get(kind, "text")


def media_type(message: Message) -> str:
    """Return the `mediatype` of an encrypted file's message, empty for any other."""
    kind = read_content(message).kind
    return kind if kind in MEDIA_KINDS else ""


def text_message(text: str) -> Message:
    return Message(conversation=text)


def reaction_message(key: MessageKey, emoji: str) -> Message:
    """React to a message; an empty emoji takes the reaction back."""
    return Message(reaction=Message.Reaction(key=key, text=emoji, timestamp_ms=int(time.time() * 1000)))


def edit_message(key: MessageKey, text: str) -> Message:
    """Let a text message say something else."""
    now = int(time.time() * 1000)
    return Message(protocol=Message.Protocol(key=key, type=_EDIT, edited=text_message(text), timestamp_ms=now))


def revoke_message(key: MessageKey) -> Message:
    """Delete a message for everyone."""
    return Message(protocol=Message.Protocol(key=key, type=_REVOKE))


def edit_mark(message: Message) -> dict[str, str]:
    """Return the attribute by which a stanza says that its message changes an earlier one of the same author."""
    kind = read_content(message).kind
    return {"edit": _EDIT_MARKS[kind]} if kind in _EDIT_MARKS else {}


def poll_message(question: str, options: Sequence[str], selectable: int) -> Message:
    return Message(
        poll=Message.Poll(name=question, options=[Message.Poll.Option(name=o) for o in options], selectable=selectable),
        context=Message.ContextInfo(message_secret=secrets.token_bytes(32)),
    )
