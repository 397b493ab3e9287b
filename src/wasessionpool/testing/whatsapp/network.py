"""The accounts of the loopback WhatsApp and the devices linked to them: all state, no I/O."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from wasessionpool.testing.whatsapp.addresses import JID, lid_of, number_of
from wasessionpool.testing.whatsapp.errors import ProtocolError
from wasessionpool.testing.whatsapp.messages import ReceivedMessage, ReceivedReceipt
from wasessionpool.testing.whatsapp.nodes import Node, Value
from wasessionpool.testing.whatsapp.primary import PrimaryDevice
from wasessionpool.testing.whatsapp.ratchet import Bundle
from wasessionpool.testing.whatsapp.waiting import Changes, Mailbox
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

if TYPE_CHECKING:
    from wasessionpool.testing.whatsapp.connection import Connection
    from wasessionpool.testing.whatsapp.pairing import Pairing

MAX_PENDING: Final = 100_000
MAX_REMEMBERED_IDS: Final = 10_000
MAX_REMEMBERED_MESSAGES: Final = 256
RECENT_STANZAS: Final = 12

T = TypeVar("T")

logger = logging.getLogger("wasessionpool.testing")


class Recent(Generic[T]):
    """The last few things, by id."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: dict[str, T] = {}

    def get(self, key: str) -> T | None:
        return self._items.get(key)

    def put(self, key: str, item: T) -> None:
        self._items[key] = item
        if len(self._items) > self._size:
            del self._items[next(iter(self._items))]


@dataclass(slots=True)
class DeviceKeys:
    """What a linked device publishes: its identity, one signed pre-key, and one-time pre-keys."""

    registration_id: int
    identity: bytes
    signed_prekey_id: int
    signed_prekey: bytes
    signature: bytes
    prekeys: deque[tuple[int, bytes]] = field(default_factory=deque)

    def take_bundle(self) -> Bundle:
        """Publish keys for one new session; without a one-time key when none is left."""
        prekey_id, prekey = self.prekeys.popleft() if self.prekeys else (None, None)
        return Bundle(
            self.registration_id,
            self.identity,
            self.signed_prekey_id,
            self.signed_prekey,
            self.signature,
            prekey_id,
            prekey,
        )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a phone wrote to a linked device, kept in case that the device cannot decrypt it and asks again."""

    sender: Account
    message: Message
    attrs: Mapping[str, Value]


@dataclass(slots=True, eq=False)
class Companion:
    """A linked device: what the server knows of it, and what it has not taken yet."""

    account: Account
    device: int
    noise_key: bytes
    keys: DeviceKeys
    os: str
    logins: int = 0
    dropped: int = 0
    connection: Connection | None = None
    outgoing: Recent[Outgoing] = field(default_factory=lambda: Recent(MAX_REMEMBERED_MESSAGES))
    _sent: Recent[bool] = field(default_factory=lambda: Recent(MAX_REMEMBERED_IDS))
    _pending: dict[tuple[str, str, str], Node] = field(default_factory=dict)

    @property
    def lid(self) -> JID:
        return self.account.lid.with_device(self.device)

    @property
    def pending(self) -> tuple[Node, ...]:
        """Stanzas that the device has not acknowledged, oldest first."""
        return tuple(self._pending.values())

    def deliver(self, stanza: Node) -> None:
        """Hand a stanza to the device now, or at its next login; it is kept until the device acknowledges it."""
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
            self.dropped += 1
        kind = stanza.text("type") if stanza.tag == "receipt" else ""
        self._pending[stanza.tag, stanza.text("id"), kind] = stanza
        if self.connection is not None:
            self.connection.send(stanza)

    def acknowledge(self, tag: str, stanza_id: str, kind: str = "") -> None:
        if self._pending.pop((tag, stanza_id, kind), None) is not None:
            self.account.changes.notify()

    def is_repeated(self, message_id: str) -> bool:
        """Tell whether the device sent this message before, and remember it."""
        repeated = self._sent.get(message_id) is not None
        self._sent.put(message_id, True)
        return repeated


@dataclass(slots=True)
class Faults:
    """What an account's clients get instead of a service that works."""

    login_failures: deque[Node] = field(default_factory=deque)
    silent: bool = False
    withhold_acks: bool = False


class Account:
    """A phone number on WhatsApp: a phone, the devices linked to it, and what it got."""

    def __init__(self, number: str, name: str) -> None:
        self.number = number
        self.name = name
        self.jid = JID(number)
        self.lid = lid_of(number)
        self.primary = PrimaryDevice()
        self.companions: dict[int, Companion] = {}
        self.device_ids = itertools.count(1)
        self.inbox: Mailbox[ReceivedMessage] = Mailbox()
        self.copies: Mailbox[ReceivedMessage] = Mailbox()
        self.receipts: Mailbox[ReceivedReceipt] = Mailbox()
        self.logins = 0
        self.refused_logins = 0
        self.undecryptable = 0
        self.retries_asked = 0
        self.retry_counts: Recent[int] = Recent(MAX_REMEMBERED_IDS)
        self.faults = Faults()
        self.changes = Changes()

    def link(self, noise_key: bytes, keys: DeviceKeys, os: str) -> Companion:
        companion = Companion(self, next(self.device_ids), noise_key, keys, os)
        self.companions[companion.device] = companion
        self.changes.notify()
        return companion

    def unlink(self, companion: Companion) -> None:
        """Forget a device for good; its connection, if any, is the caller's to end."""
        self.companions.pop(companion.device, None)
        companion.connection = None
        self.primary.forget(companion.lid)
        self.changes.notify()

    def connections(self) -> list[Connection]:
        return [companion.connection for companion in self.companions.values() if companion.connection is not None]


class Network:
    """All accounts, and the pairing codes on offer."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.pairings: dict[str, Pairing] = {}
        self.recent: deque[tuple[str, Node]] = deque(maxlen=RECENT_STANZAS)

    def account(self, number: str, name: str = "") -> Account:
        """Return the account of a number, made on first use."""
        account = self.accounts.get(number)
        if account is None:
            account = self.accounts[number] = Account(number, name or number)
        elif name:
            account.name = name
        return account

    def find(self, jid: JID) -> Account | None:
        return self.accounts.get(number_of(jid))

    def companion(self, jid: JID) -> Companion | None:
        account = self.find(jid)
        return account.companions.get(jid.device) if account is not None else None

    def require(self, jid: JID) -> Account:
        """Return the account of a JID. Raises ProtocolError."""
        account = self.find(jid)
        if account is None:
            raise ProtocolError(f"{jid} is not on WhatsApp")
        return account

    def companions(self) -> Iterator[Companion]:
        return (companion for account in self.accounts.values() for companion in account.companions.values())

    def describe_recent(self) -> str:
        """Name the last stanzas, oldest first, by tags and kinds only."""
        return ", ".join(f"{direction} {_describe(stanza)}" for direction, stanza in self.recent) or "none"


def _describe(stanza: Node) -> str:
    kinds = "/".join(filter(None, (stanza.text("xmlns"), stanza.text("type"), stanza.text("class"))))
    children = " ".join(child.tag for child in stanza.children[:2])
    return " ".join(filter(None, (stanza.tag, kinds, f"({children})" if children else "")))
