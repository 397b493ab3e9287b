"""The phone itself: device 0 of an account, which the server plays with real keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Literal, cast

from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.curve import KeyPair
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.messages import pad, unpad
from wasessionpool.testing.whatsapp.nodes import Node, node
from wasessionpool.testing.whatsapp.ratchet import Bundle, Kind, Session, parse_prekey_message
from wasessionpool.testing.whatsapp.sender_keys import ReceivedSenderKey, SenderKey
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

Encryption = Kind | Literal["skmsg"]

_SIGNED_PREKEY_ID = 1
_KEYS_KEPT = 5


def sealed_node(kind: Encryption, body: bytes, mediatype: str) -> Node:
    return node("enc", {"v": "2", "type": kind, **({"mediatype": mediatype} if mediatype else {})}, body)


class GroupKeys:
    """One phone's keys for the groups it writes to, and those that other devices handed to it, newest first."""

    def __init__(self) -> None:
        self._own: dict[JID, SenderKey] = {}
        self._handed: dict[JID, set[JID]] = {}
        self._received: dict[tuple[JID, JID], list[ReceivedSenderKey]] = {}

    def distribution(self, group: JID) -> Message:
        """Write what a device needs to read this phone's messages to a group from now on."""
        key = self._own.setdefault(group, SenderKey()).distribution()
        return Message(group_key=Message.GroupKey(group=str(group), distribution=key))

    def hand_over(self, group: JID, device: JID) -> Message | None:
        """Write the same for a device that has not got it yet; None for one that has."""
        handed = self._handed.setdefault(group, set())
        if device in handed:
            return None
        handed.add(device)
        return self.distribution(group)

    def encrypt(self, group: JID, message: Message, mediatype: str) -> Node:
        """Seal a message for all members of a group at once."""
        return sealed_node("skmsg", self._own.setdefault(group, SenderKey()).encrypt(pad(message)), mediatype)

    def learn(self, group: JID, sender: JID, distribution: bytes) -> None:
        """Keep a key that a device handed over. Raises DecryptionError."""
        keys = self._received.setdefault((group, sender), [])
        key = ReceivedSenderKey.parse(distribution)
        if all(known.key_id != key.key_id for known in keys):
            keys.insert(0, key)
            del keys[_KEYS_KEPT:]

    def decrypt(self, group: JID, sender: JID, body: bytes) -> bytes:
        """Open a device's message to a group. Raises DecryptionError."""
        failure = DecryptionError("a group message of a device that has handed over no key")
        for key in self._received.get((group, sender), ()):
            try:
                return key.decrypt(body)
            except DecryptionError as error:
                failure = error
        raise failure

    def renew(self, group: JID) -> None:
        """Write with a new key from now on: someone who has the old one left."""
        self._own.pop(group, None)
        self._handed.pop(group, None)


class PrimaryDevice:
    """Keys and Signal sessions of one phone, one session for each device it talks with."""

    def __init__(self) -> None:
        self.identity = KeyPair.generate()
        self.registration_id = secrets.randbelow(16380) + 1
        self._signed_prekey = KeyPair.generate()
        self._signature = self.identity.sign(self._signed_prekey.typed_public)
        self._prekeys: dict[int, KeyPair] = {}
        self._last_prekey = 0
        self._sessions: dict[JID, Session] = {}
        self.group_keys = GroupKeys()

    def take_bundle(self) -> Bundle:
        """Publish keys for one new session; its one-time key is used up."""
        self._last_prekey += 1
        prekey_id, prekey = self._last_prekey, KeyPair.generate()
        self._prekeys[prekey_id] = prekey
        return Bundle(
            self.registration_id,
            self.identity.public,
            _SIGNED_PREKEY_ID,
            self._signed_prekey.public,
            self._signature,
            prekey_id,
            prekey.public,
        )

    def encrypt(self, to: JID, message: Message, take_bundle: Callable[[], Bundle], mediatype: str = "") -> Node:
        """Seal a message for one device; `take_bundle` is asked only when there is no session yet."""
        session = self._session(to)
        if not session.is_open:
            session.open_with(take_bundle())
        kind, body = session.encrypt(pad(message))
        return sealed_node(kind, body, mediatype)

    def decrypt(self, sender: JID, sealed: Node, group: JID | None = None) -> tuple[Encryption, Message]:
        """Open an `<enc>` from one device, in a group or not, and keep a group's key that is in it.

        Raises DecryptionError.
        """
        kind = sealed.text("type")
        if kind == "pkmsg":
            plaintext = self._decrypt_first(sender, sealed.data)
        elif kind == "msg":
            plaintext = self._session(sender).decrypt(sealed.data)
        elif kind == "skmsg" and group is not None:
            plaintext = self.group_keys.decrypt(group, sender, sealed.data)
        else:
            raise DecryptionError(f"unknown kind of encryption {kind!r}")
        message = unpad(plaintext)
        if message.HasField("group_key") and group is not None:
            self.group_keys.learn(group, sender, message.group_key.distribution)
        return cast("Encryption", kind), message

    def forget(self, device: JID) -> None:
        """Drop the session with a device that is linked no more."""
        self._sessions.pop(device, None)

    def _decrypt_first(self, sender: JID, body: bytes) -> bytes:
        message = parse_prekey_message(body)
        if message.signed_prekey_id != _SIGNED_PREKEY_ID:
            raise DecryptionError("a message for an unknown signed pre-key")
        prekey = self._prekeys.get(message.prekey_id) if message.HasField("prekey_id") else None
        plaintext = self._session(sender).decrypt_first(message, self._signed_prekey, prekey)
        self._prekeys.pop(message.prekey_id, None)
        return plaintext

    def _session(self, device: JID) -> Session:
        session = self._sessions.get(device)
        if session is None:
            session = self._sessions[device] = Session(self.identity, self.registration_id)
        return session
