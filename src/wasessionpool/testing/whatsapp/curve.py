"""Curve25519: key pairs, agreement, and XEdDSA signatures."""

from __future__ import annotations

import os
from hashlib import sha512
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_TYPE = b"\x05"
_PRIME = 2**255 - 19


class KeyPair:
    """A Curve25519 key pair that can also sign.

    It is made from an Ed25519 seed, so that both faces share one scalar: then XEdDSA needs no curve arithmetic of our
    own (https://signal.org/docs/specifications/xeddsa/).
    """

    __slots__ = ("_agreement", "_signature", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._agreement = X25519PrivateKey.from_private_bytes(sha512(seed).digest()[:32])
        self._signature: Ed25519PrivateKey | None = None
        self.public = self._agreement.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        return cls(os.urandom(32))

    @property
    def typed_public(self) -> bytes:
        """The public key as Signal writes it: with the key type in front."""
        return KEY_TYPE + self.public

    def agree(self, public: bytes) -> bytes:
        """Return the shared secret. Raises ValueError for a key of low order or a wrong length."""
        return self._agreement.exchange(X25519PublicKey.from_public_bytes(public))

    def sign(self, message: bytes) -> bytes:
        if self._signature is None:
            self._signature = Ed25519PrivateKey.from_private_bytes(self.seed)
        signature = bytearray(self._signature.sign(message))
        signature[63] |= self._signature.public_key().public_bytes_raw()[31] & 0x80
        return bytes(signature)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether an XEdDSA signature by a Curve25519 public key holds."""
    if len(public) != 32 or len(signature) != 64:
        return False
    u = int.from_bytes(public, "little") % _PRIME
    y = (u - 1) * pow(u + 1, -1, _PRIME) % _PRIME if u != _PRIME - 1 else 0
    edwards = bytearray(y.to_bytes(32, "little"))
    edwards[31] |= signature[63] & 0x80
    plain = signature[:63] + bytes((signature[63] & 0x7F,))
    try:
        Ed25519PublicKey.from_public_bytes(bytes(edwards)).verify(plain, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def hkdf(key: bytes, *, salt: bytes | None = None, info: bytes = b"", length: int = 64) -> bytes:
    """Derive key material by HKDF-SHA256."""
    return HKDF(hashes.SHA256(), length, salt, info).derive(key)
