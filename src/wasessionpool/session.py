"""One session's supervisor: connect, listen, back off, and send meanwhile."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Unpack

import anyio
from anyio.abc import TaskStatus

from .abc import Connection, Inbox, Ownership
from .arrival import check_coming, check_linked, not_connected
from .autostart import Autostart
from .backends import Backends
from .debug_log import debug_log
from .errors import (
    ClientOutdated,
    DriverError,
    PoolClosed,
    SessionLocked,
    StorageError,
    WhatsAppPoolError,
)
from .idleness import Idleness
from .inbound import Inbound
from .link import Link
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
from .retries import Retries, is_final
from .sending import SendLine, SendOptions, checked_send
from .standing import Standing

logger = logging.getLogger(__name__)

_STARTING = {"desired": "running", "status": Status.CONNECTING, "disconnect_reason": None}
"""What the record of a session says that was started and has no link yet."""

_UNSETTLED = frozenset({Status.CONNECTING, Status.RECONNECTING})


class Supervisor:
    """One company's device: what can be asked of it, and the task that keeps it alive."""

    def __init__(self, record: SessionRecord, backends: Backends) -> None:
        self.key = record.key
        self.standing = Standing(record, backends.bus, backends.clock)
        self.sends = SendLine(
            self.key, self.standing, backends, live=self._live, stall=self._stall, save=self._save_changes
        )
        received = Received(self.standing, reply=self.reply, call=self.call_soon, heard=self.sends.heard)
        self.inbound = Inbound(self.standing, backends.bus, received, keep=backends.settings.inbox_keep)
        self._backends = backends
        self._fence = 0
        self._deleted = False
        self._scope: anyio.CancelScope | None = None
        self._ending = False
        self._over = anyio.Event()
        self._wake = anyio.Event()
        self._woken = False
        self.changing = anyio.Lock()
        """Held by who starts, stops or forgets the session, so that each finds it as the last one left it."""
        self._starting = anyio.Lock()
        self._start_scope: anyio.CancelScope | None = None
        self._saving = anyio.Lock()
        self._retries = Retries(self.standing, backends)
        self._idleness = Idleness(self.standing, backends.settings, backends.clock, busy=lambda: self.sends.asked > 0)
        self._link: Link | None = None
        self.autostart = Autostart(
            self.standing, backends, self.changing, running=lambda: self.running, start=self.start, tell=self._tell
        )

    @property
    def running(self) -> bool:
        """Whether this pool owns the session and keeps it alive."""
        return self._scope is not None and not self._ending

    def status(self) -> SessionStatus:
        """Return a snapshot."""
        return self.standing.snapshot()

    async def start(self, *, if_wanted: bool = False, **asked: Any) -> bool:
        """Own the session and keep it alive from now on; one that gave up tries anew, one that sleeps wakes.

        ``asked`` are fields of its record that shall change; with ``if_wanted`` a session that its last owner was told
        to stop is left alone: then it returns False. Raises ``SessionLocked`` where another pool runs it,
        ``StorageError`` where its files cannot be used, ``ClientOutdated`` where the pool may start none any more,
        ``PoolClosed`` where it is closing.
        """
        async with self._starting:
            if not self.running:
                self._backends.starts.check()
                if self._scope is not None:
                    self._scope.cancel()
                    await self._over.wait()
                with anyio.CancelScope() as self._start_scope:
                    if not self._backends.bus.draining:
                        wanted: bool = await self._backends.tasks.start(self._run, {**_STARTING, **asked}, if_wanted)
                        if not wanted:
                            await self._over.wait()
                        return wanted
                raise PoolClosed(f"session {self.key} cannot be started: the pool is closing")
            if asked:
                await self._save(**asked)
            # What ended for good while that was saved stays down: it was not asked for after its end.
            if self.running and self.standing.status in (Status.FAILED, Status.SLEEPING):
                self._backends.starts.check()
                self._rouse()
            return True

    async def create(self, pairing_number: str | None, **asked: Any) -> None:
        """Start for a user, who may name the number to pair by a code with; a pairing with another one begins anew."""
        record = self.standing.record
        if not record.linked and pairing_number not in (None, record.pairing_number):
            await self.stop()
        if not self.running or self.standing.status is Status.FAILED:
            asked["pairing_number"] = pairing_number
        await self.start(**asked)

    async def restart(self) -> None:
        """Stop and start. Raises as ``start``; what stands in the way is tried again, as by ``autostart``."""
        self._backends.starts.check()
        await self.stop()
        await self.autostart.start()

    async def stop(self, reason: DisconnectReason = DisconnectReason.REQUESTED) -> None:
        """End the link and give the session up; one that is not running is left as it is."""
        if self._scope is None:
            return
        if not self._ending:
            self._ending = True
            self._end(LinkEnded(reason=reason))
        self._scope.cancel()
        await self._over.wait()

    async def close(self) -> None:
        """End with the pool; what is being sent may end before, within half of ``shutdown_timeout``."""
        if self._start_scope is not None:
            self._start_scope.cancel()
        with anyio.move_on_after(self._backends.settings.shutdown_timeout / 2):
            await self.sends.drain()
        await self.stop(DisconnectReason.SHUTDOWN)

    async def disconnect(self) -> None:
        """End the link, keep the credentials, and stay down until started again.

        Raises ``StorageError`` where that cannot be kept for the next pool: then the session goes on as it was.
        """
        if self.running:
            await self._save(desired="stopped")
            await self.stop()
            return
        await self.stop()
        async with self._owned():
            wanted = self.standing.record.desired == "running"
            if wanted:
                at_rest = {"status": Status.DISCONNECTED, "disconnect_reason": DisconnectReason.REQUESTED}
                await self._save(desired="stopped", **at_rest)
            if wanted or self.autostart.due:
                self.standing.disconnected()

    async def logout(self, *, forget: bool = False) -> None:
        """Unlink from the phone and erase the credentials; ``forget`` erases everything else too.

        Where WhatsApp cannot be told within ``connect_timeout``, the phone goes on listing the device, which is logged.
        Who is cancelled until then leaves the session as it was, and later waits for its end.
        """
        if self._scope is None:
            await self._recall()
        if self.standing.record.linked:
            await self._unlink()
        with anyio.CancelScope(shield=True):
            await self._erase(forget=forget)

    async def _erase(self, *, forget: bool) -> None:
        self.standing.update(desired="stopped")
        if self._scope is not None:
            await self.stop(DisconnectReason.LOGGED_OUT)
        if self.standing.status is not Status.LOGGED_OUT:
            self.standing.link_ended(LinkEnded(reason=DisconnectReason.LOGGED_OUT))
        async with self._owned():
            await self.sends.forget(keys=forget)
            await self._backends.store.delete(self.key)
            self.inbound.forget()
            if not forget:
                self.standing.forget_link()
                if not self._deleted:
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
        standing = self.standing
        with self._backends.clock.move_on_after(timeout):
            # A link that hangs is given up a moment before its end is told.
            while standing.status is not Status.CONNECTED or self._connection is None:
                check_coming(standing)
                if standing.status is Status.SLEEPING:
                    self._rouse()
                await standing.change()
            return
        raise TimeoutError(f"session {self.key} is {self.standing.status} after {timeout} s")

    async def send(self, to: str, message: str | OutgoingMessage, **options: Unpack[SendOptions]) -> SentMessage:
        """Send a message, on a link that is woken for it where it sleeps; returns once WhatsApp acknowledged."""
        self._idleness.collecting = False
        await self._spend(options, self._awake)
        return await self.sends.send(to, message, **options)

    async def reply(self, to: str, message: str | OutgoingMessage, **options: Unpack[SendOptions]) -> SentMessage:
        """Send as soon as the link is live: what waited at WhatsApp arrives a moment before the link counts as live."""
        message = checked_send(to, message, options.get("idempotency_key"), options.get("timeout"))
        await self._spend(options, self.wait_settled)
        return await self.send(to, message, **options)

    async def call_soon(self, operation: Operation) -> None:
        """Do ``operation`` as soon as the link is live."""
        await self.wait_settled(self._backends.settings.connect_timeout)
        await self.call(operation)

    async def call(self, operation: Operation) -> Any:
        """Do ``operation``, as ``send`` does; raises ``DriverError`` where it takes longer than ``send_timeout``."""
        await self._awake(self._backends.settings.connect_timeout)
        connection = self._live()
        with self._backends.clock.move_on_after(self._backends.settings.send_timeout), self.standing.pulse.asking():
            return await connection.call(operation)
        error = DriverError(f"session {self.key}: {operation.type} was not done in time")
        self.standing.error(error.code, error.message)
        self._stall(connection, f"{operation.type} hung")
        raise error

    async def _spend(self, options: SendOptions, wait: Callable[[float], Awaitable[None]]) -> None:
        """Wait, at most ``connect_timeout``; a send's own timeout is for that, too, and what is left of it is kept."""
        clock, patience, timeout = self._backends.clock, self._backends.settings.connect_timeout, options.get("timeout")
        begin = clock.monotonic()
        await wait(patience if timeout is None else min(patience, timeout))
        if timeout is not None:
            options["timeout"] = timeout - (clock.monotonic() - begin)

    async def _awake(self, patience: float) -> None:
        """Wake the session where it sleeps, and wait until it is awake, at most ``patience`` seconds."""
        standing = self.standing
        with self._backends.clock.move_on_after(patience):
            while standing.status is Status.CONNECTED and self._connection is None:
                # It is just falling asleep, or was given up.
                await standing.change()
            if standing.status is Status.SLEEPING:
                self._rouse()
            while self._woken and standing.status is Status.CONNECTING:
                await standing.change()

    def _rouse(self) -> None:
        """End the rest of a session that gave up or sleeps."""
        self._woken = True
        self._idleness.collecting = False
        self.standing.begin()
        self._wake.set()

    def _live(self) -> Connection:
        check_linked(self.standing)
        connection = self._connection
        if self.standing.status is not Status.CONNECTED or connection is None:
            raise not_connected(self.standing)
        return connection

    @property
    def _connection(self) -> Connection | None:
        return self._link.connection if self._link is not None else None

    async def _unlink(self) -> None:
        settings = self._backends.settings
        try:
            await self.start()
            await self.wait_until_connected(settings.connect_timeout)
            await self.call(LogOut())
        except (WhatsAppPoolError, TimeoutError) as error:
            if isinstance(error, SessionLocked | StorageError):
                raise
            if self._backends.bus.draining:
                raise PoolClosed(f"session {self.key} stays linked: the pool is closing") from error
            logger.warning("session %s: the phone still lists this device; unlink it there (%s)", self.key, error)

    @asynccontextmanager
    async def _owned(self) -> AsyncIterator[Ownership]:
        async with self._backends.coordinator.own(self.key) as ownership:
            self._fence = ownership.fence
            await self._recall()
            yield ownership

    async def _forget_account(self) -> None:
        """Forget whom the account knew that was linked before: the next one may be another number."""
        try:
            await self.sends.forget(keys=False)
        except StorageError as error:
            self._complain(error)
        except Exception:
            # A shelf of one's own with a bug must not keep the session down.
            logger.exception("session %s: whom its last account knew cannot be forgotten", self.key)

    async def _recall(self) -> None:
        """Take over what is stored: another pool may have run the session since we read it."""
        stored = await self._backends.store.get(self.key)
        # One that is not there is new, or was deleted by another pool: nobody but a start may write it again.
        self._deleted = stored is None
        self.standing.record = stored or self.standing.record.blank().model_copy(update={"desired": "stopped"})

    async def _save(self, **fields: Any) -> None:
        """Store the record, with ``fields`` changed, which they are only once that is stored; raises ``StorageError``.

        One at a time, so that the newest is what stays.
        """
        async with self._saving:
            await self._backends.store.put(self.standing.record.model_copy(update=fields), self._fence)
            self.standing.update(**fields)

    async def _save_changes(self) -> None:
        """Save between links, unless the session was given up or forgotten meanwhile."""
        async with self.changing:
            if self.running:
                await self._save_quietly()

    async def _save_quietly(self) -> None:
        try:
            await self._save()
        except StorageError as error:
            self.standing.error(error.code, error.message)

    async def _run(self, asked: dict[str, Any], if_wanted: bool, *, task_status: TaskStatus[bool]) -> None:
        self._over, self._ending = anyio.Event(), False
        try:
            async with (
                self._owned() as ownership,
                self._backends.store.device(self.key) as device,
                debug_log(self.key, device.log, self.standing.counts) as log,
                self._backends.driver.inbox(self.key, device) as inbox,
            ):
                if if_wanted and self.standing.record.desired != "running":
                    task_status.started(False)
                    return
                self.standing.log = log
                # Before there is a group of tasks, out of which an error would come wrapped.
                await self._save(**asked)
                async with anyio.create_task_group() as acknowledging:
                    if not self.standing.record.linked:
                        acknowledging.start_soon(self._forget_account)
                    if log is not None:
                        acknowledging.start_soon(log.write)
                    acknowledging.start_soon(self.inbound.acknowledge, inbox, self._complain)
                    await self._live_on(ownership, device, inbox, task_status)
                    acknowledging.cancel_scope.cancel()
        except Exception as error:
            if self._scope is None and isinstance(error, WhatsAppPoolError):
                raise
            logger.exception("session %s: its supervisor failed", self.key)
            detail = f"{type(error).__name__}, see the log"
            if self._scope is None:
                raise StorageError(f"session {self.key} cannot be started: {detail}") from error
            if not self._ending:
                self.autostart.fail(detail)
        finally:
            self._scope, self._ending, self.standing.log = None, False, None
            self._over.set()

    async def _live_on(
        self, ownership: Ownership, device: DeviceLocation, inbox: Inbox, task_status: TaskStatus[bool]
    ) -> None:
        """Keep the session alive until it is stopped or ends for good, and hand over what it received."""
        with anyio.CancelScope() as self._scope:
            self.standing.begin()
            task_status.started(True)
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
        self._end(LinkEnded(reason=DisconnectReason.LEASE_LOST))
        if self._scope is not None:
            self._scope.cancel()

    async def _supervise(self, device: DeviceLocation) -> None:
        self._retries.restart()
        self._woken = self._idleness.collecting = False
        end = self._still_banned()
        while True:
            end = end or await self._hold(device)
            pause = None if self._ending else self._retries.plan(end)
            self._ending = pause is None
            # With what was planned: other processes read it.
            await self._save_quietly()
            if pause is None or self._ending:
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
        self._retries.begin()
        try:
            async with anyio.create_task_group() as tasks:
                save = partial(tasks.start_soon, self._save_quietly)
                link = self._link = Link(self.standing, self._backends, save=save, tell=self._tell_link_end)
                if self._backends.settings.session_timeout is not None:
                    tasks.start_soon(self._sleep_when_idle, link)
                end = await link.hold(device)
                tasks.cancel_scope.cancel()
            return end
        finally:
            self._link = None
            self.sends.link_ended()

    async def _sleep_when_idle(self, link: Link) -> None:
        await self._idleness.lasted()
        link.give_up(LinkEnded(reason=DisconnectReason.IDLE))

    async def _rest(self, pause: float) -> None:
        if not self._wake.is_set():
            await self._retries.rest(pause, self._wake)
        match self.standing.status:
            case Status.CONNECTING:
                self._retries.restart()
            case Status.FAILED | Status.RESTRICTED | Status.SLEEPING as status:
                self._idleness.collecting = self._woken = status is Status.SLEEPING
                self._retries.resume()

    async def _tell_link_end(self, end: LinkEnded) -> None:
        self._tell(end)
        if is_final(end.reason):
            # At once: closing the link takes its time, and who is killed meanwhile must not begin again.
            await self._save_quietly()

    def _tell(self, end: LinkEnded) -> None:
        self._woken = False
        if is_final(end.reason):
            self._ending = True
            if end.reason is not DisconnectReason.OUTDATED:
                self.standing.update(desired="stopped")
        self._end(end)
        if end.reason is DisconnectReason.OUTDATED and self._backends.starts.close():
            logger.error("WhatsApp refuses this version of the client: no session is started any more")
            self.standing.error(ClientOutdated.code, "WhatsApp refuses this version of the client: upgrade neonize")

    def _end(self, end: LinkEnded) -> None:
        """The link is over; where none follows by itself, sends that wait for the limit have waited in vain."""
        self.standing.link_ended(end)
        if self._ending:
            self.sends.wake()

    def _complain(self, error: StorageError) -> None:
        self.standing.error(error.code, error.message)

    def _stall(self, connection: Connection, detail: str) -> None:
        if self._link is not None:
            self._link.give_up(LinkEnded(reason=DisconnectReason.STALLED, detail=detail), connection)
