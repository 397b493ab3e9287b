"""What a session received: what it tells of the session, and the events that it becomes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .contacts import Contacts
from .events import ContactEvent, Event, MessageEditedEvent, MessageEvent, MessageRevokedEvent, ReactionEvent
from .links import InboxItem
from .models import Contact, SentMessage
from .operations import Operation
from .standing import Standing

ABOUT = ("chat", "sender", "from_me", "is_group", "timestamp")


class Received:
    """Accounts for what one session received, and makes its events.

    ``reply`` and ``call`` are what a message's own methods do; ``heard`` is told whose chat with us it came from.
    """

    def __init__(
        self,
        standing: Standing,
        *,
        reply: Callable[..., Awaitable[SentMessage]],
        call: Callable[[Operation], Awaitable[None]],
        heard: Callable[[Contact], None],
    ) -> None:
        self._standing = standing
        self._reply = reply
        self._call = call
        self._heard = heard
        self._contacts = Contacts()

    def account(self, item: InboxItem) -> None:
        """Note that an item came; called once for each, whether anybody wants it or not."""
        standing, message = self._standing, item.message
        if not item.redelivered:
            standing.active()
            standing.pulse.inbound(message.timestamp)
            if item.event_type == "message" and not message.from_me:
                standing.counts.messages_received += 1
        if not message.is_group:
            self._heard(message.chat)
        if not message.from_me and (met := self._contacts.meet(message.sender, message.sender_name)):
            contact, name = met
            standing.emit(ContactEvent, contact=contact, name=name)

    def event(self, item: InboxItem) -> Event:
        """Return the event that an item of the inbox is to the application."""
        standing, message = self._standing, item.message
        origin: dict[str, Any] = {"event_id": item.event_id, "redelivered": item.redelivered}
        if item.event_type == "message":
            event = standing.event(MessageEvent, **origin, **dict(message))
            event._reply, event._call = self._reply, self._call
            return event
        about = {name: getattr(message, name) for name in ABOUT} | {"message_id": message.quoted}
        if item.event_type == "reaction":
            return standing.event(ReactionEvent, **origin, **about, emoji=message.text or "")
        if item.event_type == "message_edited":
            return standing.event(MessageEditedEvent, **origin, **about, text=message.text or "")
        return standing.event(MessageRevokedEvent, **origin, **about)
