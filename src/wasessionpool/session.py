"""One session's supervisor: connect, listen, back off, and send meanwhile."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Unpack

import anyio
from anyio.abc import TaskStatus

from .abc import Connection, Inbox, Ownership
from .backends import Backends
from .debug_log import debug_log
from .errors import (
    AuthenticationRequired,
    ClientOutdated,
    DriverError,
    LoggedOut,
    PairingFailed,
    PairingTimeout,
    SessionFailed,
    SessionLocked,
    SessionNotConnected,
    StorageError,
    WhatsAppPoolError,
)
from .events import ReconnectFailedEvent, ReconnectingEvent
from .inbound import Inbound
from .link import Link, reason_of
from .links import LinkEnded
from .messages import OutgoingMessage
from .models import (
    DeviceLocation,
    DisconnectReason,
    SentMessage,
    SessionRecord,
    SessionStatus,
    Status,
)
from .operations import LogOut, Operation
from .received import Received
from .sending import SendLine, SendOptions
from .standing import Standing
from .state import ENDED_BY, REVIVABLE, Signal

logger = logging.getLogger(__name__)

_UNSETTLED = frozenset({Status.CONNECTING, Status.RECONNECTING})


class Supervisor:
    """One company's device: what can be asked of it, and the task that keeps it alive."""

    def __init__(self, record: SessionRecord, backends: Backends) -> None:
        self.key = record.key
        self.standing = Standing(record, backends.bus, backends.clock)
        received = Received(self.standing, reply=self.reply, call=self.call_soon)
        self.inbound = Inbound(self.standing, backends.bus, received.event, keep=backends.settings.inbox_keep)
        self._backends = backends
        self._fence = 0
        self._scope: anyio.CancelScope | None = None
        self._ending = False
        self._over = anyio.Event()
        self._wake = anyio.Event()
        self._gave_up = False
        self.changing = anyio.Lock()
        """Held by who starts, stops or forgets the session, so that each finds it as the last one left it."""
        self._starting = anyio.Lock()
        self.sends = SendLine(self.key, self.standing, backends, live=self._live, stall=self._stall)
        self._link: Link | None = None

    @property
    def running(self) -> bool:
        """Whether this pool owns the session and keeps it alive."""
        return self._scope is not None and not self._ending

    def status(self) -> SessionStatus:
        """Return a snapshot."""
        return self.standing.snapshot()

    async def start(self, **asked: Any) -> None:
        """Own the session and keep it alive from now on; one that gave up tries anew.

        ``asked`` are fields of its record that shall change. Raises ``SessionLocked`` where another pool runs it,
        ``StorageError`` where its files cannot be used, ``ClientOutdated`` where the pool may start none any more.
        """
        async with self._starting:
            if not self.running:
                self._backends.starts.check()
                if self._scope is not None:
                    self._scope.cancel()
                    await self._over.wait()
                await self._backends.tasks.start(self._run, {**asked, "desired": "running"})
                return
            if asked:
                self.standing.update(**asked)
                await self._save()
            if self.standing.status is Status.FAILED:
                self._backends.starts.check()
                self.begin()
                self._wake.set()

    async def create(self, pairing_number: str | None, **asked: Any) -> None:
        """Start for a user, who may name the number to pair by a code with; a pairing with another one begins anew."""
        record = self.standing.record
        if not record.linked and pairing_number not in (None, record.pairing_number):
            await self.stop()
        if not self.running or self.standing.status is Status.FAILED:
            asked["pairing_number"] = pairing_number
        await self.start(**asked)

    async def autostart(self) -> None:
        """Start, as at the opening of a pool: what stands in the way is told, not raised."""
        try:
            async with self.changing:
                await self.start()
        except SessionLocked as error:
            self.standing.locked(error.holder)
        except WhatsAppPoolError as error:
            self._tell(LinkEnded(reason=reason_of(error), detail=error.message))

    def begin(self) -> None:
        """Say that the session is starting."""
        if self.standing.status is not Status.CONNECTING:
            self.standing.apply(Signal.START)

    async def stop(self, reason: DisconnectReason = DisconnectReason.REQUESTED) -> None:
        """End the link and give the session up; one that is not running is left as it is."""
        if self._scope is None:
            return
        if not self._ending:
            self._ending = True
            self.standing.link_ended(LinkEnded(reason=reason))
        self._scope.cancel()
        await self._over.wait()

    async def disconnect(self) -> None:
        """End the link, keep the credentials, and stay down until started again."""
        if self._scope is not None:
            self.standing.update(desired="stopped")
            await self.stop()
            return
        async with self._owned():
            if self.standing.record.desired == "running":
                self.standing.update(desired="stopped")
                await self._save()

    async def logout(self, *, forget: bool = False) -> None:
        """Unlink from the phone and erase the credentials; ``forget`` erases everything else too.

        Where WhatsApp cannot be told within ``connect_timeout``, the phone goes on listing the device, which is logged.
        """
        if self._scope is None:
            await self._recall()
        if self.standing.record.linked:
            await self._unlink()
        self.standing.update(desired="stopped")
        if self._scope is not None:
            await self.stop(DisconnectReason.LOGGED_OUT)
        if self.standing.status is not Status.LOGGED_OUT:
            self.standing.link_ended(LinkEnded(reason=DisconnectReason.LOGGED_OUT))
        async with self._owned():
            if forget:
                await self.sends.forget()
            await self._backends.store.delete(self.key)
            self.inbound.forget()
            if not forget:
                self.standing.forget_link()
                await self._save()
        if forget:
            # Last, since what is counted after it would be kept.
            await self._backends.statistics.forget(self.key)

    async def wait_settled(self, timeout: float | None) -> None:
        """Wait until the session is connected, shows a code, or will not get there by itself."""
        standing = self.standing
        with self._backends.clock.move_on_after(timeout):
            while standing.status in _UNSETTLED or standing.confirmed:
                await standing.change()

    async def wait_until_connected(self, timeout: float | None) -> None:
        """Wait for a live link; raises what the contract of ``WhatsAppSessionPool`` says."""
        with self._backends.clock.move_on_after(timeout):
            while not self._arrived():
                await self.standing.change()
            return
        raise TimeoutError(f"session {self.key} is {self.standing.status} after {timeout} s")

    async def send(self, to: str, message: str | OutgoingMessage, **options: Unpack[SendOptions]) -> SentMessage:
        """Send a message; returns once WhatsApp's server acknowledged."""
        return await self.sends.send(to, message, **options)

    async def reply(self, to: str, message: str | OutgoingMessage, **options: Unpack[SendOptions]) -> SentMessage:
        """Send as soon as the link is live: what waited at WhatsApp arrives a moment before the link counts as live."""
        await self.wait_settled(self._backends.settings.connect_timeout)
        return await self.send(to, message, **options)

    async def call_soon(self, operation: Operation) -> None:
        """Do ``operation`` as soon as the link is live."""
        await self.wait_settled(self._backends.settings.connect_timeout)
        await self.call(operation)

    async def call(self, operation: Operation) -> Any:
        """Do ``operation`` on the live link; raises ``DriverError`` where it takes longer than ``send_timeout``."""
        connection = self._live()
        with self._backends.clock.move_on_after(self._backends.settings.send_timeout):
            return await connection.call(operation)
        error = DriverError(f"session {self.key}: {operation.type} was not done in time")
        self.standing.error(error.code, error.message)
        self._stall(connection, f"{operation.type} hung")
        raise error

    def _live(self) -> Connection:
        standing = self.standing
        if not standing.record.linked:
            if standing.pairing_code is not None:
                hint = "type the pairing code into the phone"
            else:
                hint = "scan the QR code" if standing.qr else "create the session and scan its QR code"
            raise AuthenticationRequired(
                f"session {self.key} is not linked: {hint}", qr=standing.qr, pairing_code=standing.pairing_code
            )
        connection = self._connection
        if standing.status is not Status.CONNECTED or connection is None:
            because = f" ({standing.reason})" if standing.reason else ""
            raise SessionNotConnected(
                f"session {self.key} is {standing.status}{because}", status=standing.status, reason=standing.reason
            )
        return connection

    @property
    def _connection(self) -> Connection | None:
        return self._link.connection if self._link is not None else None

    def _arrived(self) -> bool:
        standing = self.standing
        if standing.status is Status.CONNECTED:
            # A link that hangs is given up a moment before its end is told.
            return self._connection is not None
        text = f"session {self.key} is {standing.status}" + (f" ({standing.reason})" if standing.reason else "")
        if standing.status is Status.DISCONNECTED:
            if standing.reason is DisconnectReason.PAIRING_TIMEOUT:
                raise PairingTimeout(f"session {self.key}: nobody confirmed the pairing in time")
            if standing.reason is DisconnectReason.PAIRING_FAILED:
                because = f" ({standing.last_error})" if standing.last_error else ""
                raise PairingFailed(f"session {self.key}: the pairing was refused or broke off{because}")
            raise SessionNotConnected(text, status=standing.status, reason=standing.reason)
        if standing.status is Status.LOGGED_OUT:
            raise LoggedOut(text, reason=standing.reason)
        if standing.status is Status.FAILED:
            raise SessionFailed(text, reason=standing.reason)
        return False

    async def _unlink(self) -> None:
        settings = self._backends.settings
        try:
            await self.start()
            await self.wait_until_connected(settings.connect_timeout)
            await self.call(LogOut())
        except (WhatsAppPoolError, TimeoutError) as error:
            if isinstance(error, SessionLocked | StorageError):
                raise
            logger.warning("session %s: the phone still lists this device; unlink it there (%s)", self.key, error)

    @asynccontextmanager
    async def _owned(self) -> AsyncIterator[Ownership]:
        async with self._backends.coordinator.own(self.key) as ownership:
            self._fence = ownership.fence
            await self._recall()
            yield ownership

    async def _recall(self) -> None:
        """Take over what is stored: another pool may have run the session since we read it."""
        stored = await self._backends.store.get(self.key)
        self.standing.record = stored or self.standing.record.blank()

    async def _save(self) -> None:
        await self._backends.store.put(self.standing.record, self._fence)

    async def _save_quietly(self) -> None:
        try:
            await self._save()
        except StorageError as error:
            self.standing.error(error.code, error.message)

    async def _run(self, asked: dict[str, Any], *, task_status: TaskStatus[None]) -> None:
        self._over, self._ending = anyio.Event(), False
        try:
            async with (
                self._owned() as ownership,
                self._backends.store.device(self.key) as device,
                debug_log(self.key, device.log, self.standing.counts) as log,
                self._backends.driver.inbox(self.key, device) as inbox,
            ):
                self.standing.log = log
                self.standing.update(**asked)
                # Before there is a group of tasks, out of which an error would come wrapped.
                await self._save()
                async with anyio.create_task_group() as acknowledging:
                    if log is not None:
                        acknowledging.start_soon(log.write)
                    acknowledging.start_soon(self.inbound.acknowledge, inbox, self._complain)
                    await self._live_on(ownership, device, inbox, task_status)
                    acknowledging.cancel_scope.cancel()
        except Exception:
            if self._scope is None:
                raise
            logger.exception("session %s: its supervisor failed", self.key)
            self.standing.apply(Signal.FAILED)
        finally:
            self._scope, self._ending, self.standing.log = None, False, None
            self._over.set()

    async def _live_on(
        self, ownership: Ownership, device: DeviceLocation, inbox: Inbox, task_status: TaskStatus[None]
    ) -> None:
        """Keep the session alive until it is stopped or ends for good, and hand over what it received."""
        with anyio.CancelScope() as self._scope:
            self.begin()
            task_status.started()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._leave_when_lost, ownership)
                tasks.start_soon(self.inbound.run, inbox, self._complain)
                await self._supervise(device)
                # Who is logged out, too, gets what came before.
                await self.inbound.settled()
                tasks.cancel_scope.cancel()
        self._ending = True
        with anyio.CancelScope(shield=True):
            await self._save_quietly()
        if self._backends.bus.draining:
            await self.inbound.landed()

    async def _leave_when_lost(self, ownership: Ownership) -> None:
        await ownership.lost.wait()
        self._ending = True
        self.standing.link_ended(LinkEnded(reason=DisconnectReason.LEASE_LOST))
        if self._scope is not None:
            self._scope.cancel()

    async def _supervise(self, device: DeviceLocation) -> None:
        end = self._still_banned()
        while True:
            end = end or await self._hold(device)
            await self._save_quietly()
            pause = self._plan(end)
            if pause is None:
                self._ending = True
                return
            await self._rest(pause)
            end = None

    def _still_banned(self) -> LinkEnded | None:
        until = self.standing.record.restricted_until
        if until is None or until <= self._backends.clock.now():
            return None
        end = LinkEnded(reason=DisconnectReason.TEMPORARILY_BANNED, until=until)
        self.standing.link_ended(end)
        return end

    async def _hold(self, device: DeviceLocation) -> LinkEnded:
        self._wake = anyio.Event()
        self._link = Link(self.standing, self._backends, save=self._save_quietly, tell=self._tell)
        try:
            return await self._link.hold(device)
        finally:
            self._link = None
            self.sends.link_ended()

    def _tell(self, end: LinkEnded) -> None:
        if _is_final(end):
            self._ending = True
            if end.reason is not DisconnectReason.OUTDATED:
                self.standing.update(desired="stopped")
        self.standing.link_ended(end)
        if end.reason is DisconnectReason.OUTDATED and self._backends.starts.close():
            logger.error("WhatsApp refuses this version of the client: no session is started any more")
            self.standing.error(ClientOutdated.code, "WhatsApp refuses this version of the client: upgrade neonize")

    def _complain(self, error: StorageError) -> None:
        self.standing.error(error.code, error.message)

    def _plan(self, end: LinkEnded) -> float | None:
        """Decide how long to wait before the next link; ``None``: there is none."""
        settings, standing = self._backends.settings, self.standing
        signal = ENDED_BY[end.reason]
        if signal is Signal.RESTRICTED:
            until = standing.record.restricted_until
            return None if until is None else max(0.0, (until - self._backends.clock.now()).total_seconds())
        if _is_final(end):
            return None
        if end.reason in REVIVABLE:
            return settings.revive_interval
        if standing.last_link_held is not None and standing.last_link_held >= settings.reconnect_reset_after:
            standing.attempt, self._gave_up = 0, False
        if standing.attempt >= settings.max_reconnect_attempts:
            return self._give_up(end)
        standing.attempt += 1
        at_once = end.reason is DisconnectReason.PUMP_DEAD and standing.attempt == 1
        delay = 0.0 if at_once else self._backends.backoff.delay(standing.attempt)
        self._announce(standing.attempt, delay, end.reason)
        return delay

    def _give_up(self, end: LinkEnded) -> float | None:
        attempts = self.standing.attempt
        self.standing.apply(Signal.FAILED, end.reason)
        if not self._gave_up:
            self._gave_up = True
            logger.error("session %s: %d attempts to reconnect failed (%s)", self.key, attempts, end.reason)
            self.standing.emit(ReconnectFailedEvent, attempts=attempts, reason=end.reason)
        return self._backends.settings.revive_interval

    def _announce(self, attempt: int, delay: float, reason: DisconnectReason | None) -> None:
        logger.info("Reconnecting session %s: attempt %d in %.1f s (%s)", self.key, attempt, delay, reason)
        self.standing.emit(ReconnectingEvent, attempt=attempt, delay=delay)

    async def _rest(self, pause: float) -> None:
        standing, clock = self.standing, self._backends.clock
        standing.retry_in(pause)
        with clock.move_on_after(pause):
            await self._wake.wait()
        if self._wake.is_set():
            standing.attempt, self._gave_up = 0, False
            self.begin()
        elif standing.status in (Status.FAILED, Status.RESTRICTED):
            gave_up, reason = standing.status is Status.FAILED, standing.reason
            standing.apply(Signal.RETRY, reason)
            if gave_up:
                self._announce(0, 0.0, reason)

    def _stall(self, connection: Connection, detail: str) -> None:
        """End the link of a connection that hangs; one that is over already is left alone."""
        if self._link is not None:
            self._link.give_up(connection, LinkEnded(reason=DisconnectReason.STALLED, detail=detail))


def _is_final(end: LinkEnded) -> bool:
    """Say whether no link follows by itself."""
    return ENDED_BY[end.reason] not in (Signal.LOST, Signal.RESTRICTED) and end.reason not in REVIVABLE
