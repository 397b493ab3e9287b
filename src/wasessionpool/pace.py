"""A session's pace: what its policy says of what it sent, which is kept beyond the process."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

import anyio
from pydantic import TypeAdapter, ValidationError

from .abc import Connection
from .addresses import Address
from .backends import Backends
from .errors import StorageError, WhatsAppPoolError
from .kept import place
from .messages import OutgoingMessage
from .models import SessionKey
from .operations import ShowTyping
from .pacing import AT_ONCE, DAY, Age, PacingPolicy, Sent, Trail, Why
from .standing import Standing

logger = logging.getLogger(__name__)

TRAIL = TypeAdapter(list[Sent])
KEPT = 2 * DAY
"""Seconds that a trail is on the shelf after the last message; no rule looks back longer than a day."""


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
        self._gaps = policy.model_copy(update={"daily_max": None, "strangers_max": None})
        self._key = key
        self._name = place("pace", key) + "sent"
        self._standing = standing
        self._backends = backends
        self._trail = Trail(str(key))
        self._read = self._unwritten = False
        self._pen = anyio.Lock()

    async def read(self) -> None:
        """Read what is kept, until that succeeded once; nothing is written before."""
        if self._read:
            return
        try:
            content = await self._backends.shelf.get(self._name)
        except Exception as error:  # noqa: BLE001 - it is logged
            self._failed(error)
            return
        if self._read:
            return
        self._read = True
        try:
            self._trail.follow(Trail(str(self._key), TRAIL.validate_json(content) if content else []))
        except ValidationError as error:
            logger.warning("session %s: what is kept of its pace is damaged: %s", self._key, error)
        if self._unwritten:
            self._write_soon()

    def take(self, content: OutgoingMessage, *, stranger: bool) -> Sent | TooEarly:
        """Take the next place, for a message that is typed from now on."""
        now = self._backends.clock.now().timestamp()
        self._trail.forget_old(now)
        earliest = partial(self._policy.earliest, self._trail, self._age(now), now)
        at, why = earliest(stranger=stranger)
        if at > now + AT_ONCE:
            held = stranger and at > earliest(stranger=False)[0] + AT_ONCE
            return TooEarly(at - now, why, held)
        return self._trail.add(now + self._policy.typing(content), stranger=stranger, gone=False)

    def give_back(self, sent: Sent) -> None:
        """Free the place of a message that was not sent."""
        if sent in self._trail.sent:
            self._trail.sent.remove(sent)
            if sent.gone:
                self._write_soon()

    async def compose(self, sent: Sent, to: Address, content: OutgoingMessage, connection: Connection) -> None:
        """Show the typing of a text for as long as a human takes; the message goes when this returns."""
        clock, seconds = self._backends.clock, self._policy.typing(content)
        now = clock.now().timestamp()
        self._trail.forget_old(now)
        # The sends ahead may have taken longer than was planned, and others may have overtaken this one.
        ahead = [each for each in self._trail.sent if each.gone or each.number < sent.number]
        at, _ = self._gaps.earliest(Trail(self._trail.seed, ahead), self._age(now), now, stranger=False)
        await clock.sleep(at - now)
        if seconds:
            end = clock.monotonic() + seconds
            with clock.move_on_after(seconds):
                try:
                    await connection.call(ShowTyping(chat=str(to), state="composing"))
                except WhatsAppPoolError as error:
                    logger.info("session %s: typing cannot be shown: %s", self._key, error)
            await clock.sleep(end - clock.monotonic())
        if sent in self._trail.sent:
            sent.at, sent.gone = max(sent.at, clock.now().timestamp()), True
            self._trail.sort()
            self._write_soon()

    async def forget(self) -> None:
        """Forget what was sent, and what is under way; nothing of either is written later. Raises ``StorageError``."""
        self._trail.sent.clear()
        self._read, self._unwritten = True, False
        async with self._pen:
            await self._backends.shelf.delete(self._name)

    def _age(self, now: float) -> Age:
        """Return the session's age; a link that came up later than ``now``, before the clock was set back, is old."""
        record = self._standing.record
        up = record.connected_at.timestamp() if record.connected_at else None
        return Age(record.created_at.timestamp(), up if up is None or up <= now else None)

    def _write_soon(self) -> None:
        """Write what is gone, once it is known what was kept; a pool that is closed writes no more."""
        self._unwritten = True
        tasks = self._backends.tasks
        if self._read and not tasks.cancel_scope.cancel_called:
            tasks.start_soon(self._write, name=f"pace of {self._key}")

    async def _write(self) -> None:
        async with self._pen:
            if not self._unwritten:
                return
            self._unwritten = False
            content = TRAIL.dump_json([sent for sent in self._trail.sent if sent.gone])
            try:
                await self._backends.shelf.put(self._name, content, ttl=KEPT)
            except Exception as error:  # noqa: BLE001 - it is logged
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Log what a shelf raised; it must neither refuse a send nor end the pool's other sessions."""
        bug = None if isinstance(error, StorageError) else error
        logger.warning("session %s: its pace cannot be read or kept: %s", self._key, error, exc_info=bug)
