"""The public API as an application uses it, with the types that it gives; checked by mypy and pyright, never run."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, assert_type

from wasessionpool import (
    DisconnectReason,
    Event,
    Histogram,
    HourlyStatistics,
    MessageEvent,
    PoolMetrics,
    PoolSettings,
    QRCode,
    QrEvent,
    QueueDepths,
    SentMessage,
    Session,
    SessionKey,
    SessionStatus,
    Status,
    Text,
    Transition,
    WhatsAppSessionPool,
    WorkerMetrics,
    get_pool,
)


async def use_a_pool() -> None:
    async with WhatsAppSessionPool(PoolSettings(session_path="sessions", rate_limit_max=10)) as pool:
        assert_type(pool, WhatsAppSessionPool)
        status = await pool.create_session("962302", metadata={"plan": "gold"}, proxy="http://proxy:1", timeout=None)
        assert_type(status, SessionStatus)
        assert_type(await pool.wait_until_connected("962302", device="sales", timeout=120), SessionStatus)
        assert_type(await pool.get_session_status("962302"), SessionStatus)
        assert_type(await pool.get_sessions(), list[SessionStatus])
        assert_type(await pool.get_sessions("962302"), list[SessionStatus])
        assert_type(await pool.get_active_sessions(), list[SessionStatus])
        assert_type(await pool.get_metrics(), PoolMetrics)
        assert_type(await pool.get_statistics("962302", since=datetime.now(UTC)), list[HourlyStatistics])
        assert_type(await pool.send_message("962302", "79001234567", "Hello", wait=True, timeout=5), SentMessage)
        assert_type(await pool.send_message("962302", "79001234567", Text(text="Hello")), SentMessage)
        assert_type(await pool.disconnect("962302"), None)
        assert_type(await pool.restart("962302"), None)
        assert_type(await pool.logout("962302"), None)
        assert_type(await pool.delete_session("962302", device="sales"), None)
        assert_type(await pool.create_session("962302", phone_number="+79686484488"), SessionStatus)
        assert_type(await pool.explain("962302"), str)
        assert_type(get_pool(), WhatsAppSessionPool)


async def use_a_session(pool: WhatsAppSessionPool) -> None:
    session = assert_type(pool.session("962302"), Session)
    assert_type(session.status(), SessionStatus)
    assert_type(await session.send("79001234567", "Hello"), SentMessage)
    assert_type(await session.mark_read("3EB0", chat="79001234567"), None)
    assert_type(await session.typing("79001234567", "recording"), None)
    assert_type(await session.is_on_whatsapp("79001234567"), dict[str, bool])


async def listen(pool: WhatsAppSessionPool) -> None:
    @pool.on("message", durable=True)
    async def answer(event: MessageEvent) -> None:
        assert_type(await event.reply("Thank you!"), SentMessage)
        await event.mark_read()

    @pool.on("qr", "connected", company_id="962302", device="sales")
    def plain(event: QrEvent) -> int:
        return event.sequence

    # What on() gives back is the handler, as it was.
    assert_type(plain(await anext(some_codes())), int)
    pool.off(answer)
    pool.off(plain)
    async with pool.events("message", "receipt", company_id="962302") as events:
        assert_type(events, AsyncIterator[Event])
        async for event in events:
            if event.type == "message":
                assert_type(event, MessageEvent)
                assert_type(event.text, str | None)
                assert_type(event.chat.phone_number, str | None)


async def some_codes() -> AsyncIterator[QrEvent]:
    raise NotImplementedError
    yield


def read(status: SessionStatus, metrics: PoolMetrics) -> None:
    assert_type(status.status, Status)
    assert_type(status.health, Literal["ok", "suspect"])
    assert_type(status.disconnect_reason, DisconnectReason | None)
    assert_type(status.connected_at, datetime | None)
    assert_type(status.history, tuple[Transition, ...])
    assert_type(status.metadata, dict[str, Any])
    assert_type(metrics.workers, tuple[WorkerMetrics, ...])
    assert_type(metrics.sessions[Status.CONNECTED], int)
    assert_type(metrics.send_latency, Histogram)
    assert_type(metrics.queue_depths, QueueDepths)
    if status.qr:
        assert_type(status.qr, QRCode)
        assert_type(status.qr.terminal(), str)
        assert_type(status.qr.png(box_size=4), bytes)
        assert_type(status.qr.svg(), str)
        assert_type(status.qr.data_url(), str)
        assert_type(status.qr.expires_at, datetime)


def settings() -> None:
    assert_type(PoolSettings.from_env(session_path="sessions"), PoolSettings)
    assert_type(PoolSettings().session_path, Path)
    assert_type(PoolSettings().send_timeout, float)
    assert_type(PoolSettings().revive_interval, float | None)
    assert_type(SessionKey("962302", "sales").device, str)


async def what_is_refused(pool: WhatsAppSessionPool) -> None:
    await pool.create_session(962302)  # type: ignore[arg-type]
    await pool.send_message("962302", "79001234567", b"Hello")  # type: ignore[arg-type]
    PoolSettings(rate_limit=10)  # type: ignore[call-arg]
    WhatsAppSessionPool(store=object())  # type: ignore[arg-type]
