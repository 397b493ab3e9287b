"""What a connection can be asked to do besides sending: one typed model per operation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from .errors import InvalidMessage
from .models import Frozen

MAX_EMOJI = 32
"""Characters of a reaction: the longest emoji, a family with skin tones, has a dozen."""


def _emoji(emoji: object) -> object:
    if not isinstance(emoji, str) or len(emoji) > MAX_EMOJI or not _can_be_encoded(emoji):
        raise InvalidMessage(f"a reaction is one emoji, a str of at most {MAX_EMOJI} characters, or an empty one")
    return emoji


def _message_id(message_id: object) -> object:
    if not isinstance(message_id, str) or not message_id or not _can_be_encoded(message_id):
        raise InvalidMessage("a message is named by its id, a str as events and SentMessage have it")
    return message_id


def _can_be_encoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


MessageId = Annotated[str, BeforeValidator(_message_id)]
TypingState = Literal["composing", "recording", "paused"]


class LogOut(Frozen):
    """Unlink this device from the phone; WhatsApp forgets it, and its keys become worthless."""

    type: Literal["log_out"] = "log_out"


class MarkRead(Frozen):
    """Tell the ``sender`` in ``chat`` (JIDs) that messages were read."""

    type: Literal["mark_read"] = "mark_read"
    message_ids: tuple[MessageId, ...]
    chat: str
    sender: str


class React(Frozen):
    """React to a message of ``sender`` in ``chat`` (JIDs) by an emoji; an empty one takes the reaction back."""

    type: Literal["react"] = "react"
    message_id: MessageId
    emoji: Annotated[str, BeforeValidator(_emoji)] = Field(repr=False)
    chat: str
    sender: str
    from_me: bool = False


class ShowTyping(Frozen):
    """Show in ``chat`` (a JID) that a message is being written, spoken, or neither any more."""

    type: Literal["show_typing"] = "show_typing"
    chat: str
    state: TypingState


class CheckNumbers(Frozen):
    """Ask which of ``numbers`` (digits) are on WhatsApp; the result are those that are."""

    type: Literal["check_numbers"] = "check_numbers"
    numbers: tuple[str, ...]


Operation = Annotated[LogOut | MarkRead | React | ShowTyping | CheckNumbers, Field(discriminator="type")]
