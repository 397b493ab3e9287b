"""Sessions in a session path: read without claiming anything, or run here for as long as a command takes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio

from ..abc import Driver
from ..errors import SessionLocked
from ..events import Event, PairingCodeEvent, QrEvent, StatusEvent
from ..explain import explain
from ..messages import OutgoingMessage
from ..models import SentMessage, SessionKey, SessionRecord, SessionStatus, Status
from ..pool import WhatsAppSessionPool
from ..retries import is_final
from ..settings import PoolSettings
from .ending import CommandFailed
from .places import Ending, Linked, Offers, Sight, still_waiting
from .records import AT_REST, as_saved, command_of, describe, find, holder_of, label, records_at, store_at

SHOWING = 1.0
"""Seconds to show what has happened until now."""
ALL = sys.maxsize
"""Messages that an inbox keeps while a command runs its session: they are for the application, which may be durable."""


class SessionPath:
    """The path that ``settings`` name; ``driver`` is the pool's, by default neonize."""

    def __init__(self, settings: PoolSettings, *, driver: Driver | None = None) -> None:
        self._settings = settings
        self._driver = driver
        self.path = settings.session_path

    def command(self, name: str, key: SessionKey) -> str:
        return command_of(name, key, self.path)

    async def sights(self) -> list[Sight]:
        return [self._sight(record) for record in await records_at(self.path) or ()]

    def nothing(self) -> str:
        exists = self.path.exists()
        return f"there are no sessions in {self.path}" if exists else f"there is no session path {self.path}"

    async def sight(self, key: SessionKey) -> Sight:
        return self._sight(await find(key, self.path))

    async def explanation(self, key: SessionKey) -> tuple[Sight, str]:
        record = await find(key, self.path)
        holder = holder_of(record, self.path)
        reason = record.disconnect_reason
        planned = holder is not None and reason is not None and not is_final(reason)
        said = explain(as_saved(record, holder, now := datetime.now(UTC)), now, planned_elsewhere=planned)
        if holder is not None:
            said += f" It is run by {holder}, and this is what that process saved last."
        elif record.status not in AT_REST and record.desired == "running":
            said += " Nobody runs it now."
        return self._sight(record), said

    async def send(self, key: SessionKey, to: str, message: OutgoingMessage, *, timeout: float) -> SentMessage:
        """Start the session, wait for its link, send, and leave it as it was."""
        record = await find(key, self.path)
        if not record.linked:
            raise self._not_linked(key)
        async with self._pool() as pool, _held(), self._left_as(record, pool):
            status = await pool.create_session(key.company_id, device=key.device, timeout=timeout)
            if status.status in (Status.PAIRING, Status.LOGGED_OUT):
                raise self._not_linked(key)
            if status.status is not Status.CONNECTED:
                raise CommandFailed(_why_not(key, status, timeout))
            return await pool.send_message(key.company_id, to, message, device=key.device)

    async def leave(self, key: SessionKey, ending: Ending) -> Sight:
        record = await find(key, self.path)
        was = self._sight(record)
        async with self._pool() as pool, _held(), self._left_as(record, pool):
            pool.session(key.company_id, device=key.device)
            end = {"disconnect": pool.disconnect, "logout": pool.logout, "delete": pool.delete_session}[ending]
            await end(key.company_id, device=key.device)
        return was

    async def pair(self, key: SessionKey, *, phone_number: str | None, timeout: float, offers: Offers) -> Linked:
        """Pair it; the session stays as the application will find it: started, where it is linked, and else stopped."""
        async with (
            _held(),
            self._pool() as pool,
            pool.events("qr", "pairing_code", "status", company_id=key.company_id, device=key.device) as events,
        ):
            try:
                await pool.create_session(key.company_id, device=key.device, phone_number=phone_number, timeout=0)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_show, events, offers)
                    status = await _wait_connected(pool, key, timeout)
                    # The codes that led here are shown before the outcome is.
                    tasks.cancel_scope.deadline = anyio.current_time() + SHOWING
            except SessionLocked:
                raise
            except BaseException:
                with anyio.move_on_after(pool.settings.shutdown_timeout, shield=True):
                    await _give_up(pool, key)
                raise
            return Linked(status.phone_number, status.jid)

    def _pool(self) -> WhatsAppSessionPool:
        return WhatsAppSessionPool(self._settings.model_copy(update={"inbox_keep": ALL}), driver=self._driver)

    @asynccontextmanager
    async def _left_as(self, record: SessionRecord, pool: WhatsAppSessionPool) -> AsyncIterator[None]:
        """Starting a session also asks for it in the next run; one that was told to stay down stays down."""
        try:
            yield
        except SessionLocked:
            raise
        except BaseException:
            await self._restore(record, pool)
            raise
        await self._restore(record, pool)

    async def _restore(self, record: SessionRecord, pool: WhatsAppSessionPool) -> None:
        store = store_at(self.path)
        with anyio.move_on_after(pool.settings.shutdown_timeout, shield=True):
            # One that was deleted would come back by it.
            if record.desired == "stopped" and store and await store.get(record.key):
                await pool.disconnect(record.company_id, device=record.device)

    def _sight(self, record: SessionRecord) -> Sight:
        holder = holder_of(record, self.path)
        return Sight(
            key=record.key,
            label=label(record, holder),
            linked=record.linked,
            phone_number=record.phone_number,
            push_name=record.push_name,
            described=describe(record, holder),
            created_at=record.created_at,
            connected_at=record.connected_at,
            restricted_until=record.restricted_until,
            desired=record.desired,
        )

    def _not_linked(self, key: SessionKey) -> CommandFailed:
        return CommandFailed(f"session {key} is not linked to a phone: {self.command('pair', key)}")


@asynccontextmanager
async def _held() -> AsyncIterator[None]:
    """Say what to do about a session that another process runs."""
    try:
        yield
    except SessionLocked as error:
        what = "go through it with --url, where it is a service, or stop it first"
        raise CommandFailed(f"{error.message}: {what}") from None


async def _show(events: AsyncIterator[Event], offers: Offers) -> None:
    async for event in events:
        if isinstance(event, QrEvent):
            offers.qr(event.qr)
        elif isinstance(event, PairingCodeEvent):
            offers.typed_code(event.code, event.expires_at)
        elif isinstance(event, StatusEvent):
            if event.current is Status.CONNECTED:
                return
            offers.status(event.current, event.reason)


async def _wait_connected(pool: WhatsAppSessionPool, key: SessionKey, timeout: float) -> SessionStatus:
    try:
        return await pool.wait_until_connected(key.company_id, device=key.device, timeout=timeout)
    except TimeoutError:
        status = await pool.get_session_status(key.company_id, device=key.device)
        raise still_waiting(
            key,
            status.status,
            timeout,
            shown="qr" if status.qr else "code" if status.pairing_code else None,
            last_error=status.last_error,
        ) from None


async def _give_up(pool: WhatsAppSessionPool, key: SessionKey) -> None:
    """Let no later start of the application offer codes that nobody asked for."""
    known = [status for status in await pool.get_sessions(key.company_id) if status.device == key.device]
    if known and not pool.session(key.company_id, device=key.device).linked:
        await pool.disconnect(key.company_id, device=key.device)


def _why_not(key: SessionKey, status: SessionStatus, timeout: float) -> str:
    because = status.last_error or status.disconnect_reason
    until = f" until {status.restricted_until:%Y-%m-%d %H:%M} UTC" if status.restricted_until else ""
    waited = f" after {timeout:g} s" if status.status in (Status.CONNECTING, Status.RECONNECTING) else ""
    return f"not sent: session {key} is {status.status}{until}{waited}{f' ({because})' if because else ''}"
