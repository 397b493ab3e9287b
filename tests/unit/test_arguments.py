"""What is no argument: every public call says so by an error of this library, and nothing comes of it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from wasessionpool import (
    ConfigurationError,
    InvalidCompanyId,
    InvalidMessage,
    InvalidRecipient,
    Session,
    WhatsAppPoolError,
    WhatsAppSessionPool,
)
from wasessionpool.testing import FakeClock, FakeDriver

from .conftest import OpenPool
from .test_session import linked

pytestmark = pytest.mark.anyio
COMPANY, BOB = "962302", "79001234567"
NO_TEXTS: list[Any] = [5, None, b"x", [], {}, True, math.nan]
NO_IDS = [*NO_TEXTS, "", "a b", "../x", "x" * 65, "\ud800"]
NO_NUMBERS = [*NO_TEXTS, "", "Bob", "1" * 5000, "\ud800"]
NO_TIMEOUTS: list[Any] = ["5", b"x", [], {}, math.nan]
Call = Callable[[WhatsAppSessionPool, Session, Any], Awaitable[object] | object]
CALLS: list[tuple[type[WhatsAppPoolError], list[Any], dict[str, Call]]] = [
    (
        InvalidCompanyId,
        NO_IDS,
        {
            "create_session": lambda pool, _, bad: pool.create_session(bad),
            "create_session, device": lambda pool, _, bad: pool.create_session("new", device=bad),
            "wait_until_connected": lambda pool, _, bad: pool.wait_until_connected(bad),
            "get_session_status": lambda pool, _, bad: pool.get_session_status(bad),
            "send_message": lambda pool, _, bad: pool.send_message(bad, BOB, "hi"),
            "disconnect": lambda pool, _, bad: pool.disconnect(bad),
            "disconnect, device": lambda pool, _, bad: pool.disconnect(COMPANY, device=bad),
            "restart": lambda pool, _, bad: pool.restart(bad),
            "logout": lambda pool, _, bad: pool.logout(bad),
            "delete_session": lambda pool, _, bad: pool.delete_session(bad),
            "explain": lambda pool, _, bad: pool.explain(bad),
            "session": lambda pool, _, bad: pool.session(bad),
        },
    ),
    (
        InvalidCompanyId,
        [bad for bad in NO_IDS if bad is not None],
        {
            "get_sessions": lambda pool, _, bad: pool.get_sessions(bad),
            "get_statistics": lambda pool, _, bad: pool.get_statistics(bad),
            "on, company_id": lambda pool, _, bad: pool.on("qr", company_id=bad),
            "on, device": lambda pool, _, bad: pool.on("qr", device=bad),
            "events, company_id": lambda pool, _, bad: pool.events("qr", company_id=bad),
        },
    ),
    (
        InvalidRecipient,
        NO_NUMBERS,
        {
            "send_message, to": lambda pool, _, bad: pool.send_message(COMPANY, bad, "hi"),
            "send": lambda _, session, bad: session.send(bad, "hi"),
            "reply": lambda _, session, bad: session.reply(bad, "hi"),
            "react, chat": lambda _, session, bad: session.react("id", "+", chat=bad),
            "mark_read, chat": lambda _, session, bad: session.mark_read("id", chat=bad),
            "typing": lambda _, session, bad: session.typing(bad),
            "is_on_whatsapp": lambda _, session, bad: session.is_on_whatsapp(bad),
        },
    ),
    (
        InvalidRecipient,
        [bad for bad in NO_NUMBERS if bad is not None],
        {
            "create_session, phone_number": lambda pool, _, bad: pool.create_session("new", phone_number=bad),
            "react, sender": lambda _, session, bad: session.react("id", "+", chat=BOB, sender=bad),
        },
    ),
    (
        InvalidMessage,
        [*NO_TEXTS, "", " ", "\ud800"],
        {
            "send_message, message": lambda pool, _, bad: pool.send_message(COMPANY, BOB, bad),
            "reply, message": lambda _, session, bad: session.reply(BOB, bad),
        },
    ),
    (
        InvalidMessage,
        [*NO_TEXTS, "", "\ud800"],
        {
            "react": lambda _, session, bad: session.react(bad, "+", chat=BOB),
            "mark_read": lambda _, session, bad: session.mark_read("id", bad, chat=BOB),
        },
    ),
    (
        InvalidMessage,
        [*NO_TEXTS, "x" * 33, "\ud800"],
        {"react, emoji": lambda _, session, bad: session.react("id", bad, chat=BOB)},
    ),
    (
        InvalidMessage,
        [*(bad for bad in NO_TEXTS if bad is not None), "", "x" * 256, "\n"],
        {
            "send_message, key": lambda pool, _, bad: pool.send_message(COMPANY, BOB, "hi", idempotency_key=bad),
        },
    ),
    (
        ConfigurationError,
        NO_TIMEOUTS,
        {
            "create_session, timeout": lambda pool, _, bad: pool.create_session(COMPANY, timeout=bad),
            "wait_until_connected, timeout": lambda pool, _, bad: pool.wait_until_connected(COMPANY, timeout=bad),
            "send_message, timeout": lambda pool, _, bad: pool.send_message(COMPANY, BOB, "hi", timeout=bad),
            "reply, timeout": lambda _, session, bad: session.reply(BOB, "hi", timeout=bad),
        },
    ),
    (
        ConfigurationError,
        [bad for bad in [*NO_TEXTS, "", "now"] if bad is not None],
        {
            "create_session, proxy": lambda pool, _, bad: pool.create_session("new", proxy=bad),
            "get_statistics, since": lambda pool, _, bad: pool.get_statistics(since=bad),
            "get_statistics, until": lambda pool, _, bad: pool.get_statistics(until=bad),
        },
    ),
    (
        ConfigurationError,
        [5, b"x", [], True, math.nan, "", {"a": object()}],
        {"create_session, metadata": lambda pool, _, bad: pool.create_session("new", metadata=bad)},
    ),
    (
        ConfigurationError,
        [*NO_TEXTS, "", "messages", print],
        {
            "on": lambda pool, _, bad: pool.on(bad),
            "events": lambda pool, _, bad: pool.events(bad),
        },
    ),
    (
        ConfigurationError,
        [*NO_TEXTS, "message"],
        {"on, handler": lambda pool, _, bad: pool.on("qr")(bad)},
    ),
    (
        ConfigurationError,
        [*NO_TEXTS, "", "shouting"],
        {"typing, state": lambda _, session, bad: session.typing(BOB, bad)},
    ),
]


@pytest.mark.parametrize(
    ("error", "bad", "call"),
    [
        pytest.param(error, bad, call, id=f"{name}={ascii(bad)[:20]}")
        for error, bads, calls in CALLS
        for name, call in calls.items()
        for bad in bads
    ],
)
async def test_what_is_no_argument_is_refused_in_words(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    error: type[WhatsAppPoolError],
    bad: object,
    call: Call,
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        with pytest.raises(error) as caught:
            found = call(pool, pool.session(COMPANY), bad)
            if isinstance(found, Awaitable):
                await found
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 500
        assert [session.company_id for session in await pool.get_sessions()] == [COMPANY]
        assert (link.sent, len(driver.links)) == ([], 1)


def test_who_forgets_the_parentheses_of_on_is_told_how_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match=r"no such event: function; .*, as in on\('message'\)"):
        WhatsAppSessionPool().on(lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (InvalidMessage, lambda event: event.reply(None)),
        (InvalidMessage, lambda event: event.reply("hi", idempotency_key=5)),
        (ConfigurationError, lambda event: event.reply("hi", timeout="5")),
        (InvalidMessage, lambda event: event.react(None)),
        (InvalidMessage, lambda event: event.react("x" * 33)),
    ],
)
async def test_what_is_no_argument_of_an_events_methods_is_refused_in_words(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    error: type[WhatsAppPoolError],
    call: Callable[[Any], Awaitable[object]],
) -> None:
    async with open_pool() as pool, pool.events("message") as events:
        link = await linked(pool, driver, clock)
        link.receive("hello")
        event = await anext(events)
        with pytest.raises(error):
            await call(event)
        assert (link.sent, link.operations) == ([], [])
