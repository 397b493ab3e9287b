"""Every fault as one call: for one account on its phone, for everyone on the server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, Literal

import anyio

from wasessionpool.testing.whatsapp.addresses import phone_number
from wasessionpool.testing.whatsapp.connection import LONG_PATIENCE, PATIENCE, Connection
from wasessionpool.testing.whatsapp.faults import Faults
from wasessionpool.testing.whatsapp.messages import new_message_id
from wasessionpool.testing.whatsapp.network import Account, Network
from wasessionpool.testing.whatsapp.nodes import node
from wasessionpool.testing.whatsapp.routing import send_from_phone
from wasessionpool.testing.whatsapp.stanzas import (
    DEVICE_REMOVED,
    REPLACED,
    STREAM_END,
    login_failure,
    receipt,
    stream_error,
)

_BURST: Final = 100


class FaultCalls(ABC):
    """Faults, each one call, of the same name for one account and for everyone.

    `docs/faults.md` says what neonize shows of each. A fault for everyone meets accounts that are made later too; one
    account's own goes before it, and each is ended where it was set.
    """

    _network: Network

    @property
    @abstractmethod
    def _faults(self) -> Faults: ...

    @abstractmethod
    def _accounts(self) -> Iterable[Account]: ...

    @abstractmethod
    def _open_connections(self) -> list[Connection]: ...

    async def drop(self, *, reset: bool = True, stream_end: bool = False) -> int:
        """Cut the connections and return how many there were.

        By a TCP reset, or else by an end of stream without any farewell, or with the protocol's own.
        """
        connections = self._open_connections()
        for connection in connections:
            if stream_end:
                connection.send(STREAM_END)
                connection.end(0)
            else:
                connection.abort(reset=reset)
        for connection in connections:
            await connection.closed.wait()
        return len(connections)

    def refuse_after_pairing(self, status: int | None = None, *, times: int = 1) -> None:
        """Turn away the connection that follows the next pairing: by a TCP reset, or by this HTTP status.

        Who connects is not known that early: when several clients connect at that moment, it may meet another.
        """
        self._faults.first_logins.add("reset" if status is None else status, times)

    def silence(self) -> None:
        """Keep the connections open, and say and hear nothing on them any more."""
        self._faults.silent.set(True)

    def speak(self) -> None:
        """End `silence`. What clients said meanwhile is lost; what they were sent comes at their next login."""
        self._faults.silent.end()

    def withhold_acks(self, withhold: bool = True) -> None:
        """Take the messages of clients without acknowledging them, or do so again: they send them anew."""
        self._faults.acks_withheld.set(withhold)

    def delay_acks(self, seconds: float) -> None:
        """Acknowledge the messages of clients this much later; 0 ends it. An ack is lost with its connection."""
        if seconds < 0:
            raise ValueError("an ack cannot come before its message")
        self._faults.ack_delay.set(seconds)

    def fail_send(self, error: int, *, times: int = 1) -> None:
        """Deliver the next messages of clients to nobody, and acknowledge them with this error, such as 463 or 479."""
        self._faults.sends.add(error, times)

    def withhold_iq(self, xmlns: str, withhold: bool = True) -> None:
        """Leave questions of this namespace unanswered, such as `usync`, `encrypt` or `w:p`, or answer them again."""
        if withhold:
            self._faults.iqs.add(xmlns)
        else:
            self._faults.iqs.discard(xmlns)

    async def stream_error(self, code: int | str, *, close: bool = True) -> int:
        """End the connections with a stream error, or send it and leave them open, and return how many there were.

        A number is sent as the error's code, such as 500, 503, 515 or 516; `replaced` says that another client took
        over, `device_removed` that the device is unlinked, without unlinking it.
        """
        named = {"replaced": REPLACED, "device_removed": DEVICE_REMOVED}
        error = stream_error(code) if isinstance(code, int) else named[code]
        connections = self._open_connections()
        for connection in connections:
            connection.send(error)
            if close:
                connection.end(LONG_PATIENCE if code == 515 else PATIENCE)
        await anyio.lowlevel.checkpoint()
        return len(connections)

    def fail_login(self, reason: int, *, times: int = 1, **attrs: str | int) -> None:
        """Answer the next logins with `<failure reason=…>`, with further attributes for a ban.

        After 401, 403 and 406 a client forgets its keys, so its device stays in `devices` but never comes back.
        """
        self._faults.logins.add(login_failure(reason, **{name: str(value) for name, value in attrs.items()}), times)

    def fail_pairing(self, *, times: int = 1) -> None:
        """Seal the next pairings with another secret than the code shows: the device refuses to be linked."""
        self._faults.pairings.add(True, times)

    def corrupt_messages(self, times: int = 1) -> None:
        """Change a bit in the next messages for linked devices, those sent again included: they do not decrypt."""
        self._faults.ciphertexts.add(True, times)

    def hide_lid(self, hide: bool = True) -> None:
        """Let nobody learn the LID of the number, or let them again."""
        self._faults.lid_hidden.set(hide)

    def read_slowly(self, bytes_per_second: float | None) -> None:
        """Take no more than this from each connection; None ends it."""
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError("a reader takes more than nothing: use silence()")
        self._faults.bytes_per_second.set(bytes_per_second or 0.0)

    async def send_unknown_receipt(self, kind: str = "server-error") -> int:
        """Send each linked device a receipt of a type that neonize has no name for, and return how many there are."""
        companions = [companion for account in self._accounts() for companion in account.companions.values()]
        for companion in companions:
            companion.deliver(receipt(companion.account.lid, new_message_id(), kind))
        await anyio.lowlevel.checkpoint()
        return len(companions)

    async def flood(
        self, sender: str, count: int = 10_000, *, kind: Literal["presence", "message"] = "presence"
    ) -> None:
        """Send linked devices this many presences or messages of one number, as fast as they are written.

        Presences reach those online only. Raises ValueError for a number that is not on this WhatsApp.
        """
        author = self._network.accounts.get(phone_number(sender))
        if author is None:
            raise ValueError(f"{sender} is not on this WhatsApp: make it known by contact() or phone() first")
        presence = node("presence", {"from": author.lid})
        accounts = [account for account in self._accounts() if account.companions and account is not author]
        for number in range(count):
            for account in accounts:
                if kind == "message":
                    send_from_phone(self._network, author, account.number, f"{number + 1} of {count}")
                else:
                    for connection in account.connections():
                        connection.send(presence)
            if number % _BURST == 0:
                await anyio.lowlevel.checkpoint()

    def end_faults(self) -> None:
        """End everything that was set here, and forget what has not struck yet."""
        self._faults.end()
