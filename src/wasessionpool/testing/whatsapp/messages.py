"""What passes between accounts, as a test sees it, and as it is written inside a Signal message."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

_MAX_PADDING = 15


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that an account got, or the copy a phone got of what its linked device sent.

    `sender` and `recipient` are phone numbers; `encryption` is how it came: `pkmsg` opens a Signal session, `msg`
    continues one, `None` means that it never left the server, because it came from another simulated phone.
    """

    id: str
    sender: str
    recipient: str
    text: str
    timestamp: datetime
    encryption: Literal["pkmsg", "msg"] | None = None


@dataclass(frozen=True, slots=True)
class ReceivedReceipt:
    """A receipt that an account's linked device sent for messages of this account. An empty `kind` means delivered."""

    message_ids: tuple[str, ...]
    sender: str
    kind: str


def new_message_id() -> str:
    return "3EB0" + secrets.token_hex(9).upper()


def text_of(message: Message) -> str:
    """Return the text of a message, empty when it holds something else."""
    return message.conversation or message.extended_text.text


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
