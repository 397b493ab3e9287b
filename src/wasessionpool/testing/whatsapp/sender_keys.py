"""Sender keys: one chain of keys for a whole group, handed to each member's device by its own Signal session.

Message format and derivation are libsignal's (`SenderKeyMessage`, version 3).
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.curve import KEY_TYPE, KeyPair, hkdf, verify
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.whatsapp_pb2 import SenderKeyDistribution, SenderKeyMessage

MAX_SKIPPED: Final = 2000
_VERSION = b"\x33"
_SIGNATURE_SIZE = 64


@dataclass(slots=True)
class GroupChain:
    """A symmetric-key ratchet that every member runs."""

    key: bytes
    iteration: int = 0

    def next_seed(self) -> bytes:
        seed = hmac.digest(self.key, b"\x01", "sha256")
        self.key = hmac.digest(self.key, b"\x02", "sha256")
        self.iteration += 1
        return seed


class SenderKey:
    """The key a device writes to one group with."""

    def __init__(self) -> None:
        self._key_id = secrets.randbits(31)
        self._chain = GroupChain(secrets.token_bytes(32))
        self._signing = KeyPair.generate()

    def distribution(self) -> bytes:
        """Return what a member needs to read everything from the next message on."""
        return (
            _VERSION
            + SenderKeyDistribution(
                key_id=self._key_id,
                iteration=self._chain.iteration,
                chain_key=self._chain.key,
                signing_key=self._signing.typed_public,
            ).SerializeToString()
        )

    def encrypt(self, plaintext: bytes) -> bytes:
        iteration = self._chain.iteration
        iv, key = _keys(self._chain.next_seed())
        padder = PKCS7(128).padder()
        cipher = Cipher(AES(key), CBC(iv)).encryptor()
        sealed = cipher.update(padder.update(plaintext) + padder.finalize()) + cipher.finalize()
        body = SenderKeyMessage(key_id=self._key_id, iteration=iteration, ciphertext=sealed).SerializeToString()
        return _VERSION + body + self._signing.sign(_VERSION + body)


@dataclass(slots=True)
class ReceivedSenderKey:
    """Another device's key for one group, as it was handed out."""

    key_id: int
    chain: GroupChain
    signing_key: bytes
    skipped: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a distribution. Raises DecryptionError."""
        try:
            handed = SenderKeyDistribution.FromString(body[1:])
        except DecodeError:
            handed = None
        if body[:1] != _VERSION or handed is None or handed.signing_key[:1] != KEY_TYPE:
            raise DecryptionError("a group key that cannot be read")
        return cls(handed.key_id, GroupChain(handed.chain_key, handed.iteration), handed.signing_key[1:])

    def decrypt(self, body: bytes) -> bytes:
        """Open a group message. Raises DecryptionError."""
        signed, signature = body[:-_SIGNATURE_SIZE], body[-_SIGNATURE_SIZE:]
        try:
            message = SenderKeyMessage.FromString(signed[1:])
        except DecodeError:
            raise DecryptionError("a group message that cannot be read") from None
        if message.key_id != self.key_id:
            raise DecryptionError("a group message for another key")
        if not verify(self.signing_key, signed, signature):
            raise DecryptionError("a group message does not authenticate")
        iv, key = _keys(self._seed_at(message.iteration))
        cipher = Cipher(AES(key), CBC(iv)).decryptor()
        unpadder = PKCS7(128).unpadder()
        try:
            padded = cipher.update(message.ciphertext) + cipher.finalize()
            return unpadder.update(padded) + unpadder.finalize()
        except ValueError:
            raise DecryptionError("a group message with bad padding") from None

    def _seed_at(self, iteration: int) -> bytes:
        chain = self.chain
        if iteration < chain.iteration:
            seed = self.skipped.pop(iteration, None)
            if seed is None:
                raise DecryptionError("a group message that was opened before")
            return seed
        if iteration - chain.iteration > MAX_SKIPPED:
            raise DecryptionError("a group message too far in the future")
        while chain.iteration < iteration:
            position = chain.iteration
            self.skipped[position] = chain.next_seed()
        while len(self.skipped) > MAX_SKIPPED:
            del self.skipped[next(iter(self.skipped))]
        return chain.next_seed()


def _keys(seed: bytes) -> tuple[bytes, bytes]:
    derived = hkdf(seed, info=b"WhisperGroup", length=48)
    return derived[:16], derived[16:]
