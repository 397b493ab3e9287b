"""What passes between accounts, as a test sees it, and as it is written inside a Signal message."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.content import ContentKind
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

_MAX_PADDING = 15


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that an account got, or the copy a phone got of what its linked device sent.

    `sender` is a phone number, and `device` the linked device that wrote it, 0 the phone. `recipient` is a phone
    number or the JID of a group. `encryption` is how it came: `pkmsg` opens a Signal session, `msg` continues one,
    `skmsg` is for a whole group, `None` means that it never left the server, because it came from another simulated
    phone.
    `text` is the caption of a file, the emoji of a reaction, the question of a poll; `target` is the message that a
    reaction or a vote is for; `options` are those of a poll, or those voted for; `media` is a file as it was before it
    was encrypted, empty when it could not be had.
    """

    id: str
    sender: str
    recipient: str
    text: str
    timestamp: datetime
    encryption: Literal["pkmsg", "msg", "skmsg"] | None = None
    device: int = 0
    kind: ContentKind = "text"
    target: str = ""
    options: tuple[str, ...] = ()
    mimetype: str = ""
    media: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ReceivedReceipt:
    """A receipt that a linked device sent for messages of this account. An empty `kind` means delivered.

    Its `sender` is another account, or this one where a linked device of its own says what became of a copy.
    """

    message_ids: tuple[str, ...]
    sender: str
    kind: str


def new_message_id() -> str:
    return "3EB0" + secrets.token_hex(9).upper()


def pad(message: Message) -> bytes:
    """Write a message with WhatsApp's padding: 1 to 15 bytes, each the count."""
    count = secrets.randbelow(_MAX_PADDING) + 1
    return message.SerializeToString() + bytes((count,)) * count


def unpad(plaintext: bytes) -> Message:
    """Read a padded message. Raises DecryptionError."""
    if not plaintext or not 0 < plaintext[-1] <= len(plaintext):
        raise DecryptionError("a message with bad padding")
    try:
        return Message.FromString(plaintext[: -plaintext[-1]])
    except DecodeError:
        raise DecryptionError("a message that cannot be read") from None
