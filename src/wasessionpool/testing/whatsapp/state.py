"""A server's memory in a file: accounts, keys, Signal sessions and queues, and what clients trust.

Every attribute of a noun is saved, a new one without a line here, unless `NOUNS` names it as passing. A new class needs
its line in `NOUNS`, or in `VALUES` when nothing else refers to the same object; until then saving raises TypeError.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import trustme
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from wasessionpool.files import write_private
from wasessionpool.testing.whatsapp import whatsapp_pb2
from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.app_state import AppState, Collection
from wasessionpool.testing.whatsapp.certificates import Trust
from wasessionpool.testing.whatsapp.curve import KeyPair
from wasessionpool.testing.whatsapp.errors import StateError
from wasessionpool.testing.whatsapp.faults import Faults
from wasessionpool.testing.whatsapp.groups import GroupChat
from wasessionpool.testing.whatsapp.media import MediaStore
from wasessionpool.testing.whatsapp.messages import ReceivedMessage, ReceivedReceipt
from wasessionpool.testing.whatsapp.network import Account, Companion, DeviceKeys, Network, Outgoing, Recent
from wasessionpool.testing.whatsapp.nodes import Node
from wasessionpool.testing.whatsapp.polls import PollSecret
from wasessionpool.testing.whatsapp.primary import GroupKeys, PrimaryDevice
from wasessionpool.testing.whatsapp.ratchet import Bundle, Chain, MessageKeys, Session, State
from wasessionpool.testing.whatsapp.sender_keys import GroupChain, ReceivedSenderKey, SenderKey
from wasessionpool.testing.whatsapp.waiting import Changes, Mailbox
from wasessionpool.testing.whatsapp.wire import Wire

FORMAT: Final = 1

NOUNS: Final[Mapping[type, Mapping[str, Callable[[], Any]]]] = {
    Network: {"pairings": dict, "link_requests": dict, "wire": Wire, "faults": Faults, "refusals": deque},
    Account: {"changes": Changes, "faults": Faults},
    Companion: {"connection": lambda: None},
    DeviceKeys: {},
    PrimaryDevice: {},
    Session: {},
    State: {},
    Chain: {},
    Mailbox: {"_changes": Changes},
    Recent: {},
    GroupChat: {},
    GroupKeys: {},
    GroupChain: {},
    SenderKey: {},
    ReceivedSenderKey: {},
    MediaStore: {},
    AppState: {},
    Collection: {},
}
"""What is saved once and referred to, and its passing attributes with what stands there after a load."""

VALUES: Final = (Node, Bundle, MessageKeys, Outgoing, PollSecret, ReceivedMessage, ReceivedReceipt)
"""What is written where it stands."""

_NOUN_NAMES = {noun.__name__: noun for noun in NOUNS}
_VALUE_NAMES = {value.__name__: value for value in VALUES}


def save(path: Path, network: Network, trust: Trust) -> None:
    """Write a server's memory to a file that only its owner can read, whole or not at all.

    The file holds private keys and texts. Raises StorageError.
    """
    writer = _Writer()
    state = {
        "format": FORMAT,
        "certificate": trust.authority.cert_pem.bytes().decode(),
        "certificate_key": trust.authority.private_key_pem.bytes().decode(),
        "noise_root": writer.write(trust.noise_root),
        "network": writer.write(network),
        "nouns": writer.finish(),
    }
    write_private(path, json.dumps(state, separators=(",", ":")).encode())


def load(path: Path) -> tuple[Network, Trust]:
    """Read what `save` wrote. Raises StateError for anything else, and OSError."""
    try:
        state = json.loads(path.read_bytes())
        if state["format"] != FORMAT:
            raise StateError(f"{path} is a state of format {state['format']}, {FORMAT} expected")
        reader = _Reader(state["nouns"])
        network: Network = reader.read(state["network"])
        for account in network.accounts.values():
            account.faults = Faults(network.faults)
        authority = trustme.CA.from_pem(state["certificate"].encode(), state["certificate_key"].encode())
        return network, Trust(authority, reader.read(state["noise_root"]))
    except (ValueError, TypeError, LookupError, AttributeError, DecodeError) as error:
        raise StateError(f"{path} is no state of this version's server: {error!r}") from None


def _attributes(thing: object) -> list[str]:
    if is_dataclass(thing):
        return [item.name for item in fields(thing)]
    return list(vars(thing))


class _Writer:
    """Turns objects into JSON; nouns go into a table, so that each is there once, whoever refers to it."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._nouns: list[Any] = []

    def finish(self) -> list[Any]:
        """Write the nouns referred to so far, and those that they refer to."""
        written = []
        for noun in self._nouns:  # it grows meanwhile
            passing = NOUNS[type(noun)]
            attributes = [name for name in _attributes(noun) if name not in passing]
            written.append([type(noun).__name__, {name: self.write(getattr(noun, name)) for name in attributes}])
        return written

    def write(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        kind = type(value)
        if kind in NOUNS:
            return ["noun", self._number(value)]
        if kind in VALUES:
            return [kind.__name__, {name: self.write(getattr(value, name)) for name in _attributes(value)}]
        if isinstance(value, ProtobufMessage):
            return ["protobuf", value.DESCRIPTOR.name, _text(value.SerializeToString())]
        for known, name, plain in _PLAIN:
            if kind is known:
                return [name, self.write(plain(value))]
        if kind is list:
            return ["list", *map(self.write, value)]
        raise TypeError(f"a {kind.__name__} cannot be saved: state.py has to know it")

    def _number(self, noun: object) -> int:
        number = self._numbers.setdefault(id(noun), len(self._nouns))
        if number == len(self._nouns):
            self._nouns.append(noun)
        return number


class _Reader:
    def __init__(self, written: list[Any]) -> None:
        self._nouns: list[Any] = [object.__new__(_NOUN_NAMES[name]) for name, _ in written]
        for noun, (_, attributes) in zip(self._nouns, written, strict=True):
            passing = {name: make() for name, make in NOUNS[type(noun)].items()}
            self._fill(noun, attributes, passing)

    def read(self, written: Any) -> Any:
        if not isinstance(written, list):
            return written
        name, *rest = written
        if name == "noun":
            return self._nouns[rest[0]]
        if name == "list":
            return [self.read(item) for item in rest]
        if name == "protobuf":
            return getattr(whatsapp_pb2, rest[0]).FromString(_data(rest[1]))
        if name in _VALUE_NAMES:
            value = object.__new__(_VALUE_NAMES[name])
            self._fill(value, rest[0], {})
            return value
        return _MAKE[name](self.read(rest[0]))

    def _fill(self, thing: Any, written: Mapping[str, Any], passing: Mapping[str, Any]) -> None:
        values = {**_defaults(thing), **passing, **{name: self.read(value) for name, value in written.items()}}
        for name, value in values.items():
            object.__setattr__(thing, name, value)


def _defaults(thing: Any) -> dict[str, Any]:
    """What attributes stand at that a file of an earlier version does not have."""
    if not is_dataclass(thing):
        return {}
    plain = {item.name: item.default for item in fields(thing) if item.default is not MISSING}
    made = {item.name: item.default_factory() for item in fields(thing) if item.default_factory is not MISSING}
    return plain | made


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _data(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"bad base64: {error}") from None


_PLAIN: Final[tuple[tuple[type, str, Callable[[Any], Any]], ...]] = (
    (bytes, "bytes", _text),
    (KeyPair, "KeyPair", lambda pair: pair.seed),
    (JID, "JID", list),
    (tuple, "tuple", list),
    (set, "set", lambda items: sorted(items, key=repr)),
    (frozenset, "frozenset", lambda items: sorted(items, key=repr)),
    (deque, "deque", lambda items: [list(items), items.maxlen]),
    (dict, "dict", lambda items: [[key, value] for key, value in items.items()]),
    (datetime, "datetime", datetime.isoformat),
)
_MAKE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "bytes": _data,
    "KeyPair": KeyPair,
    "JID": lambda parts: JID(*parts),
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": lambda parts: deque(parts[0], parts[1]),
    "dict": dict,
    "datetime": lambda text: datetime.fromisoformat(cast("str", text)),
}
