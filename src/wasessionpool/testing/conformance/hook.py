"""What an ``EventHook`` has to keep."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import anyio
from ulid import ULID

from ...abc import EventHook
from ...events import Event
from ...models import Contact
from ...qr import QRCode
from .requirement import Make, require, run_all

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_BOB = Contact(id="79001234567@s.whatsapp.net", phone_number="+79001234567", lid="7779001234567@lid")
_FIELDS: dict[str, Any] = {
    "qr": QRCode("2@a-pairing-code", NOW + timedelta(seconds=60)),
    "expires_at": NOW + timedelta(seconds=160),
    "emoji": "👍",
    "code": "storage_error",
    "jid": "79686484488:1@s.whatsapp.net",
    "phone_number": "+79686484488",
    "reason": "network",
    "attempt": 1,
    "attempts": 10,
    "delay": 5.0,
    "failures": 1,
    "kind": "login",
    "detail": "the disk is full",
    "previous": "connecting",
    "current": "connected",
    "message_id": "3EB0588B3467C544266376",
    "message_ids": ("3EB0588B3467C544266376",),
    "to": "79001234567@s.whatsapp.net",
    "chat": _BOB,
    "sender": _BOB,
    "contact": _BOB,
    "timestamp": NOW,
    "receipt": "read",
    "available": True,
    "call_id": "0A1B2C3D4E5F60718293A4B5C6D7E8F9",
    "caller": _BOB,
    "group": Contact(id="120363041234567890@g.us"),
    "sync_type": "recent",
    "state": "composing",
}


def sample_events(company_id: str = "962302", device: str = "main") -> Sequence[Event]:
    """Return one event of every type, in the session's order."""
    return [_sample(model, company_id, device, number) for number, model in enumerate(get_args(get_args(Event)[0]), 1)]


async def check_hook(make_hook: Make[EventHook]) -> None:
    """Check an ``EventHook``: it takes every event there is, also twice and of two sessions at the same time.

    Raises ``AssertionError``.
    """
    await run_all(
        "EventHook",
        make_hook,
        [
            _it_takes_every_event,
            _it_leaves_events_as_they_are,
            _it_takes_a_message_that_comes_again,
            _it_takes_two_sessions_at_once,
        ],
    )


def _sample(model: Any, company_id: str, device: str, number: int) -> Event:
    fields = {
        name: _FIELDS[name] for name, field in model.model_fields.items() if field.is_required() and name in _FIELDS
    }
    if "action" in model.model_fields:
        fields["action"] = "offered" if model.model_fields["type"].default == "call" else "renamed"
    if "text" in model.model_fields:
        fields["text"] = "Hello, Ёлка 🎄"
    event: Event = model(
        id=str(ULID.from_datetime(NOW)),
        time=NOW,
        company_id=company_id,
        device=device,
        sequence=number,
        metadata={"plan": "gold"},
        **fields,
    )
    return event


async def _call(hook: EventHook, event: Event) -> None:
    try:
        await hook(event)
    except Exception as error:
        raise AssertionError(
            f"a hook must take {event.type} events; it raised {type(error).__name__}: {error}"
        ) from error


async def _it_takes_every_event(hook: EventHook) -> None:
    for event in sample_events():
        await _call(hook, event)


async def _it_leaves_events_as_they_are(hook: EventHook) -> None:
    for event in sample_events():
        before = repr(event)
        await _call(hook, event)
        require(repr(event) == before, f"a hook must not change the {event.type} event: others get the same one")


async def _it_takes_a_message_that_comes_again(hook: EventHook) -> None:
    [message] = [event for event in sample_events() if event.type == "message"]
    await _call(hook, message)
    await _call(hook, message.model_copy(update={"redelivered": True}))


async def _it_takes_two_sessions_at_once(hook: EventHook) -> None:
    async def hear(company_id: str) -> None:
        for event in sample_events(company_id):
            await _call(hook, event)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear, "962302")
        tasks.start_soon(hear, "962303")
