"""The accounts of the loopback WhatsApp and the devices linked to them: all state, no I/O."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from wasessionpool.testing.whatsapp.addresses import JID, lid_of, number_of, phone_number
from wasessionpool.testing.whatsapp.app_state import AppState, announce
from wasessionpool.testing.whatsapp.errors import ProtocolError
from wasessionpool.testing.whatsapp.faults import Faults, Refusal, corrupted
from wasessionpool.testing.whatsapp.media import MediaStore
from wasessionpool.testing.whatsapp.messages import ReceivedMessage, ReceivedReceipt
from wasessionpool.testing.whatsapp.nodes import Node, Value
from wasessionpool.testing.whatsapp.polls import PollSecret
from wasessionpool.testing.whatsapp.primary import PrimaryDevice
from wasessionpool.testing.whatsapp.ratchet import Bundle
from wasessionpool.testing.whatsapp.waiting import Changes, Mailbox
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message
from wasessionpool.testing.whatsapp.wire import Wire

if TYPE_CHECKING:
    from wasessionpool.testing.whatsapp.connection import Connection
    from wasessionpool.testing.whatsapp.groups import GroupChat
    from wasessionpool.testing.whatsapp.link_code import LinkRequest
    from wasessionpool.testing.whatsapp.pairing import Pairing

FEW_PREKEYS: Final = 50
"""How many one-time keys the server claims to have where pairing is to be cheap: a new client then uploads as many.

Told the truth, that there are fewer than 5, it uploads 812: ten times the work.
"""
MAX_PENDING: Final = 100_000
MAX_REMEMBERED_IDS: Final = 10_000
MAX_REMEMBERED_MESSAGES: Final = 256

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
    asked_for: set[str] = field(default_factory=set)
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
        if stanza.tag == "message" and self.account.faults.ciphertexts.take():
            stanza = corrupted(stanza)
        self._pending[stanza.tag, stanza.text("id"), _detail(stanza, stanza.tag, "from")] = stanza
        if self.connection is not None:
            self.connection.send(stanza)

    def take_ack(self, ack: Node) -> None:
        """Forget a stanza that the device acknowledges."""
        tag = ack.text("class")
        self._forget(tag, ack.text("id"), _detail(ack, tag, "to"))

    def take_receipt(self, message_id: str) -> None:
        """Forget a message that the device has a receipt for."""
        self._forget("message", message_id, "")

    def _forget(self, tag: str, stanza_id: str, detail: str) -> None:
        if self._pending.pop((tag, stanza_id, detail), None) is not None:
            self.account.changes.notify()

    def is_repeated(self, message_id: str) -> bool:
        """Tell whether the device sent this message before, and remember it."""
        repeated = self._sent.get(message_id) is not None
        self._sent.put(message_id, True)
        return repeated


def _detail(stanza: Node, tag: str, peer: str) -> str:
    """Tell stanzas of one id apart: several devices send receipts for one message. An acknowledgement repeats this."""
    if tag == "message":
        return ""
    return " ".join(str(stanza.attrs.get(name, "")) for name in ("type", peer, "participant"))


class Account:
    """A phone number on WhatsApp: a phone, the devices linked to it, and what it got."""

    def __init__(self, number: str, name: str, everyones_faults: Faults) -> None:
        self.number = number
        self.name = name
        self.jid = JID(number)
        self.lid = lid_of(number)
        self.primary = PrimaryDevice()
        self._app_state: AppState | None = None
        self.companions: dict[int, Companion] = {}
        self.last_device = 0
        self.inbox: Mailbox[ReceivedMessage] = Mailbox()
        self.polls: Recent[PollSecret] = Recent(MAX_REMEMBERED_MESSAGES)
        self.copies: Mailbox[ReceivedMessage] = Mailbox()
        self.receipts: Mailbox[ReceivedReceipt] = Mailbox()
        self.logins = 0
        self.refused_logins = 0
        self.overlapping_logins = 0
        self.undecryptable = 0
        self.retries_asked = 0
        self.retry_counts: Recent[int] = Recent(MAX_REMEMBERED_IDS)
        self.faults = Faults(everyones_faults)
        self.changes = Changes()

    @property
    def app_state(self) -> AppState:
        """What the phone shares with its linked devices, made when the first of them is there."""
        if self._app_state is None:
            self._app_state = AppState()
            self._app_state.set_push_name(self.name)
        return self._app_state

    def rename(self, name: str) -> None:
        self.name = name
        if self._app_state is not None:
            announce(self, self._app_state.set_push_name(name))

    def link(self, noise_key: bytes, keys: DeviceKeys, os: str) -> Companion:
        self.last_device += 1
        companion = Companion(self, self.last_device, noise_key, keys, os)
        self.companions[companion.device] = companion
        self.changes.notify()
        return companion

    def unlink(self, companion: Companion) -> None:
        """Forget a device for good; its connection, if any, is the caller's to end."""
        self.companions.pop(companion.device, None)
        companion.connection = None
        self.primary.forget(companion.lid)
        self.changes.notify()

    def devices(self) -> list[JID]:
        """Name the phone and the linked devices."""
        return [self.lid, *(companion.lid for companion in self.companions.values())]

    def connections(self) -> list[Connection]:
        return [companion.connection for companion in self.companions.values() if companion.connection is not None]


class Network:
    """All accounts, and the pairing codes on offer."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.pairings: dict[str, Pairing] = {}
        self.faults = Faults()
        self.refusals: deque[Refusal] = deque()
        self.link_requests: dict[str, LinkRequest] = {}
        self.groups: dict[JID, GroupChat] = {}
        self.media = MediaStore()
        self.prekeys = FEW_PREKEYS
        self.wire = Wire()

    def account(self, number: str, name: str = "") -> Account:
        """Return the account of a number, made on first use."""
        account = self.accounts.get(number)
        if account is None:
            account = self.accounts[number] = Account(number, name or number, self.faults)
        elif name and name != account.name:
            account.rename(name)
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

    def chat(self, to: str) -> Account | GroupChat:
        """Return the account or group that a test names. Raises ValueError for what is neither."""
        user, _, server = to.partition("@")
        chat = self.groups.get(JID(user, server)) if server else self.accounts.get(phone_number(to))
        if chat is None:
            raise ValueError(f"{to} is not on this WhatsApp: make it known by contact(), phone() or group() first")
        return chat

    def group_of(self, to: str) -> JID | None:
        """Return the JID of a group that a message names as its recipient, None for a number."""
        user, _, server = to.partition("@")
        return JID(user, server) if server else None

    def members(self, group: GroupChat) -> list[Account]:
        return [self.accounts[number] for number in group.members]

    def companions(self) -> Iterator[Companion]:
        return (companion for account in self.accounts.values() for companion in account.companions.values())

    def describe_recent(self) -> str:
        """Name the last stanzas of all clients, for the text of an error."""
        return self.wire.describe_recent()
