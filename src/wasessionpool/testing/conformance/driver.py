"""What a ``Driver``, its ``Connection`` and its ``Inbox`` have to keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from ulid import ULID

from ...abc import Connection, Driver, Inbox
from ...addresses import Address
from ...errors import WhatsAppPoolError
from ...links import DriverEvent, InboxItem, LinkEnded, LinkUp, PairingAccepted, PairingOffered
from ...messages import Text
from ...models import DeviceLocation, DisconnectReason, SessionKey, SessionRecord, WorkerMetrics
from ...operations import MarkRead
from ...stores.memory import MemoryStore
from .requirement import require, run_all

E = TypeVar("E")
KEY = SessionKey("962302")
OTHER = SessionKey("962303")
BATCH = 100


class FarEnd(Protocol):
    """WhatsApp, as it stands opposite to one device of the driver: the company's phone, and a contact of it."""

    @property
    def contact(self) -> Address:
        """Somebody who can be written to."""
        ...

    async def confirm(self, offer: PairingOffered) -> None:
        """Scan the code on the phone."""
        ...

    async def write(self, text: str) -> None:
        """Let the contact write to the device."""
        ...

    async def unlink(self) -> None:
        """Remove the device on the phone."""
        ...


@dataclass(frozen=True)
class DriverUnderTest:
    """A driver and what stands opposite to its devices: ``far_end(key)`` is the same one for the same key."""

    driver: Driver
    far_end: Callable[[SessionKey], FarEnd]


async def check_driver(make: Callable[[], AbstractAsyncContextManager[DriverUnderTest]]) -> None:
    """Check a ``Driver``; ``make`` gives an open one whose devices nobody has linked yet, and its far ends.

    Raises ``AssertionError``.
    """
    await run_all(
        "Driver",
        make,
        [
            _a_device_is_paired_then_linked,
            _a_device_that_is_unlinked_ends_its_link,
            _what_is_received_waits_in_the_inbox,
            _the_inbox_outlives_its_link,
            _devices_do_not_mix,
        ],
    )


async def _a_device_is_paired_then_linked(under_test: DriverUnderTest) -> None:
    async with _places() as places:
        far_end = under_test.far_end(KEY)
        async with _linked(under_test, places(KEY)) as (connection, link):
            await _sends(connection, far_end.contact)
            await connection.probe()
            workers = under_test.driver.workers()
            require(
                isinstance(workers, tuple) and all(isinstance(worker, WorkerMetrics) for worker in workers),
                "workers() must give a tuple of WorkerMetrics",
            )
            restarts = under_test.driver.worker_restarts
            require(isinstance(restarts, int) and restarts >= 0, "worker_restarts must be a count")
        async with under_test.driver.connect(_record(KEY, link), places(KEY)) as connection:
            event = await _next(aiter(connection), LinkUp, refuse=(PairingOffered,))
            require(event.jid == link.jid, "a device that is linked must come back as the device it was")
            await _sends(connection, far_end.contact)


async def _a_device_that_is_unlinked_ends_its_link(under_test: DriverUnderTest) -> None:
    async with _places() as places, _linked(under_test, places(KEY)) as (connection, _):
        await under_test.far_end(KEY).unlink()
        events = aiter(connection)
        end = await _next(events, LinkEnded)
        require(end.reason is DisconnectReason.LOGGED_OUT, f"a device that is unlinked is logged_out, not {end.reason}")
        require(await anext(events, None) is None, "LinkEnded must be the last event, and end the iteration")
        try:
            await connection.probe()
        except WhatsAppPoolError:
            return
        raise AssertionError("probe() must raise where the link is over")


async def _what_is_received_waits_in_the_inbox(under_test: DriverUnderTest) -> None:
    async with (
        _places() as places,
        _linked(under_test, places(KEY)) as (connection, _),
        under_test.driver.inbox(KEY, places(KEY)) as inbox,
    ):
        far_end = under_test.far_end(KEY)
        require(await _messages(inbox) == [], "read() must give nothing, and not wait, where there is nothing")
        for text in ("one", "two", "three"):
            await far_end.write(text)
        items = await _received(inbox, 3)
        numbers = [item.number for item in items]
        require(_texts(items) == ["one", "two", "three"], f"messages must come in their order, not as {_texts(items)}")
        require(numbers == sorted(set(numbers)), f"the numbers in an inbox must rise, not be {numbers}")
        require(not any(item.redelivered for item in items), "what came while the inbox was open is not redelivered")
        for item in items:
            ULID.from_str(item.event_id)
        require(
            [item.event_id for item in await _messages(inbox)] == [item.event_id for item in items],
            "what is not acknowledged must be there at each read(), under the same event_id",
        )
        after = await _messages(inbox, after=numbers[1])
        require(_texts(after) == ["three"], "read() must give what follows the number, and nothing before")
        require(len(await inbox.read(0, 1)) == 1, "read() must give at most as many as asked for")
        first = items[0].message
        await connection.call(MarkRead(message_ids=(first.message_id,), chat=first.chat.id, sender=first.sender.id))
        await inbox.acknowledge(numbers[:1])
        await inbox.acknowledge(numbers[:1])
        require(_texts(await _messages(inbox)) == ["two", "three"], "acknowledge() must forget these items, no others")
        await inbox.acknowledge([item.number for item in await inbox.read(0, BATCH) if item.number not in numbers])
        expired = await inbox.trim(1)
        require(expired == 1, f"trim(1) of two items must forget one and say so; it said {expired}")
        require(_texts(await _messages(inbox)) == ["three"], "trim() must keep the newest")
        require(await inbox.trim(1) == 0, "trim() must forget nothing where there is no more than it may keep")


async def _the_inbox_outlives_its_link(under_test: DriverUnderTest) -> None:
    async with _places() as places:
        async with (
            _linked(under_test, places(KEY)) as (_, _link),
            under_test.driver.inbox(KEY, places(KEY)) as inbox,
        ):
            await under_test.far_end(KEY).write("one")
            [item] = await _received(inbox, 1)
        async with under_test.driver.inbox(KEY, places(KEY)) as inbox:
            again = await _messages(inbox)
            require(_texts(again) == ["one"], "what nobody acknowledged must be there without a link, and later")
            require(again[0].event_id == item.event_id, "an item must keep its event_id for ever")
            require(again[0].redelivered, "what was there when the inbox was opened must be marked as redelivered")


async def _devices_do_not_mix(under_test: DriverUnderTest) -> None:
    async with (
        _places() as places,
        _linked(under_test, places(KEY)),
        _linked(under_test, places(OTHER), OTHER),
        under_test.driver.inbox(KEY, places(KEY)) as inbox,
        under_test.driver.inbox(OTHER, places(OTHER)) as other,
    ):
        await under_test.far_end(KEY).write("for one")
        await under_test.far_end(OTHER).write("for the other")
        for each, text in ((inbox, "for one"), (other, "for the other")):
            found = _texts(await _received(each, 1))
            require(found == [text], f"a device must receive its own messages only; it got {found}")


@asynccontextmanager
async def _places() -> AsyncIterator[Callable[[SessionKey], DeviceLocation]]:
    """Lend places for the keys of devices, which are removed afterwards."""
    async with MemoryStore() as store, store.device(KEY) as one, store.device(OTHER) as another:
        yield {KEY: one, OTHER: another}.__getitem__


@asynccontextmanager
async def _linked(
    under_test: DriverUnderTest, place: DeviceLocation, key: SessionKey = KEY
) -> AsyncIterator[tuple[Connection, LinkUp]]:
    """Open a connection of a device that has no keys, and pair it."""
    async with under_test.driver.connect(_record(key), place) as connection:
        events = aiter(connection)
        offer = await _next(events, PairingOffered, refuse=(LinkUp,))
        require(offer.text, "PairingOffered must hold the content of a code")
        require(offer.lifetime > 0, f"a code must be valid for some seconds, not {offer.lifetime}")
        await under_test.far_end(key).confirm(offer)
        accepted = await _next(events, PairingAccepted, refuse=(LinkUp,))
        link = await _next(events, LinkUp)
        require(link.jid == accepted.jid, "LinkUp must name the device that was paired")
        require(link.phone_number.startswith("+"), f"a phone number reads +79…, not {link.phone_number}")
        yield connection, link


def _record(key: SessionKey, link: LinkUp | None = None) -> SessionRecord:
    return SessionRecord(
        company_id=key.company_id,
        device=key.device,
        created_at=datetime.now(UTC),
        linked=link is not None,
        jid=link.jid if link else None,
        lid=link.lid if link else None,
        phone_number=link.phone_number if link else None,
    )


async def _next(events: AsyncIterator[DriverEvent], kind: type[E], refuse: tuple[type, ...] = ()) -> E:
    """Return the next event of a kind, which comes before those of the kinds that are refused."""
    async for event in events:
        if isinstance(event, kind):
            return event
        require(not isinstance(event, (LinkEnded, *refuse)), f"{kind.__name__} must come first; there came {event}")
    raise AssertionError(f"iteration must not end before {kind.__name__} or LinkEnded was told")


async def _sends(connection: Connection, to: Address) -> None:
    ids = set()
    for number in range(2):
        sent = await connection.send(to, Text(text=f"Hello {number}"))
        require(sent.to == str(to), f"SentMessage.to must be the address that was written to, not {sent.to}")
        require((sent.company_id, sent.device) == ("962302", "main"), "SentMessage must name the session")
        require(sent.timestamp.utcoffset() == timedelta(0), "SentMessage.timestamp must be aware and in UTC")
        ids.add(sent.id)
    require(len(ids) == 2 and all(ids), "each message must have an id of its own")


async def _messages(inbox: Inbox, after: int = 0) -> list[InboxItem]:
    return list(await inbox.read(after, BATCH))


async def _received(inbox: Inbox, count: int) -> list[InboxItem]:
    """Wait until this many messages are there."""
    while len(items := await _messages(inbox)) < count:
        await inbox.changed()
    return items


def _texts(items: Sequence[InboxItem]) -> list[str | None]:
    return [item.message.text for item in items]
