"""A WhatsApp on loopback."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio
from anyio.abc import TaskGroup

from wasessionpool.testing.whatsapp.addresses import phone_number
from wasessionpool.testing.whatsapp.certificates import (
    HOSTS,
    NoiseIdentity,
    Trust,
    make_noise_identity,
    make_tls_context,
)
from wasessionpool.testing.whatsapp.client import serve_client
from wasessionpool.testing.whatsapp.connection import BROKEN, HANDSHAKE_TIMEOUT, Connection, open_connection
from wasessionpool.testing.whatsapp.contact import Contact
from wasessionpool.testing.whatsapp.errors import ProtocolError, WhatsAppServerError
from wasessionpool.testing.whatsapp.fault_calls import FaultCalls
from wasessionpool.testing.whatsapp.faults import Faults, Refusal
from wasessionpool.testing.whatsapp.group import Group
from wasessionpool.testing.whatsapp.group_queries import create_group
from wasessionpool.testing.whatsapp.media import MEDIA_HOST
from wasessionpool.testing.whatsapp.media_host import serve_media
from wasessionpool.testing.whatsapp.network import FEW_PREKEYS, Account, Network, logger
from wasessionpool.testing.whatsapp.phone import Phone
from wasessionpool.testing.whatsapp.state import load, save
from wasessionpool.testing.whatsapp.tcp import TcpStream
from wasessionpool.testing.whatsapp.trust import ROOT_KEY_VARIABLE
from wasessionpool.testing.whatsapp.waiting import Changes
from wasessionpool.testing.whatsapp.websocket import accept_tunnel, refuse_tunnel

if TYPE_CHECKING:
    from wasessionpool.drivers.neonize import NeonizeDriver

WORKER_MODULE = "wasessionpool.testing.whatsapp.worker"
_BACKLOG = 4096


class WhatsAppServer(FaultCalls):
    """A WhatsApp that lives on loopback and speaks the real protocol to an unmodified neonize.

    Use it as an async context manager: it serves inside, in the caller's event loop, and leaves nothing behind. A fault
    of its own ends the connection concerned, and is raised as an ExceptionGroup on leaving.
    `refs` is how many pairing codes a client gets: the first of several lives 60 s, every other 20 s. `prekeys` is how
    many one-time keys a new device uploads: 812 as to the real WhatsApp, or 50, which makes pairing ten times cheaper.
    `state` is a file that is read now, if it is there, and written on leaving: a server with the same one knows its
    devices, and they trust it, at once when `port` is the same too. It holds private keys and texts, and beside it
    lies the certificate, `<state>.pem`. `wire` is a file that gets every stanza, without texts and keys, a line each.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        refs: int = 6,
        prekeys: Literal[50, 812] = FEW_PREKEYS,
        state: str | PathLike[str] | None = None,
        wire: str | PathLike[str] | None = None,
    ) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"{host} is not a loopback address")
        if refs < 1:
            raise ValueError("a client needs at least one pairing code")
        self.connections_accepted = 0
        self.tunnels_refused = 0
        self._host = host
        self._refs = refs
        self._connections: set[Connection] = set()
        self._refusing: Refusal | None = None
        self._changes = Changes()
        self._failures: list[Exception] = []
        self._port = port
        self._prekeys = prekeys
        self._state = Path(state).absolute() if state is not None else None
        self._network, self._trust = Network(), Trust.make()
        if self._state is not None and self._state.exists():
            self._network, self._trust = load(self._state)
        self._wire = Path(wire) if wire is not None else None
        self._ca_file = Path()
        self._identity: NoiseIdentity | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self._state is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wasessionpool-testing-"))
                self._ca_file = Path(folder, "ca.pem")
            else:
                self._ca_file = self._state.with_name(self._state.name + ".pem")
                stack.callback(self.save, self._state)
            self._network.prekeys = self._prekeys
            if self._wire is not None:
                self._network.wire.open(self._wire)
                stack.callback(self._network.wire.close)
            context = make_tls_context(self._ca_file, self._trust.authority)
            self._identity = identity = make_noise_identity(self._trust.noise_root)
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listener = socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
            listener.setblocking(False)
            stack.enter_context(listener)
            self._port = listener.getsockname()[1]
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._listen, listener, tasks, context, identity)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        swallowed = await self._stack.__aexit__(kind, error, trace)
        if self._failures and error is None:
            raise ExceptionGroup("the loopback WhatsApp itself failed", self._failures)
        return swallowed

    def save(self, path: str | PathLike[str]) -> None:
        """Write all accounts, keys and queues, as they are now, to a file for a server's `state`.

        It is written whole or not at all, for its owner only. Faults are not in it, nor devices that are being paired.
        Raises StorageError.
        """
        save(Path(path), self._network, self._trust)

    @property
    def proxy_url(self) -> str:
        """The HTTP proxy through which a client reaches this server and nothing else."""
        return f"http://{self._host}:{self._port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process that loads neonize needs in its environment when it is spawned.

        Later is too late: Go reads the block that the process was started with. Raises RuntimeError before entry.
        """
        if self._identity is None:
            raise RuntimeError("the server has not been entered yet")
        return {
            "HTTPS_PROXY": self.proxy_url,
            "https_proxy": self.proxy_url,
            "NO_PROXY": "",
            "no_proxy": "",
            "SSL_CERT_FILE": str(self._ca_file),
            "SSL_CERT_DIR": "/nonexistent",
            ROOT_KEY_VARIABLE: self._identity.root_key.hex(),
        }

    def driver(self, **options: Any) -> NeonizeDriver:
        """Return a driver whose workers can reach this server only; `options` are the driver's own."""
        from wasessionpool.drivers.neonize import NeonizeDriver

        return NeonizeDriver(worker_module=WORKER_MODULE, environment=dict(self.environment), **options)

    def phone(self, number: str, name: str = "") -> Phone:
        """Return the phone of an account, made on first use."""
        return Phone(self._network, self._network.account(phone_number(number), name))

    def contact(self, number: str, name: str = "") -> Contact:
        """Return an account that writes to others, made on first use."""
        return Contact(self._network, self._network.account(phone_number(number), name))

    @property
    def accounts(self) -> tuple[str, ...]:
        """The numbers on this WhatsApp, the oldest first."""
        return tuple(self._network.accounts)

    async def group(self, subject: str, members: Sequence[str]) -> Group:
        """Make a group of the accounts of these numbers, in the name of the first; all devices of theirs hear of it.

        The accounts are made on first use. Raises ValueError for no members.
        """
        if not members:
            raise ValueError("a group needs somebody who makes it")
        accounts = [self._network.account(phone_number(number)) for number in members]
        chat = create_group(self._network, accounts[0], subject, accounts[1:])
        await anyio.lowlevel.checkpoint()
        return Group(self._network, chat)

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups, those that clients made too, oldest first."""
        return tuple(Group(self._network, chat) for chat in self._network.groups.values())

    @property
    def connected(self) -> tuple[str, ...]:
        """The numbers with a linked device that is logged in now, one for each such device."""
        return tuple(c.account.number for c in self._network.companions() if c.connection is not None)

    async def drop(self, number: str | None = None, *, reset: bool = True, stream_end: bool = False) -> int:
        """Cut the connections of one account, or all with those that are pairing, and return how many.

        By a TCP reset, or else by an end of stream without any farewell, or with the protocol's own.
        """
        if number is not None:
            return await self.phone(number).drop(reset=reset, stream_end=stream_end)
        return await super().drop(reset=reset, stream_end=stream_end)

    def refuse(self, status: int | None = None) -> None:
        """Turn away every new connection: by a TCP reset, or by this HTTP status, such as 503."""
        self._refusing = "reset" if status is None else status

    def accept(self) -> None:
        """End `refuse`."""
        self._refusing = None

    def end_faults(self) -> None:
        """End everything that was set here, and forget what has not struck yet; what was set on a phone stays."""
        super().end_faults()
        self.accept()
        self._network.refusals.clear()

    async def wait_connections(self, count: int, timeout: float = 10.0) -> None:
        """Wait until `count` connections were accepted since the start, refused ones not counted."""
        await self._changes.wait_until(
            lambda: self.connections_accepted >= count,
            timeout,
            lambda: f"{self.connections_accepted} connections within {timeout:g} s, {count} expected; {self._recent()}",
        )

    async def wait_open(self, count: int = 0, timeout: float = 10.0) -> None:
        """Wait until exactly `count` clients hold a connection, those that pair or part included."""
        await self._changes.wait_until(
            lambda: len(self._connections) == count,
            timeout,
            lambda: (
                f"{len(self._connections)} connections open after {timeout:g} s, {count} expected; {self._recent()}"
            ),
        )

    async def wait_refused(self, count: int, timeout: float = 10.0) -> None:
        """Wait until `count` connections were turned away since the start."""
        await self._changes.wait_until(
            lambda: self.tunnels_refused >= count,
            timeout,
            lambda: (
                f"{self.tunnels_refused} connections refused within {timeout:g} s, {count} expected; {self._recent()}"
            ),
        )

    def _recent(self) -> str:
        return f"last stanzas: {self._network.describe_recent()}"

    @property
    def _faults(self) -> Faults:
        return self._network.faults

    def _accounts(self) -> list[Account]:
        return list(self._network.accounts.values())

    def _open_connections(self) -> list[Connection]:
        return list(self._connections)

    async def _listen(
        self, listener: socket.socket, tasks: TaskGroup, context: ssl.SSLContext, identity: NoiseIdentity
    ) -> None:
        while True:
            await anyio.wait_readable(listener)
            with suppress(BlockingIOError, ConnectionAbortedError):
                tasks.start_soon(self._serve, TcpStream(listener.accept()[0]), context, identity)

    async def _serve(self, stream: TcpStream, context: ssl.SSLContext, identity: NoiseIdentity) -> None:
        connection: Connection | None = None
        try:
            refusal = self._refusing
            if refusal is None and self._network.refusals:
                refusal = self._network.refusals.popleft()
            if refusal is not None:
                await self._turn_away(stream, refusal)
                return
            self.connections_accepted += 1
            self._changes.notify()
            with anyio.fail_after(HANDSHAKE_TIMEOUT):
                host = await accept_tunnel(stream)
            if host == MEDIA_HOST:
                await serve_media(self._network.media, stream, context)
                return
            if host not in HOSTS:
                raise ProtocolError(f"no such host here: {host}")
            connection, peer = await open_connection(self._network, stream, context, identity)
            self._connections.add(connection)
            self._changes.notify()
            await serve_client(self._network, connection, peer, refs=self._refs)
        except WhatsAppServerError as error:
            logger.warning("a connection is closed: %s", error)
        except TimeoutError:
            logger.warning("a connection is closed: the handshake takes too long")
        except BROKEN:
            logger.debug("a client has gone during the handshake")
        except Exception as error:  # noqa: BLE001 - the server's own fault: raised where it is left, not in mid-test
            logger.exception("the loopback WhatsApp itself failed")
            self._failures.append(error)
        finally:
            stream.close()
            if connection is not None:
                self._connections.discard(connection)
                connection.closed.set()
                self._changes.notify()

    async def _turn_away(self, stream: TcpStream, refusal: Refusal) -> None:
        self.tunnels_refused += 1
        self._changes.notify()
        if isinstance(refusal, int):
            with anyio.move_on_after(HANDSHAKE_TIMEOUT):
                await refuse_tunnel(stream, refusal)
        else:
            stream.reset_on_close()
