"""App state: settings that the phone and its linked devices share, encrypted, in patches that build on each other.

The keys and MACs are those of whatsmeow's `appstate` package; the server only stores what it gets.
"""

from __future__ import annotations

import hmac
import secrets
import struct
import time
from dataclasses import dataclass, field
from hashlib import sha512
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.addresses import SERVER
from wasessionpool.testing.whatsapp.curve import hkdf
from wasessionpool.testing.whatsapp.errors import ProtocolError
from wasessionpool.testing.whatsapp.messages import new_message_id
from wasessionpool.testing.whatsapp.nodes import Node, Value, node
from wasessionpool.testing.whatsapp.stanzas import now
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message, SyncAction, SyncMutation, SyncPatch

if TYPE_CHECKING:
    from wasessionpool.testing.whatsapp.network import Account, Companion

PUSH_NAME_COLLECTION: Final = "critical_block"
_PUSH_NAME_INDEX = b'["setting_pushName"]'
_KEY_SHARE = 6
_HASH_SIZE = 128
_MAC_SIZE = 32


class _Keys(NamedTuple):
    name: bytes
    cipher: bytes
    value: bytes
    snapshot: bytes
    patch: bytes


@dataclass(slots=True)
class Collection:
    """One list of patches, and the sum of everything that holds after the last."""

    name: str
    patches: list[bytes] = field(default_factory=list)
    _sum: bytes = bytes(_HASH_SIZE)
    _values: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def version(self) -> int:
        return len(self.patches)

    def append(self, patch: SyncPatch) -> None:
        """Add a patch made for the version after this one."""
        self._sum = self.sum_after(patch)
        for mutation in patch.mutations:
            index = mutation.record.index.blob
            if mutation.operation == 0:
                self._values[index] = mutation.record.value.blob[-_MAC_SIZE:]
            else:
                self._values.pop(index, None)
        patch.version.version = self.version + 1
        self.patches.append(patch.SerializeToString())

    def sum_after(self, patch: SyncPatch) -> bytes:
        """Return the homomorphic hash (LT hash) of all values that hold after a patch."""
        total = list(struct.unpack("<64H", self._sum))
        for mutation in patch.mutations:
            old = self._values.get(mutation.record.index.blob)
            if old is not None:
                total = [(a - b) % 65536 for a, b in zip(total, _spread(old), strict=True)]
            if mutation.operation == 0:
                new = _spread(mutation.record.value.blob[-_MAC_SIZE:])
                total = [(a + b) % 65536 for a, b in zip(total, new, strict=True)]
        return struct.pack("<64H", *total)


class AppState:
    """What the phone of one account keeps in step with its linked devices, and the key they share."""

    def __init__(self) -> None:
        self._key_id = secrets.token_bytes(6)
        self._key = secrets.token_bytes(32)
        self._made = int(time.time())
        self._collections: dict[str, Collection] = {}

    def collection(self, name: str) -> Collection:
        return self._collections.setdefault(name, Collection(name))

    def set_push_name(self, name: str) -> Collection:
        """Write the account's name as the phone does, and return the collection that has it."""
        value = SyncAction.Value(timestamp=int(time.time() * 1000), push_name=SyncAction.Value.PushName(name=name))
        collection = self.collection(PUSH_NAME_COLLECTION)
        self._write(collection, _PUSH_NAME_INDEX, value, version=1)
        return collection

    def key_share(self) -> Message:
        """Return the message that hands the key to a linked device."""
        protocol = Message.Protocol
        key = protocol.SyncKey(
            id=protocol.SyncKeyId(id=self._key_id),
            data=protocol.SyncKey.Data(
                key=self._key,
                fingerprint=protocol.Fingerprint(raw_id=1, current_index=0, device_indexes=[0]),
                timestamp=self._made,
            ),
        )
        return Message(protocol=protocol(type=_KEY_SHARE, key_share=protocol.KeyShare(keys=[key])))

    def _write(self, collection: Collection, index: bytes, value: SyncAction.Value, version: int) -> None:
        keys = _Keys(*_split(hkdf(self._key, info=b"WhatsApp Mutation Keys", length=160)))
        content = _encrypt(keys, SyncAction(index=index, value=value, version=version).SerializeToString())
        authenticated = b"\x01" + self._key_id + content + struct.pack(">Q", len(self._key_id) + 1)
        value_mac = hmac.digest(keys.value, authenticated, sha512)[:_MAC_SIZE]
        key_id = SyncMutation.KeyId(id=self._key_id)
        record = SyncMutation.Record(
            index=SyncMutation.Blob(blob=hmac.digest(keys.name, index, "sha256")),
            value=SyncMutation.Blob(blob=content + value_mac),
            key_id=key_id,
        )
        patch = SyncPatch(mutations=[SyncMutation(operation=0, record=record)], key_id=key_id)
        place = struct.pack(">Q", collection.version + 1) + collection.name.encode()
        patch.snapshot_mac = hmac.digest(keys.snapshot, collection.sum_after(patch) + place, "sha256")
        patch.patch_mac = hmac.digest(keys.patch, patch.snapshot_mac + value_mac + place, "sha256")
        collection.append(patch)


def share_key(companion: Companion) -> None:
    """Let the phone hand a linked device the key, so that it fetches all collections."""
    account = companion.account
    message_id = new_message_id()
    sealed = account.primary.encrypt(companion.lid, account.app_state.key_share(), companion.keys.take_bundle)
    attrs: dict[str, Value] = {"from": account.lid, "id": message_id, "t": now(), "type": "text", "category": "peer"}
    companion.deliver(node("message", attrs, [sealed]))


def answer_sync(companion: Companion, iq: Node) -> list[Node]:
    """Take and hand out patches; other linked devices hear of what was taken. Raises ProtocolError."""
    asked = iq.find("sync")
    if asked is None:
        raise ProtocolError("a synchronisation of nothing")
    return [node("sync", {}, [_synchronise(companion, wanted) for wanted in asked.find_all("collection")])]


def announce(account: Account, collection: Collection, origin: Companion | None = None) -> None:
    """Tell all linked devices, the `origin` apart, that there is something new."""
    changed = node("collection", {"name": collection.name, "version": str(collection.version)})
    for companion in account.companions.values():
        if companion is origin:
            continue
        attrs: dict[str, Value] = {"from": SERVER, "type": "server_sync", "id": secrets.token_hex(8), "t": now()}
        companion.deliver(node("notification", attrs, [changed]))


def _synchronise(companion: Companion, wanted: Node) -> Node:
    collection = companion.account.app_state.collection(wanted.text("name"))
    attrs: dict[str, Value] = {"name": collection.name}
    version = wanted.text("version") or "0"
    if not (version.isascii() and version.isdigit()):
        raise ProtocolError(f"{version} is no version of a collection")
    base = int(version)
    patch = wanted.find("patch")
    if patch is not None:
        if base != collection.version:
            conflict = node("error", {"code": "409", "text": "conflict"})
            return node("collection", {**attrs, "type": "error"}, [conflict, _patches(collection, base)])
        try:
            collection.append(SyncPatch.FromString(patch.data))
        except DecodeError:
            raise ProtocolError("an app state patch that cannot be read") from None
        announce(companion.account, collection, companion)
        return node("collection", {**attrs, "version": str(collection.version)})
    attrs |= {"version": str(collection.version), "has_more_patches": "false"}
    return node("collection", attrs, [_patches(collection, base)])


def _patches(collection: Collection, base: int) -> Node:
    return node("patches", {}, [node("patch", {}, patch) for patch in collection.patches[base:]])


def _split(derived: bytes) -> list[bytes]:
    return [derived[start : start + 32] for start in range(0, len(derived), 32)]


def _spread(value_mac: bytes) -> tuple[int, ...]:
    return struct.unpack("<64H", hkdf(value_mac, info=b"WhatsApp Patch Integrity", length=_HASH_SIZE))


def _encrypt(keys: _Keys, plaintext: bytes) -> bytes:
    iv = secrets.token_bytes(16)
    padder = PKCS7(128).padder()
    cipher = Cipher(AES(keys.cipher), CBC(iv)).encryptor()
    return iv + cipher.update(padder.update(plaintext) + padder.finalize()) + cipher.finalize()
