"""What can be sent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .errors import InvalidMessage, PayloadTooLarge
from .models import Frozen

MAX_TEXT = 65_536
"""Characters in a text, WhatsApp's own limit."""


TEXT_SCHEMA: dict[str, Any] = {
    "pattern": r"\S",
    "description": f"At most {MAX_TEXT} characters, and not all of them blank.",
}
"""What is documented of a text; ``to_message`` checks it, and its error says what is wrong."""


class Text(Frozen):
    """A text message of 1–65,536 characters."""

    kind: Literal["text"] = "text"
    text: str = Field(repr=False, json_schema_extra=TEXT_SCHEMA)


OutgoingMessage = Text


def to_message(message: str | OutgoingMessage) -> OutgoingMessage:
    """Return what to send for what the user gave, checked.

    Raises ``InvalidMessage``, or ``PayloadTooLarge`` for a text over the limit.
    """
    if isinstance(message, str):
        message = Text(text=message)
    if not isinstance(message, OutgoingMessage):
        raise InvalidMessage(f"a message is a str or a Text, not {type(message).__name__}")
    if not message.text.strip():
        raise InvalidMessage("the message is empty")
    if len(message.text) > MAX_TEXT:
        raise PayloadTooLarge(f"the text has {len(message.text)} characters, the limit is {MAX_TEXT}", limit=MAX_TEXT)
    try:
        message.text.encode()
    except UnicodeEncodeError:
        raise InvalidMessage("the text holds a lone surrogate, which no encoding can carry") from None
    return message
