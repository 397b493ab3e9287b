"""``pair``: link a session to a phone by the QR, or the code to type in, in the terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import anyio

from ..errors import SessionLocked
from ..events import Event, PairingCodeEvent, QrEvent, StatusEvent
from ..models import SessionKey, SessionStatus, Status
from ..pool import WhatsAppSessionPool
from .ending import CommandFailed
from .output import Output

if TYPE_CHECKING:
    from .countdown import Countdown

SCAN = "on the phone: WhatsApp › Linked devices › Link a device, and scan this"
TYPE_IN = "on the phone: WhatsApp › Linked devices › Link a device › Link with phone number instead, and type in"
DRAWING = 1.0
"""Seconds to show what has happened until now."""
WIDTH, HEIGHT = 60, 34
"""What a terminal has to have for a code of WhatsApp's size, 57 columns and 29 lines, to be redrawn in place."""


async def pair(
    pool: WhatsAppSessionPool, key: SessionKey, *, phone_number: str | None, timeout: float, output: Output
) -> None:
    """Show codes until the phone has confirmed one and the session is connected, at most ``timeout`` seconds.

    The session stays as the application will find it: to be started, where it is linked, and else stopped.
    """
    async with pool:
        offers = _Offers(key, output, drawn=phone_number is None)
        async with pool.events("qr", "pairing_code", "status", company_id=key.company_id, device=key.device) as events:
            try:
                await pool.create_session(key.company_id, device=key.device, phone_number=phone_number, timeout=0)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(offers.show, events)
                    status = await _wait_connected(pool, key, timeout)
                    # The codes that led here are shown before the outcome is.
                    tasks.cancel_scope.deadline = anyio.current_time() + DRAWING
            except SessionLocked as error:
                raise CommandFailed(f"{error.message}: pair it there, or stop that process first") from None
            except BaseException:
                with anyio.move_on_after(pool.settings.shutdown_timeout, shield=True):
                    await _give_up(pool, key)
                raise
        offers.linked(status)


async def _wait_connected(pool: WhatsAppSessionPool, key: SessionKey, timeout: float) -> SessionStatus:
    try:
        return await pool.wait_until_connected(key.company_id, device=key.device, timeout=timeout)
    except TimeoutError:
        status = await pool.get_session_status(key.company_id, device=key.device)
        if status.qr is not None:
            raise CommandFailed(f"nobody scanned the QR code within {timeout:g} s; run this command again") from None
        if status.pairing_code is not None:
            raise CommandFailed(f"nobody typed in the code within {timeout:g} s; run this command again") from None
        because = f" ({status.last_error})" if status.last_error else ""
        raise CommandFailed(f"session {key} is still {status.status} after {timeout:g} s{because}") from None


async def _give_up(pool: WhatsAppSessionPool, key: SessionKey) -> None:
    """Let no later start of the application offer codes that nobody asked for."""
    known = [status for status in await pool.get_sessions(key.company_id) if status.device == key.device]
    if known and not pool.session(key.company_id, device=key.device).linked:
        await pool.disconnect(key.company_id, device=key.device)


class _Offers:
    """What the user sees while the phone is awaited."""

    def __init__(self, key: SessionKey, output: Output, *, drawn: bool) -> None:
        self._key = key
        self._output = output
        self._drawn = drawn
        self._offered = False

    async def show(self, events: AsyncIterator[Event]) -> None:
        with self._countdown() as countdown:
            async for event in events:
                if isinstance(event, QrEvent):
                    self._offered = True
                    self._json("qr", text=event.qr.text, expires_at=event.qr.expires_at.isoformat())
                    if countdown is not None:
                        countdown.show(event.qr)
                    else:
                        self._output.qr(event.qr)
                        self._output.line(f"{SCAN} before {event.qr.expires_at:%H:%M:%S} UTC")
                elif isinstance(event, PairingCodeEvent):
                    self._offered = True
                    self._json("pairing_code", code=event.code, expires_at=event.expires_at.isoformat())
                    self._output.line(f"{event.code[:4]}-{event.code[4:]}", style="bold")
                    self._output.line(f"{TYPE_IN} this code before {event.expires_at:%H:%M:%S} UTC")
                elif isinstance(event, StatusEvent):
                    if event.current is Status.CONNECTED:
                        return
                    self._json("status", status=event.current, reason=event.reason)
                    status = f"{event.current}{f' ({event.reason})' if event.reason else ''}"
                    if countdown is not None:
                        countdown.say(f"{status} …")
                    elif event.reason is not None:
                        self._output.line(status)

    def linked(self, status: SessionStatus) -> None:
        self._json("linked", phone_number=status.phone_number, jid=status.jid, already_linked=not self._offered)
        already = "" if self._offered else "already "
        self._output.line(f"{already}linked as {status.phone_number}", style="green")

    def _countdown(self) -> AbstractContextManager[Countdown | None]:
        output = self._output
        if not self._drawn or not output.terminal or output.console.width < WIDTH or output.console.height < HEIGHT:
            return nullcontext()
        from .countdown import Countdown

        return Countdown(output.console, SCAN)

    def _json(self, event: str, **fields: Any) -> None:
        self._output.json({"event": event, "company_id": self._key.company_id, "device": self._key.device, **fields})
