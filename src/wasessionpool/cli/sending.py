"""``send``: one message from a session that is started for it."""

from __future__ import annotations

import anyio

from ..errors import SessionLocked
from ..messages import OutgoingMessage
from ..models import SessionKey, SessionRecord, SessionStatus, Status
from ..pool import WhatsAppSessionPool
from .ending import CommandFailed
from .listing import find, pair_command
from .output import Output


async def send(
    pool: WhatsAppSessionPool, key: SessionKey, to: str, message: OutgoingMessage, *, timeout: float, output: Output
) -> None:
    """Start the session, wait at most ``timeout`` seconds for its link, send, and leave it as it was."""
    record = await find(key, pool.settings.session_path)
    if not record.linked:
        raise _not_linked(key, pool)
    async with pool:
        with output.waiting(f"connecting {key}"):
            status = await _start(pool, key, timeout)
        try:
            if status.status in (Status.PAIRING, Status.LOGGED_OUT):
                raise _not_linked(key, pool)
            if status.status is not Status.CONNECTED:
                raise CommandFailed(_why_not(key, status, timeout))
            sent = await pool.send_message(key.company_id, to, message, device=key.device)
            output.json(sent.model_dump(mode="json"))
            output.line(f"sent {sent.id} to {sent.to}")
        finally:
            with anyio.move_on_after(pool.settings.shutdown_timeout, shield=True):
                await _leave(pool, record)


async def _start(pool: WhatsAppSessionPool, key: SessionKey, timeout: float) -> SessionStatus:
    try:
        return await pool.create_session(key.company_id, device=key.device, timeout=timeout)
    except SessionLocked as error:
        raise CommandFailed(f"{error.message}: send through that process, or stop it first") from None


async def _leave(pool: WhatsAppSessionPool, record: SessionRecord) -> None:
    """Starting a session also asks for it in the next run; one that was told to stay down stays down."""
    if record.desired == "stopped":
        await pool.disconnect(record.company_id, device=record.device)


def _not_linked(key: SessionKey, pool: WhatsAppSessionPool) -> CommandFailed:
    return CommandFailed(f"session {key} is not linked to a phone: {pair_command(key, pool.settings.session_path)}")


def _why_not(key: SessionKey, status: SessionStatus, timeout: float) -> str:
    because = status.last_error or status.disconnect_reason
    until = f" until {status.restricted_until:%Y-%m-%d %H:%M} UTC" if status.restricted_until else ""
    waited = f" after {timeout:g} s" if status.status in (Status.CONNECTING, Status.RECONNECTING) else ""
    return f"not sent: session {key} is {status.status}{until}{waited}{f' ({because})' if because else ''}"
