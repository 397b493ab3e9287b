"""Votes in polls, which only those who have the poll itself can read."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.curve import hkdf
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message, MessageKey, PollVote


@dataclass(frozen=True, slots=True)
class PollSecret:
    """What an account keeps of a poll: who made it, its options, and the secret that votes are sealed with."""

    poll_id: str
    author: JID
    options: tuple[str, ...]
    secret: bytes

    def seal(self, voter: JID, chosen: Iterable[str], key: MessageKey) -> Message:
        """Write a vote. Raises ValueError for what is no option."""
        names = list(chosen)
        if not set(self.options).issuperset(names):
            raise ValueError(f"not among the options of the poll: {', '.join(set(names).difference(self.options))}")
        vote = PollVote(selected=[sha256(name.encode()).digest() for name in names]).SerializeToString()
        iv = secrets.token_bytes(12)
        payload = AESGCM(self._key(voter)).encrypt(iv, vote, self._context(voter))
        sealed = Message.PollUpdate.Sealed(payload=payload, iv=iv)
        update = Message.PollUpdate(poll=key, vote=sealed, timestamp_ms=int(time.time() * 1000))
        return Message(poll_update=update)

    def open(self, voter: JID, vote: Message.PollUpdate.Sealed) -> tuple[str, ...]:
        """Return the options that were voted for. Raises DecryptionError."""
        try:
            plain = AESGCM(self._key(voter)).decrypt(vote.iv, vote.payload, self._context(voter))
            selected = set(PollVote.FromString(plain).selected)
        except (InvalidTag, ValueError, DecodeError):
            raise DecryptionError("a vote that does not authenticate") from None
        return tuple(option for option in self.options if sha256(option.encode()).digest() in selected)

    def _key(self, voter: JID) -> bytes:
        return hkdf(self.secret, info=f"{self.poll_id}{self.author}{voter}Poll Vote".encode(), length=32)

    def _context(self, voter: JID) -> bytes:
        return f"{self.poll_id}\0{voter}".encode()
