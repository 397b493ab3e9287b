"""What a connection can be asked to do besides sending: one typed model per operation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .models import Frozen

TypingState = Literal["composing", "recording", "paused"]


class LogOut(Frozen):
    """Unlink this device from the phone; WhatsApp forgets it, and its keys become worthless."""

    type: Literal["log_out"] = "log_out"


class MarkRead(Frozen):
    """Tell the ``sender`` in ``chat`` (JIDs) that messages were read."""

    type: Literal["mark_read"] = "mark_read"
    message_ids: tuple[str, ...]
    chat: str
    sender: str


class React(Frozen):
    """React to a message of ``sender`` in ``chat`` (JIDs) by an emoji; an empty one takes the reaction back."""

    type: Literal["react"] = "react"
    message_id: str
    emoji: str = Field(repr=False)
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
