"""Noise_XX_25519_AESGCM_SHA256 as WhatsApp frames it: handshake and transport ciphers, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.curve import KeyPair, hkdf
from wasessionpool.testing.whatsapp.errors import NoiseError, ProtocolError
from wasessionpool.testing.whatsapp.whatsapp_pb2 import HandshakeMessage

PROLOGUE = b"WA\x06\x03"
_PATTERN = b"Noise_XX_25519_AESGCM_SHA256\x00\x00\x00\x00"


class Cipher:
    """One direction of AES-256-GCM with a message counter for a nonce."""

    __slots__ = ("_aead", "_counter")

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._counter = 0

    def _nonce(self) -> bytes:
        nonce = self._counter.to_bytes(12, "big")
        self._counter += 1
        return nonce

    def encrypt(self, plaintext: bytes, associated: bytes | None = None) -> bytes:
        return self._aead.encrypt(self._nonce(), plaintext, associated)

    def decrypt(self, ciphertext: bytes, associated: bytes | None = None) -> bytes:
        """Open a message. Raises NoiseError when it does not authenticate."""
        try:
            return self._aead.decrypt(self._nonce(), ciphertext, associated)
        except InvalidTag:
            raise NoiseError("a message does not authenticate") from None


class HandshakeState:
    """The running hash and key of a handshake. Both sides do the same steps in the same order."""

    def __init__(self, prologue: bytes = PROLOGUE) -> None:
        self._hash = _PATTERN
        self._salt = _PATTERN
        self._cipher = Cipher(_PATTERN)
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self._hash = sha256(self._hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        derived = hkdf(secret, salt=self._salt)
        self._salt = derived[:32]
        self._cipher = Cipher(derived[32:])

    def encrypt(self, plaintext: bytes) -> bytes:
        ciphertext = self._cipher.encrypt(plaintext, self._hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt(self, ciphertext: bytes) -> bytes:
        plaintext = self._cipher.decrypt(ciphertext, self._hash)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[Cipher, Cipher]:
        """Return the cipher of what the client sends and that of what the server sends."""
        derived = hkdf(b"", salt=self._salt)
        return Cipher(derived[:32]), Cipher(derived[32:])


@dataclass(frozen=True, slots=True)
class Peer:
    """What a finished handshake tells of the client: who it is, and the payload it logs in with."""

    static_key: bytes
    payload: bytes


class Responder:
    """The server's half of a handshake: call `answer`, then `finish`, then `split`."""

    def __init__(self, static: KeyPair, certificate: bytes) -> None:
        self._static = static
        self._certificate = certificate
        self._ephemeral = KeyPair.generate()
        self._state = HandshakeState()

    def answer(self, message: bytes) -> bytes:
        """Take the client's hello and return the server's. Raises NoiseError or ProtocolError."""
        ephemeral = _parse(message).client_hello.ephemeral
        state = self._state
        state.mix_hash(ephemeral)
        state.mix_hash(self._ephemeral.public)
        state.mix_key(_agree(self._ephemeral, ephemeral))
        static = state.encrypt(self._static.public)
        state.mix_key(_agree(self._static, ephemeral))
        payload = state.encrypt(self._certificate)
        hello = HandshakeMessage.ServerHello(ephemeral=self._ephemeral.public, static=static, payload=payload)
        return HandshakeMessage(server_hello=hello).SerializeToString()

    def finish(self, message: bytes) -> Peer:
        """Take the client's last message. Raises NoiseError or ProtocolError."""
        last = _parse(message).client_finish
        static = self._state.decrypt(last.static)
        self._state.mix_key(_agree(self._ephemeral, static))
        return Peer(static, self._state.decrypt(last.payload))

    def split(self) -> tuple[Cipher, Cipher]:
        return self._state.split()


def _parse(message: bytes) -> HandshakeMessage:
    try:
        return HandshakeMessage.FromString(message)
    except DecodeError:
        raise ProtocolError("a handshake message that cannot be read") from None


def _agree(own: KeyPair, public: bytes) -> bytes:
    try:
        return own.agree(public)
    except ValueError:
        raise NoiseError("a handshake with a bad public key") from None


class FrameReader:
    """Cuts a byte stream into frames: four bytes of prologue, then three bytes of length before each frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes. Raises ProtocolError for a wrong prologue."""
        self._buffer += data
        if not self._started:
            if len(self._buffer) < len(PROLOGUE):
                return []
            if self._buffer[: len(PROLOGUE)] != PROLOGUE:
                raise ProtocolError("a stream with an unknown prologue")
            del self._buffer[: len(PROLOGUE)]
            self._started = True
        frames = []
        start = 0
        while len(self._buffer) - start >= 3:
            end = start + 3 + int.from_bytes(self._buffer[start : start + 3], "big")
            if end > len(self._buffer):
                break
            frames.append(bytes(self._buffer[start + 3 : end]))
            start = end
        del self._buffer[:start]
        return frames


def frame(payload: bytes) -> bytes:
    """Put the length in front of a payload. Raises ProtocolError at 16 MiB."""
    if len(payload) >= 1 << 24:
        raise ProtocolError("a frame of more than 16 MiB")
    return len(payload).to_bytes(3, "big") + payload
