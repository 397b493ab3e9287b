"""Sends that have a key: what became of each is kept for a day, so that none is made twice."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from pydantic import ValidationError

from .abc import Shelf
from .addresses import Address
from .errors import (
    InvalidMessage,
    RateLimitExceeded,
    SendTimeout,
    SessionNotConnected,
    StorageError,
    WhatsAppPoolError,
)
from .kept import forget, place
from .messages import OutgoingMessage
from .models import Frozen, SentMessage, SessionKey

logger = logging.getLogger(__name__)

KEPT = 24 * 3600.0
"""Seconds that a key is known."""
MAX_KEY = 255
_OWN_PATIENCE = (RateLimitExceeded, SessionNotConnected)
"""What a send may end with because its caller would not wait, which says nothing of one by the same key that would."""


def check_idempotency_key(key: str) -> str:
    """Return the key; raises ``InvalidMessage`` for what is none."""
    if not isinstance(key, str) or not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise InvalidMessage(f"idempotency_key {ascii(key)[:80]} is not 1–{MAX_KEY} printable ASCII characters")
    return key


class _Entry(Frozen):
    """What is on the shelf of a send that the driver was handed; ``sent``: what WhatsApp acknowledged."""

    fingerprint: str
    send_id: str
    sent: SentMessage | None = None


class KeyedSend:
    """A send by key, from its beginning to its end. ``outcome`` is what is known of it, set before ``settled``."""

    def __init__(self, shelf: Shelf, name: str, fingerprint: str, before: bytes | None) -> None:
        self.name = name
        self.send_id: str | None = None
        self.handed_over = False
        self.replaced = False
        """Whether what is on the shelf by this key is another send's by now, or nothing."""
        self.outcome: SentMessage | WhatsAppPoolError | None = None
        self.settled = anyio.Event()
        self._shelf = shelf
        self._fingerprint = fingerprint
        self._before = before

    def check(self, fingerprint: str) -> None:
        """Raise ``InvalidMessage`` where the key is that of another message."""
        if fingerprint != self._fingerprint:
            raise _other_message()

    @asynccontextmanager
    async def noted(self, send_id: str) -> AsyncIterator[None]:
        """Keep that the driver has the message, before the body hands it over; what is raised in it takes that back.

        Raises ``StorageError``: then nothing may be handed over.
        """
        self.send_id = send_id
        try:
            await self._put(None)
            yield
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._take_back_quietly()
            raise
        self.handed_over = True

    async def settle(self, outcome: SentMessage | WhatsAppPoolError) -> None:
        """Keep what became of the send, and tell those who wait for it; raises ``StorageError`` after that."""
        self.outcome = outcome
        try:
            if self.replaced:
                return
            if isinstance(outcome, SentMessage):
                await self._put(outcome)
            elif not isinstance(outcome, SendTimeout):
                await self._take_back()
        finally:
            self.settled.set()

    async def _put(self, sent: SentMessage | None) -> None:
        entry = _Entry(fingerprint=self._fingerprint, send_id=self.send_id or "", sent=sent)
        await self._shelf.put(self.name, entry.model_dump_json().encode(), ttl=KEPT)

    async def _take_back(self) -> None:
        """Leave what was known of the key before: nothing, or another send whose outcome is unknown."""
        if self._before is None:
            await self._shelf.delete(self.name)
        else:
            await self._shelf.put(self.name, self._before, ttl=KEPT)

    async def _take_back_quietly(self) -> None:
        try:
            await self._take_back()
        except StorageError as error:
            logger.error("a send that was not made goes on counting as one of unknown outcome: %s", error)


class KeyedSends:
    """One session's sends by key. What is kept of a message is a hash, of the key, too."""

    def __init__(self, key: SessionKey, shelf: Shelf) -> None:
        self._prefix = place("send", key)
        self._key = key
        self._shelf = shelf
        self._looking = anyio.Lock()
        self._running: dict[str, KeyedSend] = {}

    async def once(
        self,
        key: str,
        to: Address,
        message: OutgoingMessage,
        send: Callable[[KeyedSend], Awaitable[SentMessage]],
        *,
        resend: bool,
        until: Callable[[], anyio.CancelScope],
    ) -> SentMessage:
        """Let ``send`` make the send, or say what became of the one that was made by this key.

        Where one is under way its outcome is waited for; where that one was not even handed over, since its caller
        would not wait as long, this one is made instead. Raises ``SendTimeout`` where the outcome is unknown (with
        ``resend`` it is sent again) or ``until`` is over, ``InvalidMessage`` where the key is that of another message,
        ``StorageError``, and what ``send`` raises.
        """
        name, fingerprint = self._prefix + _hash(key), _hash(key, str(to), message.model_dump_json())
        while True:
            running = None
            with until():
                async with self._looking:
                    running = self._running.get(name)
                    if running is None or (resend and isinstance(running.outcome, SendTimeout)):
                        before = await self._recall(name, fingerprint, resend=resend)
                        if isinstance(before, SentMessage):
                            return before
                        mine = self._begin(KeyedSend(self._shelf, name, fingerprint, before))
                        break
                running.check(fingerprint)
                await running.settled.wait()
            if running is None or not running.settled.is_set():
                raise self._unknown(running.send_id if running else None)
            if isinstance(running.outcome, SentMessage):
                return running.outcome
            if running.outcome is not None and not (resend and isinstance(running.outcome, SendTimeout)):
                raise running.outcome
        try:
            return await send(mine)
        except _OWN_PATIENCE:
            raise
        except WhatsAppPoolError as error:
            if not mine.handed_over:
                mine.outcome = error
            raise
        finally:
            if not mine.handed_over:
                self.over(mine)
                mine.settled.set()

    def over(self, send: KeyedSend) -> None:
        """Nothing more will be known of this send."""
        if self._running.get(send.name) is send:
            del self._running[send.name]

    async def forget(self) -> None:
        """Forget every key of the session, also of sends under way."""
        for send in self._running.values():
            send.replaced = True
        await forget(self._shelf, self._key, "send")

    def _begin(self, send: KeyedSend) -> KeyedSend:
        if before := self._running.get(send.name):
            before.replaced = True
        self._running[send.name] = send
        return send

    async def _recall(self, name: str, fingerprint: str, *, resend: bool) -> SentMessage | bytes | None:
        """Return what WhatsApp acknowledged; else what is on the shelf where it may be sent again."""
        content = await self._shelf.get(name)
        if content is None:
            return None
        try:
            entry = _Entry.model_validate_json(content)
        except ValidationError:
            raise StorageError(f"what the shelf has as {name} is not from this version of the library") from None
        if entry.fingerprint != fingerprint:
            raise _other_message()
        if entry.sent is None and not resend:
            raise self._unknown(entry.send_id)
        return entry.sent or content

    def _unknown(self, send_id: str | None) -> SendTimeout:
        return SendTimeout(
            f"session {self._key}: a send by this idempotency_key was begun, whether the message went out is unknown",
            send_id=send_id,
        )


def _other_message() -> InvalidMessage:
    return InvalidMessage("the idempotency_key is that of another recipient or message")


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
