"""Whom a session knows: it wrote to them, or they to it. Who is a stranger is asked about, once, before a send."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from enum import StrEnum

import anyio

from .abc import Connection
from .addresses import Address
from .backends import Backends
from .errors import RecipientNotOnWhatsapp, StorageError, WhatsAppPoolError
from .kept import forget, place
from .models import Contact, SessionKey
from .operations import CheckNumbers

logger = logging.getLogger(__name__)

DAY = 86400.0
ASKING = 10.0
"""Seconds that WhatsApp may take to say whether a number has an account; then the message is simply sent."""
REMEMBERED = 2000
"""Known recipients in memory; a send to one of them reads no shelf."""
WAITING = 1000
"""Known recipients that the shelf has not been told of; more are not kept beyond this process."""


class Acquaintance(StrEnum):
    """What is known of a recipient: written to or heard from, a stranger with or without account, or nothing."""

    KNOWN = "known"
    THERE = "there"
    ABSENT = "absent"
    NEW = "new"


KEPT = {Acquaintance.KNOWN: 90 * DAY, Acquaintance.THERE: 30 * DAY, Acquaintance.ABSENT: 3600.0}
"""Seconds that each is on the shelf."""


class Recipients:
    """The recipients of one session. A shelf that fails stops no send: then all are taken for known."""

    def __init__(self, key: SessionKey, backends: Backends) -> None:
        self._key = key
        self._prefix = place("recipient", key)
        self._backends = backends
        self._known: OrderedDict[str, float] = OrderedDict()
        self._unwritten: dict[str, None] = {}
        self._writing = False
        self._pen = anyio.Lock()

    async def find(self, address: Address) -> Acquaintance:
        """Return what is known of a recipient; a group is no stranger to who is in it."""
        jid = str(address)
        if address.is_group or jid in self._known:
            return Acquaintance.KNOWN
        try:
            content = await self._backends.shelf.get(self._prefix + jid)
        except Exception as error:  # noqa: BLE001 - it is logged
            self._failed(error)
            return Acquaintance.KNOWN
        found = next((each for each in KEPT if content == each.encode()), Acquaintance.NEW)
        if found is Acquaintance.KNOWN:
            self._remember(jid, -math.inf)
        return found

    async def require_account(self, address: Address, found: Acquaintance, connection: Connection) -> None:
        """Raise ``RecipientNotOnWhatsapp`` for a stranger's number without an account, where that can be found out."""
        if found in (Acquaintance.KNOWN, Acquaintance.THERE) or address.phone_number is None:
            return
        if not self._backends.settings.check_recipients:
            return
        if found is Acquaintance.NEW:
            found = await self._ask(address, connection)
        if found is Acquaintance.ABSENT:
            raise RecipientNotOnWhatsapp(f"session {self._key}: {address.phone_number} has no WhatsApp account")

    def wrote(self, address: Address) -> None:
        """WhatsApp took a message to this recipient."""
        if not address.is_group:
            self._note(str(address))

    def heard(self, contact: Contact) -> None:
        """Somebody wrote to us."""
        number = contact.phone_number and str(Address(contact.phone_number.removeprefix("+")))
        for jid in (contact.id, number, contact.lid):
            if jid:
                self._note(jid)

    async def forget(self) -> None:
        """Forget everybody; raises ``StorageError``."""
        self._unwritten.clear()
        self._known.clear()
        async with self._pen:
            await forget(self._backends.shelf, self._key, "recipient")

    async def _ask(self, address: Address, connection: Connection) -> Acquaintance:
        found = None
        try:
            with self._backends.clock.move_on_after(ASKING):
                found = await connection.call(CheckNumbers(numbers=(address.user,)))
        except WhatsAppPoolError as error:
            logger.info("session %s: whether a number has an account cannot be asked: %s", self._key, error)
        if found is None:
            return Acquaintance.NEW
        answer = Acquaintance.THERE if address.user in found else Acquaintance.ABSENT
        await self._put(str(address), answer)
        return answer

    def _note(self, jid: str) -> None:
        """Remember a known recipient at once, and tell the shelf soon, once a day."""
        now = self._backends.clock.monotonic()
        if now - self._known.get(jid, -math.inf) < DAY:
            self._known.move_to_end(jid)
            return
        self._remember(jid, now)
        if len(self._unwritten) < WAITING:
            self._unwritten[jid] = None
        if not self._writing:
            self._writing = True
            self._backends.tasks.start_soon(self._write_down, name=f"recipients of {self._key}")

    def _remember(self, jid: str, noted_at: float) -> None:
        self._known[jid] = noted_at
        self._known.move_to_end(jid)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _write_down(self) -> None:
        try:
            while self._unwritten:
                async with self._pen:
                    jid = next(iter(self._unwritten), None)
                    if jid is not None:
                        del self._unwritten[jid]
                        if not await self._put(jid, Acquaintance.KNOWN) and jid in self._known:
                            # The next message tries again, also within the day.
                            self._known[jid] = -math.inf
        finally:
            self._writing = False

    async def _put(self, jid: str, found: Acquaintance) -> bool:
        try:
            await self._backends.shelf.put(self._prefix + jid, found.encode(), ttl=KEPT[found])
        except Exception as error:  # noqa: BLE001 - it is logged
            self._failed(error)
            return False
        return True

    def _failed(self, error: Exception) -> None:
        """Log what a shelf raised; it must neither refuse a send nor end the pool's other sessions."""
        bug = None if isinstance(error, StorageError) else error
        logger.warning("session %s: who is known cannot be read or kept: %s", self._key, error, exc_info=bug)
