"""``send``: one text message."""

from __future__ import annotations

from ..messages import OutgoingMessage
from ..models import SessionKey
from .output import Output
from .places import Place


async def send(
    place: Place, key: SessionKey, to: str, message: OutgoingMessage, *, timeout: float, output: Output
) -> None:
    """Wait at most ``timeout`` seconds for the session's link, send, and print the message's id."""
    with output.waiting(f"sending from {key}"):
        sent = await place.send(key, to, message, timeout=timeout)
    output.json(sent.model_dump(mode="json"))
    output.line(f"sent {sent.id} to {sent.to}")
