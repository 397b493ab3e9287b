"""Files: sealed by the sender, kept by the server as it gets them, opened by who has the key."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from wasessionpool.testing.whatsapp.content import MediaKind, Pointer
from wasessionpool.testing.whatsapp.curve import hkdf
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

MEDIA_HOST: Final = "mmg.whatsapp.net"
MAX_STORED: Final = 512 * 1024 * 1024
_MAC_SIZE = 10
_INFO: Final[Mapping[type[Pointer], bytes]] = {
    Message.Image: b"WhatsApp Image Keys",
    Message.Sticker: b"WhatsApp Image Keys",
    Message.Video: b"WhatsApp Video Keys",
    Message.Audio: b"WhatsApp Audio Keys",
    Message.Document: b"WhatsApp Document Keys",
}


class MediaStore:
    """Encrypted files by their name, which is the hash of what was uploaded; the oldest go beyond `max_size` bytes."""

    def __init__(self, max_size: int = MAX_STORED) -> None:
        self.dropped = 0
        self._max_size = max_size
        self._size = 0
        self._files: dict[str, bytes] = {}

    def put(self, sealed: bytes) -> str:
        """Keep a file, and return the path that leads to it.

        A client appends `&hash=…` to the path, so there must be a question mark in it.
        """
        name = base64.urlsafe_b64encode(sha256(sealed).digest()).decode().rstrip("=")
        if name not in self._files:
            self._files[name] = sealed
            self._size += len(sealed)
        while self._size > self._max_size and len(self._files) > 1:
            self._size -= len(self._files.pop(next(iter(self._files))))
            self.dropped += 1
        return f"/v/{name}?ccb=1"

    def get(self, path: str) -> bytes | None:
        """Return the file a path leads to, whatever parameters stand behind it."""
        return self._files.get(path.partition("?")[0].removeprefix("/v/"))


@dataclass(frozen=True, slots=True)
class _Keys:
    iv: bytes
    cipher: bytes
    mac: bytes


def _keys(pointer: Pointer) -> _Keys:
    derived = hkdf(pointer.media_key, info=_INFO[type(pointer)], length=112)
    return _Keys(derived[:16], derived[16:48], derived[48:80])


def seal_file(store: MediaStore, content: bytes, kind: MediaKind, mimetype: str, caption: str = "") -> Message:
    """Encrypt a file with a new key, upload it, and return the message that leads to it."""
    message = Message()
    pointer: Pointer = getattr(message, kind)
    pointer.media_key = secrets.token_bytes(32)
    keys = _keys(pointer)
    padder = PKCS7(128).padder()
    encryptor = Cipher(AES(keys.cipher), CBC(keys.iv)).encryptor()
    ciphertext = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    sealed = ciphertext + hmac.digest(keys.mac, keys.iv + ciphertext, "sha256")[:_MAC_SIZE]
    path = store.put(sealed)
    pointer.url = f"https://{MEDIA_HOST}{path}"
    pointer.direct_path = path
    pointer.mimetype = mimetype
    pointer.file_sha256 = sha256(content).digest()
    pointer.file_enc_sha256 = sha256(sealed).digest()
    pointer.file_length = len(content)
    if caption and isinstance(pointer, Message.Image | Message.Video | Message.Document):
        pointer.caption = caption
    return message


def open_file(store: MediaStore, pointer: Pointer) -> bytes:
    """Download, verify and decrypt the file of a message. Raises DecryptionError where any of it fails."""
    sealed = store.get(pointer.direct_path)
    if sealed is None:
        raise DecryptionError("a file that was never uploaded")
    if sha256(sealed).digest() != pointer.file_enc_sha256:
        raise DecryptionError("a file with another encrypted hash than its message says")
    keys = _keys(pointer)
    ciphertext, mac = sealed[:-_MAC_SIZE], sealed[-_MAC_SIZE:]
    if not hmac.compare_digest(hmac.digest(keys.mac, keys.iv + ciphertext, "sha256")[:_MAC_SIZE], mac):
        raise DecryptionError("a file that does not authenticate")
    decryptor = Cipher(AES(keys.cipher), CBC(keys.iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        content = unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise DecryptionError("a file with bad padding") from None
    if sha256(content).digest() != pointer.file_sha256 or len(content) != pointer.file_length:
        raise DecryptionError("a file with another hash or length than its message says")
    return content
