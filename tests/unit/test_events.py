"""The events' names and fields, and what all of them share."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from wasessionpool import (
    CallEvent,
    ConnectedEvent,
    ContactEvent,
    DisconnectedEvent,
    ErrorEvent,
    Event,
    GroupEvent,
    HealthCheckFailedEvent,
    HistorySyncEvent,
    LogoutEvent,
    MessageEditedEvent,
    MessageEvent,
    MessageRevokedEvent,
    MessageSentEvent,
    PairingCodeEvent,
    PresenceEvent,
    QrEvent,
    ReactionEvent,
    ReceiptEvent,
    ReconnectFailedEvent,
    ReconnectingEvent,
    RestrictedEvent,
    SessionKey,
    StatusEvent,
    TypingEvent,
    UndecryptableEvent,
)
from wasessionpool.events import EVENT_TYPES, BaseEvent
from wasessionpool.testing import sample_events

FIELDS = {
    QrEvent: {"qr"},
    PairingCodeEvent: {"code", "expires_at"},
    ConnectedEvent: {"jid", "phone_number"},
    DisconnectedEvent: {"reason"},
    ReconnectingEvent: {"attempt", "delay"},
    ReconnectFailedEvent: {"attempts", "reason"},
    HealthCheckFailedEvent: {"failures", "last_inbound_age", "last_ack_age", "probe_error"},
    RestrictedEvent: {"kind", "until"},
    LogoutEvent: {"reason"},
    ErrorEvent: {"code", "detail"},
    StatusEvent: {"previous", "current", "reason"},
    MessageEvent: {"message_id", "chat", "sender", "sender_name", "from_me", "is_group", "kind", "text", "timestamp"},
    ReactionEvent: {"message_id", "emoji", "chat", "sender", "from_me", "is_group", "timestamp"},
    MessageEditedEvent: {"message_id", "text", "chat", "sender", "from_me", "is_group", "timestamp"},
    MessageRevokedEvent: {"message_id", "chat", "sender", "from_me", "is_group", "timestamp"},
    UndecryptableEvent: {"message_id", "chat", "sender", "from_me", "is_group", "timestamp"},
    CallEvent: {"call_id", "caller", "action", "timestamp"},
    GroupEvent: {"group", "action", "by", "members", "name", "timestamp"},
    HistorySyncEvent: {"sync_type", "progress", "chats", "messages"},
    ContactEvent: {"contact", "name"},
    MessageSentEvent: {"message_id", "to", "timestamp"},
    PresenceEvent: {"contact", "available", "last_seen"},
    TypingEvent: {"chat", "sender", "state"},
    ReceiptEvent: {"message_ids", "chat", "sender", "receipt", "timestamp"},
}


@pytest.mark.parametrize("model", FIELDS, ids=lambda model: model.__name__)
def test_an_event_has_its_fields(model: type[BaseEvent]) -> None:
    assert FIELDS[model] <= set(model.model_fields)


def test_the_class_of_an_event_is_named_by_its_type() -> None:
    models = get_args(get_args(Event)[0])
    named = {"".join(part.title() for part in kind.split("_")) + "Event" for kind in EVENT_TYPES}
    assert {model.__name__ for model in models} == named


def test_events_cannot_be_changed_and_know_their_session() -> None:
    for event in sample_events("962303", "sales"):
        assert event.key == SessionKey("962303", "sales")
        with pytest.raises(ValidationError):
            event.sequence = 7


def test_events_come_back_from_json_by_their_type() -> None:
    adapter: TypeAdapter[Event] = TypeAdapter(Event)
    for event in sample_events():
        if event.type != "qr":  # its code is no part of any JSON
            assert adapter.validate_json(event.model_dump_json()) == event
