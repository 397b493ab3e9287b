"""The façade: one object that owns every company's session."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio.abc import TaskStatus

from . import defaults
from .abc import Clock, Coordinator, Driver, EventHook, RateLimiter, SessionStore, Shelf
from .addresses import parse_phone_number
from .backends import Backends
from .backoff import Backoff
from .bus import Bus, Filter, Handler
from .clock import SystemClock
from .comebacks import Comebacks
from .drops import Drops
from .errors import (
    ConfigurationError,
    InvalidCompanyId,
    PoolClosed,
    PoolFull,
    SessionLocked,
    SessionNotFound,
    WhatsAppPoolError,
)
from .events import Event
from .handle import Session
from .health import Health
from .messages import OutgoingMessage
from .metadata import checked_metadata
from .metrics import Metrics
from .models import (
    MAIN_DEVICE,
    HourlyStatistics,
    PoolMetrics,
    SentMessage,
    SessionKey,
    SessionRecord,
    SessionStatus,
    Status,
)
from .patience import PatientShelf, PatientStore
from .proxies import check_proxy
from .session import Supervisor
from .settings import PoolSettings
from .standing import Standing
from .starts import StartLimiter
from .statistics import Statistics
from .waiting import check_timeout

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=Handler)
T = TypeVar("T")


class WhatsAppSessionPool:
    """Owns sessions: creates and restores them, keeps them alive, sends, receives and tells what happens.

    Use it as an async context manager, once. A backend that is handed over is used as it is and stays open;
    the others are made from ``settings`` and live as long as the pool::

        async with WhatsAppSessionPool(PoolSettings(session_path="whatsapp_sessions")) as pool:
            status = await pool.create_session("962302")
            if status.qr:
                print(status.qr.terminal())
            await pool.wait_until_connected("962302", timeout=120)
            await pool.send_message("962302", "79001234567", "Hello")
    """

    def __init__(
        self,
        settings: PoolSettings | None = None,
        *,
        driver: Driver | None = None,
        store: SessionStore | None = None,
        limiter: RateLimiter | None = None,
        hooks: Iterable[EventHook] = (),
        coordinator: Coordinator | None = None,
        shelf: Shelf | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or PoolSettings()
        self._driver, self._store, self._limiter, self._coordinator = driver, store, limiter, coordinator
        self._shelf = shelf
        self._clock = clock or SystemClock()
        self._bus = Bus(clock=self._clock)
        for hook in hooks:
            self._bus.add_handler(hook, Filter((), None, None))
        self._sessions: dict[SessionKey, Supervisor] = {}
        self._metrics = Metrics()
        self._creating = anyio.Lock()
        self._stack = AsyncExitStack()
        self._closing = anyio.Event()
        self._backends: Backends | None = None
        self._entered = False

    async def __aenter__(self) -> Self:
        """Open the pool: restore what is on disk and start what is to run; raises ``StorageError``."""
        if self._entered:
            raise PoolClosed("a pool is opened once, and this one was: use it where it is open, or make a new one")
        self._entered = True
        outer = await self._stack.enter_async_context(anyio.create_task_group())
        try:
            backends: Backends = await outer.start(self._keep_house)
        except BaseException:
            # Closed without the error, which would otherwise leave in a group.
            await self._stack.aclose()
            raise
        self._backends = backends
        for session in self._sessions.values():
            if self.settings.autostart and session.standing.record.desired == "running":
                session.standing.begin()
                backends.tasks.start_soon(session.autostart.after, 0.0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        backends, self._backends = self._backends, None
        if backends is None:
            return
        self._bus.begin_draining()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self.settings.shutdown_timeout) as scope:
                async with anyio.create_task_group() as stopping:
                    for session in self._sessions.values():
                        stopping.start_soon(session.close)
                await self._bus.drain()
            self._bus.close()
            if scope.cancelled_caught:
                logger.warning("the pool was not drained within %g s", self.settings.shutdown_timeout)
            self._closing.set()
        await self._stack.aclose()

    async def _keep_house(self, *, task_status: TaskStatus[Backends]) -> None:
        """Hold the backends and the tasks of all sessions.

        Shielded, so that an application that is cancelled still has its sessions stopped in order, by ``__aexit__``.
        """
        settings = self.settings
        with anyio.CancelScope(shield=True):
            async with AsyncExitStack() as stack:
                store = PatientStore(await self._backend(stack, self._store, defaults.make_store), self._clock)
                shelf = PatientShelf(await self._backend(stack, self._shelf, defaults.make_shelf), self._clock)
                coordinator = await self._backend(stack, self._coordinator, defaults.make_coordinator)
                limiter = await self._backend(stack, self._limiter, defaults.make_limiter)
                driver = await self._backend(stack, self._driver, defaults.make_driver)
                tasks = await stack.enter_async_context(anyio.create_task_group())
                health = Health(settings, self._clock)
                tasks.start_soon(health.run, name="health of all sessions")
                backends = Backends(
                    settings=settings,
                    driver=driver,
                    store=store,
                    limiter=limiter,
                    shelf=shelf,
                    coordinator=coordinator,
                    clock=self._clock,
                    bus=self._bus,
                    statistics=Statistics(shelf, self._clock, self._standings),
                    starts=StartLimiter(settings.start_rate, settings.start_concurrency, self._clock),
                    comebacks=Comebacks(),
                    health=health,
                    drops=Drops(self._clock, lambda: len(self._sessions)),
                    backoff=Backoff(
                        settings.reconnect_base_delay, settings.reconnect_max_delay, settings.reconnect_jitter
                    ),
                    tasks=tasks,
                )
                async for record in store.records():
                    self._sessions[record.key] = Supervisor(record, backends)
                if len(self._sessions) > settings.max_sessions:
                    count, most = len(self._sessions), settings.max_sessions
                    logger.warning(
                        "the store has %d sessions and max_sessions is %d: no new one is created", count, most
                    )
                self._bus.open(tasks, self._report)
                tasks.start_soon(backends.statistics.run)
                task_status.started(backends)
                await self._closing.wait()
                tasks.cancel_scope.cancel()

    async def create_session(
        self,
        company_id: str,
        *,
        device: str = MAIN_DEVICE,
        phone_number: str | None = None,
        metadata: dict[str, Any] | None = None,
        proxy: str | None = None,
        timeout: float | None = 30.0,
    ) -> SessionStatus:
        """Start the session, creating it where it is new; idempotent.

        Returns as soon as it is connected or its QR waits, or ``timeout`` seconds after its start with the status
        reached; a change of the same session that is under way is waited for first. A fault of the network does not
        raise. With ``phone_number`` a device that is not linked shows, in place of the QR, a ``pairing_code`` to type
        into that phone (WhatsApp › Linked devices › Link with phone number). While it is pairing, the current code is
        returned; naming another number than before begins anew.

        ``metadata`` is copied, and is in all events of the session from now on; ``proxy`` (``http``, ``https``,
        ``socks5``) is that of its next link. Where they are not given, they stay as they are.

        Raises ``InvalidCompanyId``, ``InvalidRecipient`` for what is no phone number, ``PoolFull``, ``SessionLocked``,
        ``StorageError``, ``ConfigurationError`` for metadata over 4 kB of JSON or what is no proxy, and
        ``ClientOutdated`` once WhatsApp has refused this version of the client to any session of the pool.
        """
        key = SessionKey(company_id, device)
        number = parse_phone_number(phone_number) if phone_number is not None else None
        if metadata is not None:
            metadata = checked_metadata(metadata)
        if proxy is not None:
            check_proxy(proxy)
        check_timeout(timeout)
        asked = {"metadata": metadata, "proxy": proxy}
        asked = {name: value for name, value in asked.items() if value is not None}
        while True:
            session, is_new = await self._find_or_create(key)
            async with session.changing:
                if self._sessions.get(key) is session:
                    await self._start(session, number, asked, is_new=is_new)
                    break
        await session.wait_settled(timeout)
        return session.status()

    async def wait_until_connected(
        self, company_id: str, *, device: str = MAIN_DEVICE, timeout: float | None = None
    ) -> SessionStatus:
        """Wait for a live link.

        Raises ``PairingTimeout``, ``PairingFailed``, ``LoggedOut``, ``SessionFailed`` or ``SessionNotConnected``
        as soon as the session gets there, ``TimeoutError`` after ``timeout`` seconds, ``SessionNotFound``.
        """
        return await self.session(company_id, device=device).wait_until_connected(timeout=timeout)

    @property
    def backends(self) -> Backends:
        """What all sessions share, for adapters: the store, the shelf, the limiter and more. Raises ``PoolClosed``."""
        return self._open()

    async def get_session_status(self, company_id: str, *, device: str = MAIN_DEVICE) -> SessionStatus:
        """Return a snapshot; raises ``SessionNotFound``."""
        return self.session(company_id, device=device).status()

    async def get_sessions(self, company_id: str | None = None) -> list[SessionStatus]:
        """Return every known session, or those of one company."""
        self._open()
        if company_id is not None:
            SessionKey(company_id)
        return [
            session.status()
            for key, session in sorted(self._sessions.items())
            if company_id is None or key.company_id == company_id
        ]

    async def get_active_sessions(self) -> list[SessionStatus]:
        """Return the sessions that are ``connected``."""
        return [status for status in await self.get_sessions() if status.status is Status.CONNECTED]

    async def get_metrics(self) -> PoolMetrics:
        """Return the pool's figures: of this moment, or counted since it opened, sessions deleted since included."""
        return self._metrics.of(self._sessions.values(), self._open())

    async def get_statistics(
        self, company_id: str | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[HourlyStatistics]:
        """Return what the sessions of a company, or of all, did hour by hour, oldest first; 90 days are kept.

        It has the hours that overlap the time from ``since`` to ``until`` (aware) in which there was anything, those of
        earlier runs included. A session that is deleted takes its hours along; a company that is not known has none.
        Raises ``InvalidCompanyId``, ``ConfigurationError`` for a time without its zone, and ``StorageError``.
        """
        return await self._open().statistics.get(company_id, since, until)

    async def send_message(
        self,
        company_id: str,
        to: str,
        message: str | OutgoingMessage,
        *,
        device: str = MAIN_DEVICE,
        idempotency_key: str | None = None,
        resend: bool = False,
        wait: bool = False,
        timeout: float | None = None,
    ) -> SentMessage:
        """Send ``message`` to a phone number or JID; returns once WhatsApp's server acknowledged.

        Over the limit it raises ``RateLimitExceeded``, or with ``wait`` it waits its turn. ``timeout`` (seconds) is for
        all of it, that turn and the sends ahead included; it ends the waiting, not a send that has begun.
        Raises, in this order, ``InvalidCompanyId``, ``InvalidMessage``, ``InvalidRecipient``, ``SessionNotFound``,
        ``AuthenticationRequired``, ``SessionNotConnected``, ``AccountRestricted`` where the account may not write to a
        stranger now, ``RateLimitExceeded``, ``RecipientNotOnWhatsapp``; then ``SessionNotConnected`` where the turn
        did not come in time and nothing was sent, ``RecipientRestricted``, ``AccountRestricted`` or
        ``MessageRejected`` where WhatsApp refused, or ``SendTimeout``: then it is unknown whether the message went
        out. Should it become known, an event with the ``send_id`` of that error tells.

        By an ``idempotency_key`` (1–255 printable ASCII characters, else ``InvalidMessage``) a message is sent once,
        also by a program that was killed and tries again: for 24 h the same key waits for the send that is under way,
        and returns what WhatsApp acknowledged. What certainly was not sent may be tried again by the same key.
        Where that is unknown it raises ``SendTimeout`` again, until the late answer tells, or ``resend`` sends it all
        the same. ``InvalidMessage`` where the key is that of another recipient or message, ``StorageError`` where it
        cannot be kept: then nothing is sent.
        """
        return await self._handle(SessionKey(company_id, device)).send(
            to, message, idempotency_key=idempotency_key, resend=resend, wait=wait, timeout=timeout
        )

    async def disconnect(self, company_id: str, *, device: str = MAIN_DEVICE) -> None:
        """End the link and keep the credentials; it stays down until ``create_session``.

        Raises ``StorageError`` where that cannot be kept for the next pool, and leaves a session that runs as it is;
        ``SessionLocked`` where another pool runs it.
        """
        async with self._change(company_id, device) as session:
            if session is not None:
                await session.disconnect()

    async def restart(self, company_id: str, *, device: str = MAIN_DEVICE) -> None:
        """End the link and begin a new one, whatever ended the last, also where the caller is cancelled meanwhile.

        Raises as ``create_session``; a session that could not be started for a ``StorageError`` is tried again each
        ``revive_interval``.
        """

        async def restart() -> None:
            async with self._change(company_id, device) as session:
                if session is not None:
                    await session.restart()

        await self._to_the_end(restart)

    async def logout(self, company_id: str, *, device: str = MAIN_DEVICE) -> None:
        """Unlink from the phone and erase the credentials; the session stays known as ``logged_out``."""
        async with self._change(company_id, device) as session:
            if session is not None:
                await session.logout()

    async def delete_session(self, company_id: str, *, device: str = MAIN_DEVICE) -> None:
        """Log out where linked, then forget everything; nothing of the session stays on disk."""
        async with self._change(company_id, device) as session:
            if session is not None:
                await session.logout(forget=True)
                self._forget(session)

    def session(self, company_id: str, *, device: str = MAIN_DEVICE) -> Session:
        """Return the handle of a known session, which has the typed operations; raises ``SessionNotFound``."""
        handle = self._handle(SessionKey(company_id, device))
        handle.status()
        return handle

    async def explain(self, company_id: str, *, device: str = MAIN_DEVICE) -> str:
        """Say what happened, what happens next and when, in plain words; raises ``SessionNotFound``."""
        from .explain import explain

        return explain(self.session(company_id, device=device).status(), self._clock.now())

    def on(
        self, *types: str, company_id: str | None = None, device: str | None = None, durable: bool = False
    ) -> Callable[[H], H]:
        """Register a handler for events of these types (none: all), of one company or device where given.

        A handler is an async function of one argument, or a plain one, which runs in a thread. Events of one session
        reach it one after another, in order.

        With ``durable``, for ``message`` alone, a message stays in the session's inbox until the handler has returned.
        One that raises is called again after 5, 10, 20 … s, ten times in all; what it has not done when the
        application ends or crashes comes again, ``redelivered``, so it may come twice but is never lost.
        """
        wants = Filter(types, company_id, device)
        if durable and set(types) != {"message"}:
            raise ConfigurationError("only messages are durable: on('message', durable=True)")

        def register(handler: H) -> H:
            self._bus.add_handler(handler, wants, durable=durable)
            return handler

        return register

    def off(self, handler: Handler) -> None:
        """Remove a handler; one that is not registered is no error."""
        self._bus.remove_handler(handler)

    def events(
        self, *types: str, company_id: str | None = None, device: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Subscribe for as long as the context lasts; it gives an async iterator, which ends when the pool closes."""
        return self._bus.stream(Filter(types, company_id, device))

    async def _backend(self, stack: AsyncExitStack, given: T | None, make: Callable[[PoolSettings], T]) -> T:
        if given is not None:
            return given
        backend = make(self.settings)
        if isinstance(backend, AbstractAsyncContextManager):
            await stack.enter_async_context(backend)
        return backend

    def _open(self) -> Backends:
        if self._backends is None and self._entered:
            raise PoolClosed("the pool is not open any more")
        if self._backends is None:
            raise PoolClosed("the pool is not open: use `async with WhatsAppSessionPool(...) as pool`")
        return self._backends

    def _handle(self, key: SessionKey) -> Session:
        return Session(key, self._required)

    def _required(self, key: SessionKey) -> Supervisor:
        self._open()
        session = self._sessions.get(key)
        if session is None:
            raise SessionNotFound(f"Session not found for company {key}")
        return session

    @asynccontextmanager
    async def _change(self, company_id: str, device: str) -> AsyncIterator[Supervisor | None]:
        """Give a known session to one caller at a time; ``None`` for one that is unknown by now."""
        key = SessionKey(company_id, device)
        self._open()
        session = self._sessions.get(key)
        if session is None:
            yield None
            return
        async with session.changing:
            yield session if self._sessions.get(key) is session else None

    async def _to_the_end(self, change: Callable[[], Awaitable[None]]) -> None:
        """Make a change whole, whether its caller still waits or not; raises what it raises, or ``PoolClosed``."""
        error: Exception | None = PoolClosed("the pool was closed meanwhile")
        over = anyio.Event()

        async def run() -> None:
            nonlocal error
            try:
                await change()
                error = None
            except Exception as raised:  # noqa: BLE001 - it is raised where the caller waits
                error = raised
            finally:
                over.set()

        self._open().tasks.start_soon(run)
        await over.wait()
        if error is not None:
            raise error

    async def _start(
        self, session: Supervisor, pairing_number: str | None, asked: dict[str, Any], *, is_new: bool
    ) -> None:
        try:
            await session.create(pairing_number, **asked)
        except WhatsAppPoolError as error:
            if is_new:
                self._forget(session)
            elif isinstance(error, SessionLocked):
                session.standing.locked(error.holder)
            raise

    async def _find_or_create(self, key: SessionKey) -> tuple[Supervisor, bool]:
        backends = self._open()
        async with self._creating:
            if session := self._sessions.get(key):
                return session, False
            for known in self._sessions:
                if known.folded() == key.folded() or (
                    known.company_id != key.company_id and known.folded()[0] == key.folded()[0]
                ):
                    raise InvalidCompanyId(f"{key} differs only in case from the known session {known}")
            if len(self._sessions) >= self.settings.max_sessions:
                raise PoolFull(f"the pool has {len(self._sessions)} sessions, the most that max_sessions allows")
            stored = await backends.store.get(key)
            record = stored or SessionRecord(company_id=key.company_id, device=key.device, created_at=self._clock.now())
            session = self._sessions[key] = Supervisor(record, backends)
            return session, stored is None

    def _standings(self) -> list[Standing]:
        return [session.standing for session in self._sessions.values()]

    def _forget(self, session: Supervisor) -> None:
        if self._sessions.pop(session.key, None):
            self._metrics.forget(session)

    def _report(self, key: SessionKey, code: str, detail: str) -> None:
        if session := self._sessions.get(key):
            session.standing.error(code, detail)


_default_made = threading.Lock()


@cache
def _default_pool() -> WhatsAppSessionPool:
    return WhatsAppSessionPool(PoolSettings.from_env())


def get_pool() -> WhatsAppSessionPool:
    """Return the process's default pool, everywhere the same.

    It is made on first use, from the environment, and does nothing before it is opened, by ``async with get_pool():``,
    which is possible once. Handlers can be registered before that. Raises ``ConfigurationError``, which names the
    variable; using the pool while it is not open raises ``PoolClosed``, as does opening it twice.
    """
    with _default_made:
        return _default_pool()
