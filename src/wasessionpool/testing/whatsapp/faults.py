"""What is out of order: all state, no I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Generic, Literal, TypeVar

from wasessionpool.testing.whatsapp.nodes import Node

T = TypeVar("T")

Refusal = Literal["reset"] | int
"""How a connection is turned away: by a TCP reset, or by an HTTP status."""


class Switch(Generic[T]):
    """A fault that lasts until it is ended."""

    def __init__(self, off: T, everyone: Switch[T] | None = None) -> None:
        self._own = self._off = off
        self._everyone = everyone

    def set(self, value: T) -> None:
        self._own = value

    def end(self) -> None:
        self._own = self._off

    @property
    def value(self) -> T:
        """What holds: the account's own fault, or else everyone's."""
        if self._own != self._off or self._everyone is None:
            return self._own
        return self._everyone.value


class Strikes(Generic[T]):
    """A fault that strikes the next few times."""

    def __init__(self, everyone: Strikes[T] | None = None) -> None:
        self._queue: deque[T] = deque()
        self._everyone = everyone

    def add(self, what: T, times: int) -> None:
        """Strike `times` more times. Raises ValueError unless that is at least once."""
        if times < 1:
            raise ValueError("a fault strikes at least once")
        self._queue.extend([what] * times)

    def end(self) -> None:
        self._queue.clear()

    def take(self) -> T | None:
        """Return what strikes now and is used up by that: the account's own fault, or else everyone's."""
        if self._queue:
            return self._queue.popleft()
        return self._everyone.take() if self._everyone is not None else None


class Faults:
    """What clients get instead of a service that works: one for each account, and behind it the one for everyone."""

    def __init__(self, everyone: Faults | None = None) -> None:
        self.silent: Switch[bool] = Switch(False, everyone.silent if everyone else None)
        self.refusing: Switch[bool] = Switch(False, everyone.refusing if everyone else None)
        self.acks_withheld: Switch[bool] = Switch(False, everyone.acks_withheld if everyone else None)
        self.ack_delay: Switch[float] = Switch(0.0, everyone.ack_delay if everyone else None)
        self.lid_hidden: Switch[bool] = Switch(False, everyone.lid_hidden if everyone else None)
        self.bytes_per_second: Switch[float] = Switch(0.0, everyone.bytes_per_second if everyone else None)
        self.logins: Strikes[Node] = Strikes(everyone.logins if everyone else None)
        self.sends: Strikes[int] = Strikes(everyone.sends if everyone else None)
        self.ciphertexts: Strikes[bool] = Strikes(everyone.ciphertexts if everyone else None)
        self.pairings: Strikes[bool] = Strikes(everyone.pairings if everyone else None)
        self.first_logins: Strikes[Refusal] = Strikes(everyone.first_logins if everyone else None)
        self.iqs: set[str] = set()
        self._everyone = everyone

    def withholds(self, iq: Node) -> bool:
        """Tell whether a question stays unanswered."""
        if iq.text("xmlns") in self.iqs:
            return True
        return self._everyone is not None and self._everyone.withholds(iq)

    def end(self) -> None:
        """Put everything in order that is out of order by itself, and not for everyone."""
        self.iqs.clear()
        for fault in vars(self).values():
            if isinstance(fault, Switch | Strikes):
                fault.end()


def corrupted(message: Node) -> Node:
    """Return a message with one bit of each ciphertext changed."""
    return replace(message, content=tuple(_corrupt(child) for child in message.children))


def _corrupt(child: Node) -> Node:
    return replace(child, content=_flip(child.data)) if child.tag == "enc" and child.data else child


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes((data[middle] ^ 1,)) + data[middle + 1 :]
