"""A driver without WhatsApp: the test says what happens on each link."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any, Literal

import anyio
import anyio.lowlevel
from ulid import ULID

from ..addresses import Address
from ..errors import SessionNotConnected
from ..links import DriverEvent, InboxItem, LinkEnded, LinkLost, LinkUp, PairingCodeOffered, PairingOffered
from ..messages import OutgoingMessage
from ..models import (
    Contact,
    DeviceLocation,
    DisconnectReason,
    InboundMessage,
    SentMessage,
    SessionKey,
    SessionRecord,
    Status,
    WorkerMetrics,
)
from ..operations import Operation

BUFFER = 1000
Script = Callable[["FakeLink"], Awaitable[None]]


class FakeInbox:
    """What a fake device received. ``acknowledged`` holds the numbers that came back."""

    def __init__(self) -> None:
        self._items: dict[int, InboxItem] = {}
        self.acknowledged: list[int] = []
        self._numbers = count(1)
        self._changed = anyio.Event()

    @property
    def items(self) -> list[InboxItem]:
        """What is not acknowledged, in order."""
        return list(self._items.values())

    def put(self, message: InboundMessage) -> None:
        """Let something arrive."""
        number = next(self._numbers)
        self._items[number] = InboxItem(number=number, event_id=str(ULID()), message=message)
        self._changed.set()

    def reopen(self) -> None:
        """Mark what is left as having been there before."""
        for number, item in self._items.items():
            self._items[number] = item.model_copy(update={"redelivered": True})

    async def read(self, after: int, limit: int) -> Sequence[InboxItem]:
        """Return what follows the number ``after``, at most ``limit``."""
        await anyio.lowlevel.checkpoint()
        self._changed = anyio.Event()
        return list(islice((item for item in self._items.values() if item.number > after), limit))

    async def changed(self) -> None:
        """Wait for what arrives after the last ``read``."""
        await self._changed.wait()

    async def acknowledge(self, numbers: Sequence[int]) -> None:
        """Forget these items, and note their numbers."""
        await anyio.lowlevel.checkpoint()
        self.acknowledged += numbers
        for number in numbers:
            self._items.pop(number, None)

    async def trim(self, keep: int) -> int:
        """Forget all but the newest ``keep`` items, and return how many these were."""
        await anyio.lowlevel.checkpoint()
        expired = list(self._items)[: max(0, len(self._items) - keep)]
        for number in expired:
            del self._items[number]
        return len(expired)


class FakeLink:
    """One connection. What it is told to report reaches the session; what the session sends is in ``sent``.

    ``operations`` are the calls that were made of it; ``results`` says what those of a kind return. ``probes`` counts
    how often it was asked whether it lives, which it does unless ``on_probe`` raises or waits.
    """

    def __init__(self, record: SessionRecord, inbox: FakeInbox) -> None:
        self.record = record
        self.inbox = inbox
        self.sent: list[tuple[Address, OutgoingMessage]] = []
        self.operations: list[Operation] = []
        self.results: dict[type[Operation], Any] = {}
        self.closed = anyio.Event()
        self.probes = 0
        self.on_send: Callable[[Address, OutgoingMessage], Awaitable[None]] | None = None
        self.on_probe: Callable[[], Awaitable[None]] | None = None
        self._over = False
        self._ids = count(1)
        self._send, self._events = anyio.create_memory_object_stream[DriverEvent](BUFFER)

    def __aiter__(self) -> AsyncIterator[DriverEvent]:
        return self._events

    async def send(self, to: Address, message: OutgoingMessage) -> SentMessage:
        """Do what ``on_send`` says, where it is set, and note the message as sent."""
        if self.on_send is not None:
            await self.on_send(to, message)
        self.sent.append((to, message))
        return SentMessage(
            id=f"FAKE{next(self._ids)}",
            to=str(to),
            company_id=self.record.company_id,
            device=self.record.device,
            timestamp=datetime.now(UTC),
        )

    async def probe(self) -> None:
        """Count the question, and do what ``on_probe`` says, where it is set."""
        self.probes += 1
        if self._over:
            raise SessionNotConnected("the link is over", status=Status.DISCONNECTED)
        if self.on_probe is not None:
            await self.on_probe()

    async def call(self, operation: Operation) -> Any:
        """Note the operation; its result is ``None``."""
        self.operations.append(operation)
        return self.results.get(type(operation))

    def report(self, event: DriverEvent) -> None:
        """Let the link tell ``event``."""
        self._send.send_nowait(event)

    def offer_pairing(self, text: str = "2@fake", lifetime: float = 60.0) -> None:
        """Report a code that waits for the phone."""
        self.report(PairingOffered(text=text, lifetime=lifetime))

    def offer_code(self, code: str = "ABCD1234", lifetime: float = 160.0) -> None:
        """Report a code that the user types into the phone."""
        self.report(PairingCodeOffered(code=code, lifetime=lifetime))

    def up(self, phone_number: str = "+79686484488") -> None:
        """Report that the link is live."""
        jid = f"{phone_number.removeprefix('+')}:1@s.whatsapp.net"
        self.report(LinkUp(jid=jid, phone_number=phone_number, push_name="Fake"))

    def lose(
        self, reason: Literal[DisconnectReason.NETWORK, DisconnectReason.SERVER] = DisconnectReason.NETWORK
    ) -> None:
        """Report that the line broke."""
        self.report(LinkLost(reason=reason))

    def end(self, reason: DisconnectReason, detail: str | None = None, until: datetime | None = None) -> None:
        """Report that the link is over, which is the last that it reports."""
        self.report(LinkEnded(reason=reason, detail=detail, until=until))
        self.fall_silent()

    def fall_silent(self) -> None:
        """End without a reason, which no driver should do."""
        self._over = True
        self._send.close()

    def receive(self, text: str, sender: str = "+79001234567") -> None:
        """Let a text message from ``sender`` arrive."""
        contact = Contact(id=f"{sender.removeprefix('+')}@s.whatsapp.net", phone_number=sender)
        message = InboundMessage(
            message_id=f"IN{next(self._ids)}", chat=contact, sender=contact, text=text, timestamp=datetime.now(UTC)
        )
        self.inbox.put(message)


async def link_at_once(link: FakeLink) -> None:
    """The default script: a linked device is connected, another is offered a code."""
    if link.record.linked:
        link.up()
    elif link.record.pairing_number is not None:
        link.offer_code()
    else:
        link.offer_pairing()


class FakeDriver:
    """A ``Driver`` that runs ``script`` on each new link, which is also in ``links``, the newest last."""

    def __init__(self, script: Script = link_at_once) -> None:
        self.script = script
        self.links: list[FakeLink] = []
        self.inboxes: dict[SessionKey, FakeInbox] = defaultdict(FakeInbox)
        self.open_links = 0
        self.worker_restarts = 0

    def workers(self) -> tuple[WorkerMetrics, ...]:
        """Return no workers: there are none."""
        return ()

    @property
    def link(self) -> FakeLink:
        """The newest link."""
        return self.links[-1]

    @asynccontextmanager
    async def inbox(self, key: SessionKey, device: DeviceLocation) -> AsyncIterator[FakeInbox]:  # noqa: ARG002 - no files here
        """Open the fake inbox of a session, which stays when it is left."""
        inbox = self.inboxes[key]
        inbox.reopen()
        yield inbox

    @asynccontextmanager
    async def connect(self, record: SessionRecord, device: DeviceLocation) -> AsyncIterator[FakeLink]:  # noqa: ARG002 - no keys here
        """Open a link, and run the script on it."""
        link = FakeLink(record, self.inboxes[record.key])
        self.links.append(link)
        self.open_links += 1
        try:
            await self.script(link)
            yield link
        finally:
            self.open_links -= 1
            link.closed.set()
            link.fall_silent()
            link._events.close()
