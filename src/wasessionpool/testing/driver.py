"""A driver without WhatsApp: the test says what happens on each link."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import anyio

from ..addresses import Address
from ..links import DriverEvent, LinkEnded, LinkLost, LinkUp, MessageReceived, PairingOffered
from ..messages import OutgoingMessage
from ..models import (
    Contact,
    DeviceLocation,
    DisconnectReason,
    InboundMessage,
    SentMessage,
    SessionRecord,
    WorkerMetrics,
)
from ..operations import Operation

BUFFER = 1000
Script = Callable[["FakeLink"], Awaitable[None]]


class FakeLink:
    """One connection. What it is told to report reaches the session; what the session sends is in ``sent``."""

    def __init__(self, record: SessionRecord) -> None:
        self.record = record
        self.sent: list[tuple[Address, OutgoingMessage]] = []
        self.operations: list[Operation] = []
        self.closed = anyio.Event()
        self.on_send: Callable[[Address, OutgoingMessage], Awaitable[None]] | None = None
        self._ids = count(1)
        self._send, self._events = anyio.create_memory_object_stream[DriverEvent](BUFFER)

    def __aiter__(self) -> AsyncIterator[DriverEvent]:
        return self._events

    async def send(self, to: Address, message: OutgoingMessage) -> SentMessage:
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

    async def call(self, operation: Operation) -> Any:
        self.operations.append(operation)

    def report(self, event: DriverEvent) -> None:
        self._send.send_nowait(event)

    def offer_pairing(self, text: str = "2@fake", lifetime: float = 60.0) -> None:
        self.report(PairingOffered(text=text, lifetime=lifetime))

    def up(self, phone_number: str = "+79686484488") -> None:
        """Report that the link is live."""
        jid = f"{phone_number.removeprefix('+')}:1@s.whatsapp.net"
        self.report(LinkUp(jid=jid, phone_number=phone_number, push_name="Fake"))

    def lose(self, reason: DisconnectReason = DisconnectReason.NETWORK) -> None:
        """Report that the line broke."""
        self.report(LinkLost(reason=reason))

    def end(self, reason: DisconnectReason, detail: str | None = None, until: datetime | None = None) -> None:
        """Report that the link is over."""
        self.report(LinkEnded(reason=reason, detail=detail, until=until))

    def fall_silent(self) -> None:
        """End without a reason, which no driver should do."""
        self._send.close()

    def receive(self, text: str, sender: str = "+79001234567") -> None:
        """Report a text message from ``sender``."""
        contact = Contact(id=f"{sender.removeprefix('+')}@s.whatsapp.net", phone_number=sender)
        message = InboundMessage(
            message_id=f"IN{next(self._ids)}", chat=contact, sender=contact, text=text, timestamp=datetime.now(UTC)
        )
        self.report(MessageReceived(message=message))


async def link_at_once(link: FakeLink) -> None:
    """The default script: a linked device is connected, another is offered a code."""
    if link.record.linked:
        link.up()
    else:
        link.offer_pairing()


class FakeDriver:
    """A ``Driver`` that runs ``script`` on each new link, which is also in ``links``, the newest last."""

    def __init__(self, script: Script = link_at_once) -> None:
        self.script = script
        self.links: list[FakeLink] = []
        self.open_links = 0
        self.worker_restarts = 0

    def workers(self) -> tuple[WorkerMetrics, ...]:
        return ()

    @property
    def link(self) -> FakeLink:
        """The newest link."""
        return self.links[-1]

    @asynccontextmanager
    async def connect(self, record: SessionRecord, device: DeviceLocation) -> AsyncIterator[FakeLink]:  # noqa: ARG002 - no keys here
        link = FakeLink(record)
        self.links.append(link)
        self.open_links += 1
        try:
            await self.script(link)
            yield link
        finally:
            self.open_links -= 1
            link.closed.set()
            link._send.close()
            link._events.close()
