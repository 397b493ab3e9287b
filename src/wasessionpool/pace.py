"""A session's pace: what its policy says of what it sent, which is kept beyond the process."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from .abc import Connection
from .addresses import Address
from .backends import Backends
from .errors import StorageError, WhatsAppPoolError
from .kept import place
from .messages import OutgoingMessage
from .models import SessionKey
from .operations import ShowTyping
from .pacing import AT_ONCE, Age, PacingPolicy, Sent, Trail, Why
from .standing import Standing

logger = logging.getLogger(__name__)

TRAIL = TypeAdapter(list[Sent])


@dataclass(frozen=True)
class TooEarly:
    """The pace refuses a message; ``held``: by a rule for strangers alone."""

    retry_after: float
    why: Why
    held: bool


class Pace:
    """The pace of one session. A shelf that fails stops no send: what it kept of another process is not known then."""

    def __init__(self, policy: PacingPolicy, key: SessionKey, standing: Standing, backends: Backends) -> None:
        self._policy = policy
        self._key = key
        self._name = place("pace", key) + "sent"
        self._standing = standing
        self._backends = backends
        self._trail = Trail(str(key))
        self._read = False
        self._unwritten = self._writing = False

    async def read(self) -> None:
        """Read once what is kept."""
        if self._read:
            return
        try:
            content = await self._backends.shelf.get(self._name)
            kept = TRAIL.validate_json(content) if content else []
        except (StorageError, ValidationError) as error:
            logger.warning("session %s: its pace of before cannot be read: %s", self._key, error)
            kept = []
        if not self._read:
            self._read = True
            self._trail.sent[:0] = kept

    def take(self, content: OutgoingMessage, *, stranger: bool) -> Sent | TooEarly:
        """Take the next place, for a message that is typed from now on."""
        now = self._backends.clock.now().timestamp()
        self._trail.forget_old(now)
        at, why = self._earliest(self._trail, now, stranger=stranger)
        if at > now + AT_ONCE:
            held = stranger and at > self._earliest(self._trail, now)[0] + AT_ONCE
            return TooEarly(at - now, why, held)
        return self._trail.add(now + self._policy.typing(content), stranger=stranger)

    def give_back(self, sent: Sent) -> None:
        """Free the place of a message that was not sent."""
        if sent in self._trail.sent:
            self._trail.sent.remove(sent)
        self._write_soon()

    async def compose(self, sent: Sent, to: Address, content: OutgoingMessage, connection: Connection) -> None:
        """Show the typing of a text for as long as a human takes; the message goes when this returns."""
        clock, seconds = self._backends.clock, self._policy.typing(content)
        # The sends ahead may have taken longer than was planned.
        before = Trail(self._trail.seed, [each for each in self._trail.sent if each.number < sent.number])
        now = clock.now().timestamp()
        await clock.sleep(self._earliest(before, now)[0] - now)
        if seconds:
            end = clock.monotonic() + seconds
            with clock.move_on_after(seconds):
                try:
                    await connection.call(ShowTyping(chat=str(to), state="composing"))
                except WhatsAppPoolError as error:
                    logger.info("session %s: typing cannot be shown: %s", self._key, error)
            await clock.sleep(end - clock.monotonic())
        sent.at = max(sent.at, clock.now().timestamp())
        self._trail.sent.sort(key=lambda each: each.at)
        self._write_soon()

    async def forget(self) -> None:
        """Forget what was sent; raises ``StorageError``."""
        self._trail.sent.clear()
        await self._backends.shelf.delete(self._name)

    def _earliest(self, trail: Trail, now: float, *, stranger: bool = False) -> tuple[float, Why]:
        record = self._standing.record
        age = Age(record.created_at.timestamp(), record.connected_at.timestamp() if record.connected_at else None)
        return self._policy.earliest(trail, age, now, stranger=stranger)

    def _write_soon(self) -> None:
        self._unwritten = True
        if not self._writing:
            self._writing = True
            self._backends.tasks.start_soon(self._write, name=f"pace of {self._key}")

    async def _write(self) -> None:
        try:
            while self._unwritten:
                self._unwritten = False
                await self._backends.shelf.put(self._name, TRAIL.dump_json(self._trail.sent))
        except StorageError as error:
            logger.warning("session %s: its pace cannot be kept: %s", self._key, error)
        finally:
            self._writing = False
