"""The phone itself: device 0 of an account, which the server plays with real keys."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from typing import cast

from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.curve import KeyPair
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.messages import pad, unpad
from wasessionpool.testing.whatsapp.nodes import Node, node
from wasessionpool.testing.whatsapp.ratchet import Bundle, Kind, Session, parse_prekey_message
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

_SIGNED_PREKEY_ID = 1


class PrimaryDevice:
    """Keys and Signal sessions of one phone, one session for each device it talks with."""

    def __init__(self) -> None:
        self.identity = KeyPair.generate()
        self.registration_id = secrets.randbelow(16380) + 1
        self._signed_prekey = KeyPair.generate()
        self._signature = self.identity.sign(self._signed_prekey.typed_public)
        self._prekeys: dict[int, KeyPair] = {}
        self._prekey_ids = itertools.count(1)
        self._sessions: dict[JID, Session] = {}

    def take_bundle(self) -> Bundle:
        """Publish keys for one new session; its one-time key is used up."""
        prekey_id, prekey = next(self._prekey_ids), KeyPair.generate()
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

    def encrypt(self, to: JID, message: Message, take_bundle: Callable[[], Bundle]) -> Node:
        """Seal a message for one device; `take_bundle` is asked only when there is no session yet."""
        session = self._session(to)
        if not session.is_open:
            session.open_with(take_bundle())
        kind, body = session.encrypt(pad(message))
        return node("enc", {"v": "2", "type": kind}, body)

    def decrypt(self, sender: JID, sealed: Node) -> tuple[Kind, Message]:
        """Open an `<enc>` from one device. Raises DecryptionError."""
        kind = sealed.text("type")
        if kind == "pkmsg":
            plaintext = self._decrypt_first(sender, sealed.data)
        elif kind == "msg":
            plaintext = self._session(sender).decrypt(sealed.data)
        else:
            raise DecryptionError(f"unknown kind of encryption {kind!r}")
        return cast("Kind", kind), unpad(plaintext)

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
