"""The seams: what a backend implements, and nothing else.

Backends that open something are async context managers as well; the pool enters those it made itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import anyio

from .addresses import Address
from .events import Event
from .links import DriverEvent, InboxItem
from .messages import OutgoingMessage
from .models import DeviceLocation, SentMessage, SessionKey, SessionRecord, WorkerMetrics
from .operations import Operation


class Connection(Protocol):
    """One link to WhatsApp. Iterate for its events; the last is ``LinkEnded`` and says why the link is over."""

    def __aiter__(self) -> AsyncIterator[DriverEvent]: ...

    async def send(self, to: Address, message: OutgoingMessage) -> SentMessage:
        """Send, and return once WhatsApp's server acknowledged.

        It has no deadline of its own, and ends with the connection at the latest. Raises ``SessionNotConnected``
        where nothing was sent, ``MessageRejected`` where the server refused, ``SendTimeout`` where the outcome is
        unknown; by any other error of this library, too, the message certainly did not go out.
        """
        ...

    async def probe(self) -> None:
        """Ask the server a real question, and return once it answered, by a refusal too; it changes nothing there.

        Raises a ``WhatsAppPoolError`` where the link is dead, whatever its socket says. It has no deadline of its own.
        """
        ...

    async def call(self, operation: Operation) -> Any:
        """Do ``operation`` and return its result; raises ``DriverError``. It has no deadline of its own either."""
        ...


class Inbox(Protocol):
    """What a device received and nobody has acknowledged: kept in order, beyond links and processes."""

    async def read(self, after: int, limit: int) -> Sequence[InboxItem]:
        """Return what follows the number ``after``, at most ``limit``; nothing where there is nothing yet."""
        ...

    async def changed(self) -> None:
        """Wait until there may be more than at the last ``read``."""
        ...

    async def acknowledge(self, numbers: Sequence[int]) -> None:
        """Forget these items."""
        ...

    async def trim(self, keep: int) -> int:
        """Forget all but the newest ``keep`` items, and return how many these were."""
        ...


class Driver(Protocol):
    """Opens connections. Knows nothing of retries, limits or pools."""

    @property
    def worker_restarts(self) -> int:
        """How many workers crashed, froze or were recycled since the driver was entered."""
        ...

    def workers(self) -> tuple[WorkerMetrics, ...]:
        """Return the worker processes of this moment; none where the driver has no use for any."""
        ...

    def connect(self, record: SessionRecord, device: DeviceLocation) -> AbstractAsyncContextManager[Connection]:
        """Open a link while the context lasts; a device that is not linked is paired first. Leaving stops it."""
        ...

    def inbox(self, key: SessionKey, device: DeviceLocation) -> AbstractAsyncContextManager[Inbox]:
        """Open what the device received, whether there is a link or not; raises ``StorageError``."""
        ...


class SessionStore(Protocol):
    """Remembers sessions. Raises ``StorageError``."""

    async def get(self, key: SessionKey) -> SessionRecord | None: ...

    async def put(self, record: SessionRecord, fence: int) -> None:
        """Write the record; one written under an older ``fence`` than the last is refused."""
        ...

    async def delete(self, key: SessionKey) -> None:
        """Forget the session and its device's keys; an unknown one is no error."""
        ...

    def records(self) -> AsyncIterator[SessionRecord]: ...

    def device(self, key: SessionKey) -> AbstractAsyncContextManager[DeviceLocation]:
        """Lend the place where the driver keeps this device's keys."""
        ...


class Shelf(Protocol):
    """Keeps small things by key, beyond sessions and processes. Raises ``StorageError``.

    A key is 1–512 printable ASCII characters, so a blank and what is in ``[!-~]``. What is older than its ``ttl``, in
    seconds by the wall clock, is not there any more.
    """

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        """Keep ``value``, ``ttl`` included, in place of what was there; it is on disk when this returns.

        ``if_absent``: where something is there already, leave it and return ``False``. Of several that put at the same
        time, in whatever process, one succeeds.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Forget it; ``False``: there was nothing."""
        ...

    def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        """Give the keys that begin with ``prefix``, in order, each once; ``""``: all. What changes may be missed."""
        ...


class Reservation(Protocol):
    """A place in the window, held until it is used or given back."""

    async def commit(self) -> None: ...

    async def release(self) -> None: ...


class RateLimiter(Protocol):
    """Decides whether a session may send to a recipient now."""

    async def acquire(self, key: SessionKey, recipient: str) -> Reservation:
        """Reserve a place; raises ``RateLimitExceeded`` with the seconds until one is free."""
        ...


@dataclass(frozen=True)
class Ownership:
    """The right to run a session. ``fence`` rises with every new owner; ``lost`` is set when the right is gone."""

    fence: int
    lost: anyio.Event = field(default_factory=anyio.Event)


class Coordinator(Protocol):
    """Says who owns a session."""

    def own(self, key: SessionKey) -> AbstractAsyncContextManager[Ownership]:
        """Own the session while the context lasts; raises ``SessionLocked`` at once where another does.

        The pool waits for it without a deadline; ``StorageError`` says that it cannot be told.
        """
        ...


class EventHook(Protocol):
    """Receives every event; any async function of one argument is a hook."""

    async def __call__(self, event: Event, /) -> None: ...


@runtime_checkable
class Clock(Protocol):
    """Time, so that a test can own it."""

    def now(self) -> datetime:
        """Return the aware UTC time."""
        ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def move_on_after(self, seconds: float | None) -> anyio.CancelScope:
        """Return a scope that is cancelled after ``seconds``; ``None``: never."""
        ...
