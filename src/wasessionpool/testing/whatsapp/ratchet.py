"""Signal protocol version 3: X3DH session set-up and the double ratchet, without I/O.

Follows https://signal.org/docs/specifications/x3dh/ and .../doubleratchet/ with libsignal's message format.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.curve import KEY_TYPE, KeyPair, hkdf
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.whatsapp_pb2 import PreKeySignalMessage, SignalMessage

Kind = Literal["pkmsg", "msg"]

MAX_SKIPPED: Final = 2000
MAX_RECEIVING_CHAINS: Final = 5
MAX_STATES: Final = 5
_VERSION = b"\x33"
_MAC_SIZE = 8


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a device publishes so that others can open a session with it while it is away. Public keys of 32 bytes."""

    registration_id: int
    identity: bytes
    signed_prekey_id: int
    signed_prekey: bytes
    signature: bytes
    prekey_id: int | None = None
    prekey: bytes | None = None


@dataclass(frozen=True, slots=True)
class MessageKeys:
    cipher: bytes
    mac: bytes
    iv: bytes


@dataclass(slots=True)
class Chain:
    """A symmetric-key ratchet: each message takes one key from it."""

    key: bytes
    index: int = 0
    skipped: dict[int, MessageKeys] = field(default_factory=dict)

    def next_keys(self) -> MessageKeys:
        derived = hkdf(hmac.digest(self.key, b"\x01", "sha256"), info=b"WhisperMessageKeys", length=80)
        self.key = hmac.digest(self.key, b"\x02", "sha256")
        self.index += 1
        return MessageKeys(derived[:32], derived[32:64], derived[64:])


@dataclass(slots=True)
class State:
    """One double ratchet between two identities."""

    remote_identity: bytes
    base_key: bytes
    root: bytes
    ratchet: KeyPair
    sending: Chain
    receiving: dict[bytes, Chain] = field(default_factory=dict)
    previous_counter: int = 0
    unacknowledged: Bundle | None = None


class Session:
    """Everything one device keeps to talk with one other device."""

    def __init__(self, identity: KeyPair, registration_id: int) -> None:
        self._identity = identity
        self._registration_id = registration_id
        self._states: list[State] = []

    @property
    def is_open(self) -> bool:
        return bool(self._states)

    def open_with(self, bundle: Bundle) -> None:
        """Start a session as the initiator."""
        base = KeyPair.generate()
        secret = self._identity.agree(bundle.signed_prekey) + base.agree(bundle.identity)
        secret += base.agree(bundle.signed_prekey)
        if bundle.prekey is not None:
            secret += base.agree(bundle.prekey)
        root, first = _initial_keys(secret)
        ratchet = KeyPair.generate()
        root, sending = _step(root, ratchet, bundle.signed_prekey)
        receiving = {bundle.signed_prekey: Chain(first)}
        self._promote(State(bundle.identity, base.public, root, ratchet, sending, receiving, unacknowledged=bundle))

    def decrypt_first(self, message: PreKeySignalMessage, signed_prekey: KeyPair, prekey: KeyPair | None) -> bytes:
        """Open a `pkmsg`, starting a session as the responder unless it belongs to one that is known already.

        Raises DecryptionError; the session is then unchanged.
        """
        base, remote = _untyped(message.base_key), _untyped(message.identity)
        if any(state.base_key == base for state in self._states):
            return self.decrypt(message.message)
        try:
            secret = signed_prekey.agree(remote) + self._identity.agree(base) + signed_prekey.agree(base)
            if prekey is not None:
                secret += prekey.agree(base)
        except ValueError:
            raise DecryptionError("a bad public key") from None
        root, first = _initial_keys(secret)
        state = State(remote, base, root, signed_prekey, Chain(first))
        plaintext = self._decrypt_with(state, _parse_message(message.message), message.message)
        self._promote(state)
        return plaintext

    def encrypt(self, plaintext: bytes) -> tuple[Kind, bytes]:
        """Seal a message; `pkmsg` until the other side has answered once. Raises ValueError without a session."""
        if not self._states:
            raise ValueError("no session is open")
        state = self._states[0]
        counter = state.sending.index
        keys = state.sending.next_keys()
        padder = PKCS7(128).padder()
        cipher = Cipher(AES(keys.cipher), CBC(keys.iv)).encryptor()
        sealed = cipher.update(padder.update(plaintext) + padder.finalize()) + cipher.finalize()
        body = (
            _VERSION
            + SignalMessage(
                ratchet_key=state.ratchet.typed_public,
                counter=counter,
                previous_counter=state.previous_counter,
                ciphertext=sealed,
            ).SerializeToString()
        )
        body += _mac(keys, self._identity.public, state.remote_identity, body)
        bundle = state.unacknowledged
        if bundle is None:
            return "msg", body
        wrapped = PreKeySignalMessage(
            prekey_id=bundle.prekey_id,
            base_key=KEY_TYPE + state.base_key,
            identity=self._identity.typed_public,
            message=body,
            registration_id=self._registration_id,
            signed_prekey_id=bundle.signed_prekey_id,
        )
        return "pkmsg", _VERSION + wrapped.SerializeToString()

    def decrypt(self, body: bytes) -> bytes:
        """Open a `msg`. Raises DecryptionError; the session is then unchanged."""
        message = _parse_message(body)
        failure = DecryptionError("no session is open")
        for position, state in enumerate(self._states):
            try:
                plaintext = self._decrypt_with(state, message, body)
            except DecryptionError as error:
                failure = error
                continue
            self._states.insert(0, self._states.pop(position))
            return plaintext
        raise failure

    def _promote(self, state: State) -> None:
        self._states.insert(0, state)
        del self._states[MAX_STATES:]

    def _decrypt_with(self, state: State, message: SignalMessage, body: bytes) -> bytes:
        remote_ratchet = _untyped(message.ratchet_key)
        known = state.receiving.get(remote_ratchet)
        root = state.root
        if known is None:
            root, chain = _step(root, state.ratchet, remote_ratchet)
        else:
            chain = Chain(known.key, known.index, dict(known.skipped))
        keys = _keys_at(chain, message.counter)
        plaintext = _open(keys, state.remote_identity, self._identity.public, body, message.ciphertext)
        state.receiving[remote_ratchet] = chain
        state.unacknowledged = None
        if known is None:
            while len(state.receiving) > MAX_RECEIVING_CHAINS:
                del state.receiving[next(iter(state.receiving))]
            state.previous_counter = max(state.sending.index - 1, 0)
            state.ratchet = KeyPair.generate()
            state.root, state.sending = _step(root, state.ratchet, remote_ratchet)
        return plaintext


def parse_prekey_message(body: bytes) -> PreKeySignalMessage:
    """Read a `pkmsg`. Raises DecryptionError."""
    if body[:1] != _VERSION:
        raise DecryptionError("an unknown version of the Signal protocol")
    try:
        return PreKeySignalMessage.FromString(body[1:])
    except DecodeError:
        raise DecryptionError("a pre-key message that cannot be read") from None


def _parse_message(body: bytes) -> SignalMessage:
    if body[:1] != _VERSION:
        raise DecryptionError("an unknown version of the Signal protocol")
    try:
        return SignalMessage.FromString(body[1:-_MAC_SIZE])
    except DecodeError:
        raise DecryptionError("a message that cannot be read") from None


def _untyped(key: bytes) -> bytes:
    if len(key) != 33 or not key.startswith(KEY_TYPE):
        raise DecryptionError("a public key of an unknown type")
    return key[1:]


def _initial_keys(secret: bytes) -> tuple[bytes, bytes]:
    derived = hkdf(b"\xff" * 32 + secret, info=b"WhisperText")
    return derived[:32], derived[32:]


def _step(root: bytes, own: KeyPair, remote: bytes) -> tuple[bytes, Chain]:
    try:
        secret = own.agree(remote)
    except ValueError:
        raise DecryptionError("a bad ratchet key") from None
    derived = hkdf(secret, salt=root, info=b"WhisperRatchet")
    return derived[:32], Chain(derived[32:])


def _keys_at(chain: Chain, counter: int) -> MessageKeys:
    if counter < chain.index:
        keys = chain.skipped.pop(counter, None)
        if keys is None:
            raise DecryptionError("a message that was opened before")
        return keys
    if counter - chain.index > MAX_SKIPPED:
        raise DecryptionError("a message too far in the future")
    while chain.index < counter:
        position = chain.index
        chain.skipped[position] = chain.next_keys()
    while len(chain.skipped) > MAX_SKIPPED:
        del chain.skipped[next(iter(chain.skipped))]
    return chain.next_keys()


def _mac(keys: MessageKeys, sender: bytes, receiver: bytes, body: bytes) -> bytes:
    return hmac.digest(keys.mac, KEY_TYPE + sender + KEY_TYPE + receiver + body, "sha256")[:_MAC_SIZE]


def _open(keys: MessageKeys, sender: bytes, receiver: bytes, body: bytes, ciphertext: bytes) -> bytes:
    if not hmac.compare_digest(_mac(keys, sender, receiver, body[:-_MAC_SIZE]), body[-_MAC_SIZE:]):
        raise DecryptionError("a message does not authenticate")
    cipher = Cipher(AES(keys.cipher), CBC(keys.iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        padded = cipher.update(ciphertext) + cipher.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise DecryptionError("a message with bad padding") from None
