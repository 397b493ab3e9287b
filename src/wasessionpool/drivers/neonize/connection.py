"""A connection's life: paired where needed, then hosted on a shard worker, until it ends or is left."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from ...addresses import Address
from ...disk import on_disk
from ...errors import (
    DriverError,
    MessageRejected,
    RecipientNotOnWhatsapp,
    RecipientRestricted,
    SendTimeout,
    SessionNotConnected,
    StorageError,
    WhatsAppPoolError,
    WorkerCrashed,
)
from ...links import (
    DriverEvent,
    LinkEnded,
    LinkLost,
    LinkUp,
    NoticesReceived,
    PairingAccepted,
    PairingCodeOffered,
    PairingOffered,
    PairingQueued,
    PairingStarted,
    PresenceChanged,
    ReceiptsReceived,
    TypingChanged,
)
from ...messages import OutgoingMessage
from ...models import DeviceLocation, DisconnectReason, SentMessage, SessionKey, SessionRecord, Status
from ...operations import Operation
from ...proxies import check_proxy
from ...waiting import first
from .database import forget_unlinked, is_linked, uri_path
from .fleet import Fleet, Place
from .inbox import InboxReader
from .process import Hosting, WorkerProcess
from .wire import Answer, Credit, Failure, Probe, Request, SendText, Start

logger = logging.getLogger(__name__)

PAIRING_TIMEOUT = 240.0
"""Seconds a pairing worker gets: a minute to reach WhatsApp, 160 s for six codes, and some to spare."""

FIRST_LINK_TIMEOUT = 10.0
"""Seconds for the first login after the phone confirmed; whatsmeow never retries it, the shard worker will."""

LOOK_INTERVAL = 5.0
"""Seconds without a sign of life after which it is looked, again and again, whether the keys are still there: a client
whose keys are deleted meanwhile waits for them for ever, and says nothing."""

START_TIMEOUT = 90.0
"""Seconds for a client to open its line or give up; a dial takes up to 60."""

LINGER = 75.0
"""Seconds for a stopped client to let go of its database; beyond them its worker is killed."""

HANDOVER_TIMEOUT = 5.0
SLOW_MOVE = 3.0
"""Seconds without a link, between two workers, that are not told."""

LAST_ANSWERS = 40.0
"""Seconds that a move to another worker waits for what is being asked; sessions give up sooner."""

CREDIT_STEP = 16
STATES_KEPT = 64
RESTRICTED_RECIPIENT = 463
UNLINKED = frozenset({DisconnectReason.LOGGED_OUT, DisconnectReason.BANNED})
"""Ends after which WhatsApp no longer takes the device's keys."""


DeviceName = str | Callable[[SessionRecord], str]


@dataclass(frozen=True)
class Terms:
    """What all connections of a driver share."""

    fleet: Fleet
    tasks: TaskGroup
    pairing_slots: anyio.Semaphore
    device_name: DeviceName
    inbox_max_bytes: int
    inboxes: dict[SessionKey, InboxReader]


class NeonizeConnection:
    """One link to WhatsApp; iterate it for its events.

    A reader that is slow misses people's coming and going, and of the rest the oldest, never the newest.
    Iterating raises ``ConfigurationError`` or ``DriverError`` where no worker can run in this installation.
    """

    def __init__(
        self, terms: Terms, record: SessionRecord, device: DeviceLocation, generation: int, before: anyio.Event | None
    ) -> None:
        self.over = anyio.Event()
        self.left = False
        self.states_dropped = 0
        self._terms = terms
        self._record = record
        self._device = device
        self._session = f"{record.company_id}:{record.device}:{generation}"
        self._before = before
        self._scope = anyio.CancelScope()
        self._states: deque[DriverEvent] = deque()
        self._news: deque[DriverEvent] = deque()
        self._taken = 0
        self._end: LinkEnded | None = None
        self._error: WhatsAppPoolError | None = None
        self._finished = False
        self._changed = anyio.Event()
        self._status = Status.CONNECTING
        self._place: tuple[WorkerProcess, Hosting] | None = None
        self._asking = 0
        self._asked = anyio.Event()
        self._left: Place | None = None

    def __aiter__(self) -> AsyncIterator[DriverEvent]:
        return self

    async def __anext__(self) -> DriverEvent:
        while not self._finished:
            if self._states:
                return self._states.popleft()
            if self._news:
                self._grant()
                return self._news.popleft()
            if self._error is not None:
                raise self._error
            if self._end is not None:
                self._finished = True
                return self._end
            self._changed = anyio.Event()
            await self._changed.wait()
        raise StopAsyncIteration

    async def send(self, to: Address, message: OutgoingMessage) -> SentMessage:
        """Send, and return once WhatsApp's server acknowledged.

        Raises ``SessionNotConnected`` where nothing was sent, ``MessageRejected``, ``RecipientRestricted`` or
        ``RecipientNotOnWhatsapp`` where it was refused, ``DriverError`` where neonize would not even try, and
        ``SendTimeout`` where the outcome is unknown.
        """
        answer = await self._ask(SendText(to=str(to), text=message.text))
        if answer.sent is None:
            raise SendTimeout("the worker's answer to a send lacks the message's id")
        return SentMessage(
            id=answer.sent.id,
            to=str(to),
            company_id=self._record.company_id,
            device=self._record.device,
            timestamp=datetime.fromtimestamp(answer.sent.timestamp, UTC),
        )

    async def probe(self) -> None:
        """Return once WhatsApp's server answered a question; raises ``SessionNotConnected`` or ``DriverError``."""
        await self._ask(Probe())

    async def call(self, operation: Operation) -> Any:
        """Do ``operation``; raises ``SessionNotConnected`` or ``DriverError``."""
        answer = await self._ask(operation)
        return answer.registered.numbers if answer.registered is not None else None

    async def run(self) -> None:
        """Live until the link has ended or ``close`` was called, and the device's database is free."""
        try:
            if self._before is not None:
                await self._before.wait()
            with self._scope:
                await self._live()
            if self._end is not None and self._end.reason in UNLINKED:
                await self._forget_keys()
        except WhatsAppPoolError as error:
            self._error = error
        except Exception as error:
            # One connection's fault must not end the driver's others.
            logger.exception("connection of %s", self._record.key)
            self._error = DriverError(f"the connection broke: {type(error).__name__}")
        finally:
            if self._error is None:
                # A link that ended without a word has lost its pump; one that said why keeps its reason.
                self._take(LinkEnded(reason=DisconnectReason.PUMP_DEAD))
            self._changed.set()
            self.over.set()

    def close(self, reason: DisconnectReason = DisconnectReason.REQUESTED) -> None:
        """Begin to stop; ``over`` is set once it is done."""
        self._take(LinkEnded(reason=reason))
        self._scope.cancel()

    async def _live(self) -> None:
        if self._record.proxy is not None:
            check_proxy(self._record.proxy)
        try:
            linked = await self._is_linked()
        except StorageError as error:
            self._take(LinkEnded(reason=DisconnectReason.STORAGE, detail=error.message))
            return
        try:
            if linked or await self._pair():
                await self._serve()
        except WorkerCrashed as error:
            self._take(LinkEnded(reason=DisconnectReason.WORKER_CRASHED, detail=error.message))

    async def _is_linked(self) -> bool:
        database = self._device.database
        return await on_disk(database, partial(is_linked, database))

    async def _forget_device(self) -> None:
        database = self._device.database
        await on_disk(database, partial(forget_unlinked, database))

    async def _forget_keys(self) -> None:
        # whatsmeow does so itself a moment after it said why, if its worker lives that long.
        try:
            await self._forget_device()
        except StorageError as error:
            logger.warning("%s: %s", self._record.key, error)

    async def _pair(self) -> bool:
        """Pair in a worker of its own; returns whether the phone confirmed, else the link has ended."""
        slots = self._terms.pairing_slots
        try:
            slots.acquire_nowait()
        except anyio.WouldBlock:
            self._take(PairingQueued())
            await slots.acquire()
        try:
            await self._forget_device()
            self._status = Status.PAIRING
            self._take(PairingStarted())
            async with self._terms.fleet.pairing() as worker:
                accepted = await self._pair_on(worker)
        finally:
            slots.release()
        self._status = Status.CONNECTING
        if accepted:
            self._terms.fleet.quarantine.forget(self._record.key)
        return accepted

    async def _pair_on(self, worker: WorkerProcess) -> bool:
        accepted, linked = anyio.Event(), anyio.Event()

        def take(event: DriverEvent) -> None:
            match event:
                case PairingOffered() | PairingCodeOffered() if not accepted.is_set():
                    self._take(event)
                case PairingAccepted():
                    accepted.set()
                    self._take(event)
                case LinkEnded() if not accepted.is_set():
                    self._take(event)
                case NoticesReceived() | ReceiptsReceived() | PresenceChanged() | TypingChanged():
                    self._take(event)
                case LinkUp() | LinkEnded():
                    linked.set()

        hosting = worker.host(self._start(pairing=True), take, self._stored)
        with anyio.move_on_after(PAIRING_TIMEOUT):
            await first(accepted.wait, hosting.ended.wait)
        if not accepted.is_set():
            hosting.take(LinkEnded(reason=DisconnectReason.PAIRING_TIMEOUT, detail="nobody confirmed"))
            return False
        self._settle_on(worker, hosting)
        with anyio.move_on_after(FIRST_LINK_TIMEOUT):
            await first(linked.wait, hosting.ended.wait)
        worker.stop(hosting)
        with anyio.move_on_after(HANDOVER_TIMEOUT):
            await hosting.over.wait()
        self._place = None
        return True

    async def _serve(self) -> None:
        """Hold the link, on one shard worker after another, for as long as it lasts."""
        key, fleet = self._record.key, self._terms.fleet
        try:
            moves = True
            while moves and self._end is None:
                async with fleet.shard(key) as (worker, place):
                    moves = await self._serve_at(worker, place)
        finally:
            fleet.quarantine.link_down(key)
            self._arrive()

    async def _serve_at(self, worker: WorkerProcess, place: Place) -> bool:
        """Hold the link at a place; returns whether it has to go on elsewhere."""
        hosting = worker.host(self._start(pairing=False), self._take_from_shard, self._stored)
        self._settle_on(worker, hosting)
        try:
            if (silence := await self._silence(hosting)) is not None:
                hosting.take(silence)
            await first(hosting.ended.wait, place.leave.wait)
            if not hosting.ended.is_set():
                await self._depart(place, hosting)
            return not hosting.ended.is_set()
        finally:
            self._place = None
            if self._left is not place:
                place.settled.set()
            worker.stop(hosting)
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(LINGER):
                    await hosting.over.wait()
                if not hosting.over.is_set():
                    logger.error("%s does not end: its worker %s is killed", self._record.key, worker.pid)
                    worker.kill()
                    await hosting.over.wait()

    async def _depart(self, place: Place, hosting: Hosting) -> None:
        """Let what is being asked be answered, while anything new waits for the next place."""
        self._arrive()
        self._left = place
        with anyio.move_on_after(LAST_ANSWERS):
            while self._asking and not hosting.ended.is_set():
                self._asked = anyio.Event()
                await first(self._asked.wait, hosting.ended.wait)
        self._terms.tasks.start_soon(self._tell_slow_move, place)

    async def _tell_slow_move(self, place: Place) -> None:
        with anyio.move_on_after(SLOW_MOVE):
            await place.settled.wait()
        if not place.settled.is_set() and self._status is Status.CONNECTED:
            self._take(LinkLost(detail="it moves to another worker"))

    def _arrive(self) -> None:
        """The move to another worker, if there is one, is over."""
        if self._left is not None:
            self._left.settled.set()
            self._left = None

    def _take_from_shard(self, event: DriverEvent) -> None:
        quarantine = self._terms.fleet.quarantine
        match event:
            case LinkUp():
                quarantine.link_up(self._record.key)
                unnoticed = self._left is not None and self._status is Status.CONNECTED
                self._arrive()
                if unnoticed:
                    return
            case LinkLost():
                quarantine.link_down(self._record.key)
        self._take(event)

    async def _silence(self, hosting: Hosting) -> LinkEnded | None:
        """Wait for a sign of life; returns what it means that there is none."""
        unheard = end = LinkEnded(reason=DisconnectReason.NETWORK, detail=f"no sign of life in {START_TIMEOUT:g} s")
        with anyio.move_on_after(START_TIMEOUT):
            while True:
                with anyio.move_on_after(LOOK_INTERVAL):
                    await hosting.running.wait()
                    return None
                try:
                    if not await self._is_linked():
                        return LinkEnded(reason=DisconnectReason.LOGGED_OUT, detail="the device's keys are gone")
                    end = unheard
                except StorageError as error:
                    end = LinkEnded(reason=DisconnectReason.STORAGE, detail=error.message)
        return None if hosting.running.is_set() else end

    def _start(self, *, pairing: bool) -> Start:
        name = self._terms.device_name
        return Start(
            session=self._session,
            database=uri_path(self._device.database),
            inbox=str(self._device.inbox),
            inbox_max_bytes=self._terms.inbox_max_bytes,
            device_name=name if isinstance(name, str) else name(self._record),
            proxy=self._record.proxy,
            pairing=pairing,
            pairing_number=self._record.pairing_number,
        )

    def _take(self, event: DriverEvent) -> None:
        match event:
            case LinkEnded():
                self._end = self._end or event
                self._status = Status.DISCONNECTED
            case PresenceChanged() | TypingChanged() | ReceiptsReceived() | NoticesReceived():
                self._news.append(event)
            case _:
                if isinstance(event, LinkUp):
                    self._status = Status.CONNECTED
                elif isinstance(event, LinkLost):
                    self._status = Status.RECONNECTING
                if len(self._states) == STATES_KEPT:
                    self._states.popleft()
                    self.states_dropped += 1
                    if self.states_dropped & (self.states_dropped - 1) == 0:
                        logger.warning("%s: %d states dropped, taken too late", self._record.key, self.states_dropped)
                self._states.append(event)
        self._changed.set()

    def _stored(self) -> None:
        if inbox := self._terms.inboxes.get(self._record.key):
            inbox.notify()

    def _settle_on(self, worker: WorkerProcess, hosting: Hosting) -> None:
        self._place = (worker, hosting)
        self._taken = 0

    def _grant(self) -> None:
        self._taken += 1
        if self._taken >= CREDIT_STEP and self._place is not None:
            worker, hosting = self._place
            worker.send(Credit(session=hosting.session, news=self._taken))
            self._taken = 0

    async def _ask(self, request: Request) -> Answer:
        while self._left is not None and self._status is Status.CONNECTED:
            await self._left.settled.wait()
        if self._place is None or self._status is not Status.CONNECTED or not self._place[0].alive:
            raise SessionNotConnected("there is no live link", status=self._status, reason=self._reason)
        worker, hosting = self._place
        self._asking += 1
        try:
            answer = await worker.call(hosting, request)
        finally:
            self._asking -= 1
            self._asked.set()
        if answer.failure is not None:
            raise self._error_for(answer.failure, request)
        return answer

    @property
    def _reason(self) -> DisconnectReason | None:
        return self._end.reason if self._end is not None else None

    def _error_for(self, failure: Failure, request: Request) -> WhatsAppPoolError:
        match failure.kind:
            case "not_connected":
                status = Status.RECONNECTING if self._status is Status.CONNECTED else self._status
                return SessionNotConnected(failure.detail, status=status, reason=self._reason)
            case "rejected" if failure.server_code == RESTRICTED_RECIPIENT:
                return RecipientRestricted(failure.detail)
            case "rejected" if failure.server_code is not None:
                return MessageRejected(failure.detail, server_code=failure.server_code)
            case "not_on_whatsapp":
                return RecipientNotOnWhatsapp(failure.detail)
            case "timeout" if isinstance(request, SendText):
                return SendTimeout(failure.detail)
        return DriverError(failure.detail)
