"""What a connection can be asked to do besides sending: one typed model per operation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .models import Frozen


class LogOut(Frozen):
    """Unlink this device from the phone; WhatsApp forgets it, and its keys become worthless."""

    type: Literal["log_out"] = "log_out"


class MarkRead(Frozen):
    """Tell the ``sender`` in ``chat`` (JIDs) that messages were read."""

    type: Literal["mark_read"] = "mark_read"
    message_ids: tuple[str, ...]
    chat: str
    sender: str


Operation = Annotated[LogOut | MarkRead, Field(discriminator="type")]
