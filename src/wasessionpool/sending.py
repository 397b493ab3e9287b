"""A session's sends: one at a time to the driver, each followed to its end, whether its caller still waits or not."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypedDict

import anyio
import anyio.lowlevel
from ulid import ULID

from .abc import Connection
from .addresses import Address
from .backends import Backends
from .errors import (
    PoolClosed,
    SendTimeout,
    SessionNotConnected,
    StorageError,
    WhatsAppPoolError,
)
from .events import MessageSentEvent
from .idempotency import KeyedSend, KeyedSends, check_idempotency_key
from .messages import OutgoingMessage, to_message
from .models import Contact, SentMessage, SessionKey
from .places import Place, Places
from .recipients import Acquaintance, Recipients
from .restrictions import Restriction
from .standing import Standing
from .waiting import check_timeout

logger = logging.getLogger(__name__)


class SendOptions(TypedDict, total=False):
    """The keywords of a send."""

    idempotency_key: str | None
    resend: bool
    wait: bool
    timeout: float | None


class _Send:
    """A message that the driver has. ``outcome`` is what is known of it, set before ``settled``."""

    def __init__(
        self,
        id: str,  # noqa: A002
        to: Address,
        message: OutgoingMessage,
        place: Place,
        keyed: KeyedSend | None,
        *,
        stranger: bool,
    ) -> None:
        self.id = id
        self.to = to
        self.message = message
        self.place = place
        self.keyed = keyed
        self.stranger = stranger
        self.outcome: SentMessage | WhatsAppPoolError | None = None
        self.settled = anyio.Event()
        self.followed = anyio.CancelScope()
        self.handed_over_at = 0.0


def checked_send(
    to: str, message: str | OutgoingMessage, idempotency_key: str | None, timeout: float | None
) -> OutgoingMessage:
    """Return the message, where nothing that was asked is wrong; to be called before the session is looked at."""
    message = to_message(message)
    if idempotency_key is not None:
        check_idempotency_key(idempotency_key)
    Address.parse(to)
    check_timeout(timeout)
    return message


class SendLine:
    """The line in which a session's sends wait for the one ahead, at most ``send_timeout`` seconds for each.

    ``live`` returns the live connection or raises; ``stall`` ends the link of a connection that hangs; ``save`` stores
    the session's record, where it still can be.
    """

    def __init__(
        self,
        key: SessionKey,
        standing: Standing,
        backends: Backends,
        *,
        live: Callable[[], Connection],
        stall: Callable[[Connection, str], None],
        save: Callable[[], Awaitable[None]],
    ) -> None:
        self._key = key
        self._standing = standing
        self._backends = backends
        self._live = live
        self._stall = stall
        self._save = save
        self._turn = anyio.Semaphore(1, max_value=1)
        self._sends: set[_Send] = set()
        self.waiting = 0
        """How many calls wait for the limit or for the sends ahead."""
        self.asked = 0
        """How many calls are not over."""
        self._keyed = KeyedSends(key, backends.shelf)
        self._closing = False
        self._places = Places(key, standing, backends, self._usable)
        self._recipients = Recipients(key, backends)
        self._restriction = Restriction(standing, backends.clock)

    async def send(
        self,
        to: str,
        message: str | OutgoingMessage,
        *,
        idempotency_key: str | None = None,
        resend: bool = False,
        wait: bool = False,
        timeout: float | None = None,
    ) -> SentMessage:
        """Send, and return once WhatsApp acknowledged; raises what ``WhatsAppSessionPool.send_message`` says."""
        content, address, clock = to_message(message), Address.parse(to), self._backends.clock
        deadline = math.inf if timeout is None else clock.monotonic() + timeout
        send = partial(self._send, address, content, deadline, wait)
        self.asked += 1
        try:
            if idempotency_key is None:
                return await send(None)
            until = partial(self._until, deadline)
            return await self._keyed.once(idempotency_key, address, content, send, resend=resend, until=until)
        finally:
            self.asked -= 1

    @property
    def in_flight(self) -> int:
        """How many sends the driver has."""
        return len(self._sends)

    def link_ended(self) -> None:
        """Follow no send any longer: the connection that they were handed to is over."""
        for send in self._sends:
            send.followed.cancel()

    def wake(self) -> None:
        """Let those that wait for the limit look whether anything can be sent yet."""
        self._places.wake()

    def heard(self, contact: Contact) -> None:
        """Somebody wrote to us, and is no stranger from now on."""
        self._recipients.heard(contact)

    async def forget(self, *, keys: bool) -> None:
        """Forget the account's recipients, and with ``keys`` all that is kept of its sends; raises ``StorageError``."""
        await self._recipients.forget()
        await self._places.forget()
        if keys:
            await self._keyed.forget()

    async def _send(
        self, address: Address, content: OutgoingMessage, deadline: float, wait: bool, keyed: KeyedSend | None
    ) -> SentMessage:
        self.waiting += 1
        try:
            send = await self._begin(address, content, keyed, wait=wait, deadline=deadline)
        except WhatsAppPoolError as error:
            self._standing.counts.sends_failed[error.code] += 1
            raise
        finally:
            self.waiting -= 1
        with self._until(deadline):
            await send.settled.wait()
        if isinstance(send.outcome, SentMessage):
            return send.outcome
        raise send.outcome or self._unknown(send, "no acknowledgement within the caller's timeout")

    async def _begin(
        self, address: Address, content: OutgoingMessage, keyed: KeyedSend | None, *, wait: bool, deadline: float
    ) -> _Send:
        self._usable()
        with self._until(deadline):
            found = await self._recipients.find(address)
            stranger = found is not Acquaintance.KNOWN
            if stranger:
                self._restriction.check()
            until = deadline if wait else -math.inf
            place = await self._places.reserve(address, content, stranger=stranger, until=until)
            try:
                await self._recipients.require_account(address, found, self._usable())
                id_ = str(ULID.from_datetime(self._backends.clock.now()))
                send = _Send(id_, address, content, place, keyed, stranger=stranger)
                await self._hand_over(send)
                return send
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await place.release()
                raise
        raise SessionNotConnected(
            f"session {self._key}: nothing was sent, its turn did not come in time",
            status=self._standing.status,
            reason=self._standing.reason,
        )

    async def drain(self) -> None:
        """Begin no send any more, and wait for those that the driver has."""
        self._closing = True
        self.wake()
        for send in tuple(self._sends):
            await send.settled.wait()

    def _usable(self) -> Connection:
        if self._closing:
            raise PoolClosed(f"session {self._key}: nothing was sent, the pool is being closed")
        return self._live()

    async def _hand_over(self, send: _Send) -> None:
        await self._turn.acquire()
        try:
            await send.place.compose(send.to, send.message, self._usable())
            if send.keyed is None:
                self._start(send)
            else:
                self._usable()
                async with send.keyed.noted(send.id):
                    self._start(send)
        except BaseException:
            self._turn.release()
            raise

    def _start(self, send: _Send) -> None:
        connection = self._usable()
        if send.stranger:
            self._restriction.admit()
        send.handed_over_at = self._backends.clock.monotonic()
        self._sends.add(send)
        self._backends.tasks.start_soon(self._follow, send, connection, name=f"send of {self._key}")

    def _until(self, deadline: float) -> anyio.CancelScope:
        clock = self._backends.clock
        return clock.move_on_after(None if deadline == math.inf else deadline - clock.monotonic())

    async def _follow(self, send: _Send, connection: Connection) -> None:
        outcome: SentMessage | WhatsAppPoolError = self._unknown(send, "the link ended before an acknowledgement")
        try:
            with send.followed:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._give_up, send, connection)
                    outcome = await self._outcome(send, connection)
                    tasks.cancel_scope.cancel()
        finally:
            self._sends.remove(send)
            await self._settle(send, outcome)
            if send.keyed is not None:
                self._keyed.over(send.keyed)
        if self._restriction.unsaved:
            self._restriction.unsaved = False
            await self._save()

    async def _give_up(self, send: _Send, connection: Connection) -> None:
        await self._backends.clock.sleep(self._backends.settings.send_timeout)
        if send.outcome is None:
            self._stall(connection, "a send was not acknowledged in time")
            await self._settle(send, self._unknown(send, "no acknowledgement in time"))

    async def _outcome(self, send: _Send, connection: Connection) -> SentMessage | WhatsAppPoolError:
        try:
            with self._standing.pulse.asking():
                return await connection.send(send.to, send.message)
        except SendTimeout as error:
            return self._unknown(send, error.message)
        except WhatsAppPoolError as error:
            return error
        except Exception as error:
            # Nobody may be waiting for it, and it must not end the pool's other sessions.
            logger.exception("session %s: its driver failed in a send", self._key)
            return self._unknown(send, f"the driver failed with {type(error).__name__}")

    async def _settle(self, send: _Send, outcome: SentMessage | WhatsAppPoolError) -> None:
        """Tell what became of a send; what comes after it was called unknown is told as well."""
        unknown, late = isinstance(outcome, SendTimeout), send.outcome is not None
        if unknown and late:
            return
        if send.stranger:
            outcome = self._restriction.weigh(send.to, outcome)
        send.outcome = outcome
        if isinstance(outcome, SentMessage):
            self._standing.sent()
            self._backends.send_latency.observe(self._backends.clock.monotonic() - send.handed_over_at)
            self._recipients.wrote(send.to)
            self._standing.emit(
                MessageSentEvent, message_id=outcome.id, to=outcome.to, timestamp=outcome.timestamp, send_id=send.id
            )
        else:
            if not late:
                self._standing.counts.sends_failed[outcome.code] += 1
            self._standing.error(outcome.code, outcome.message, send.id)
            self._restriction.tell()
        await self._note(send, outcome)
        if late:
            return
        try:
            with anyio.CancelScope(shield=True):
                spent = unknown or isinstance(outcome, SentMessage)
                await (send.place.commit() if spent else send.place.release())
        except Exception:
            logger.exception("session %s: its limit could not be settled", self._key)
        finally:
            send.settled.set()
            # Its caller hears of it before the next is sent.
            await anyio.lowlevel.cancel_shielded_checkpoint()
            self._turn.release()

    async def _note(self, send: _Send, outcome: SentMessage | WhatsAppPoolError) -> None:
        if send.keyed is None:
            return
        try:
            with anyio.CancelScope(shield=True):
                await send.keyed.settle(outcome)
        except Exception as error:
            # Its caller is told the outcome all the same; who asks by the key again is told that it is unknown.
            logger.exception("session %s: what became of a send could not be kept", self._key)
            self._standing.error(StorageError.code, f"what became of a send could not be kept: {error}", send.id)

    def _unknown(self, send: _Send, why: str) -> SendTimeout:
        return SendTimeout(f"session {self._key}: {why}; whether the message went out is unknown", send_id=send.id)
