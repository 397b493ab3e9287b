"""A WhatsApp on loopback."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio
from anyio.abc import SocketAttribute, SocketStream

from wasessionpool.testing.whatsapp.addresses import phone_number
from wasessionpool.testing.whatsapp.certificates import HOSTS, NoiseIdentity, make_noise_identity, make_tls_context
from wasessionpool.testing.whatsapp.client import serve_client
from wasessionpool.testing.whatsapp.connection import BROKEN, HANDSHAKE_TIMEOUT, Connection, open_connection
from wasessionpool.testing.whatsapp.contact import Contact
from wasessionpool.testing.whatsapp.errors import ProtocolError, WhatsAppServerError
from wasessionpool.testing.whatsapp.network import Network, logger
from wasessionpool.testing.whatsapp.phone import Phone
from wasessionpool.testing.whatsapp.trust import ROOT_KEY_VARIABLE
from wasessionpool.testing.whatsapp.waiting import Changes
from wasessionpool.testing.whatsapp.websocket import accept_tunnel, refuse_tunnel, reset_on_close

if TYPE_CHECKING:
    from wasessionpool.drivers.neonize import NeonizeDriver

WORKER_MODULE = "wasessionpool.testing.whatsapp.worker"
_BACKLOG = 4096


class WhatsAppServer:
    """A WhatsApp that lives on loopback and speaks the real protocol to an unmodified neonize.

    Use it as an async context manager: it serves inside, in the caller's event loop, and leaves nothing behind. A fault
    of its own ends the connection concerned, and is raised as an ExceptionGroup on leaving.
    `refs` is how many pairing codes a client gets: the first of several lives 60 s, every other 20 s.
    """

    def __init__(self, *, host: str = "127.0.0.1", refs: int = 6) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"{host} is not a loopback address")
        if refs < 1:
            raise ValueError("a client needs at least one pairing code")
        self.connections_accepted = 0
        self.tunnels_refused = 0
        self._host = host
        self._refs = refs
        self._network = Network()
        self._connections: set[Connection] = set()
        self._refusing: Literal["reset"] | int | None = None
        self._changes = Changes()
        self._failures: list[Exception] = []
        self._port = 0
        self._ca_file = Path()
        self._identity: NoiseIdentity | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wasessionpool-testing-"))
            self._ca_file = Path(folder, "ca.pem")
            context = make_tls_context(self._ca_file)
            self._identity = identity = make_noise_identity()
            listener = await anyio.create_tcp_listener(local_host=self._host, local_port=0, backlog=_BACKLOG)
            self._port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
            await stack.enter_async_context(listener)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)

            async def serve(stream: SocketStream) -> None:
                await self._serve(stream, context, identity)

            tasks.start_soon(listener.serve, serve)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        swallowed = await self._stack.__aexit__(kind, error, trace)
        if self._failures and error is None:
            raise ExceptionGroup("the loopback WhatsApp itself failed", self._failures)
        return swallowed

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
    def connected(self) -> tuple[str, ...]:
        """The numbers with a linked device that is logged in now, one for each such device."""
        return tuple(c.account.number for c in self._network.companions() if c.connection is not None)

    async def drop(self, number: str | None = None, *, reset: bool = True) -> int:
        """Cut the connections of one account, or all with those that are pairing, and return how many.

        By a TCP reset, or else by an end of stream without any farewell.
        """
        if number is None:
            connections = list(self._connections)
        else:
            connections = self._network.account(phone_number(number)).connections()
        for connection in connections:
            connection.abort(reset=reset)
        for connection in connections:
            await connection.closed.wait()
        return len(connections)

    def refuse(self, status: int | None = None) -> None:
        """Turn away every new connection: by a TCP reset, or by this HTTP status, such as 503."""
        self._refusing = "reset" if status is None else status

    def accept(self) -> None:
        """End `refuse`."""
        self._refusing = None

    async def wait_connections(self, count: int, timeout: float = 10.0) -> None:
        """Wait until `count` connections were accepted since the start, refused ones not counted."""
        await self._changes.wait_until(
            lambda: self.connections_accepted >= count,
            timeout,
            lambda: f"{self.connections_accepted} connections within {timeout:g} s, {count} expected",
        )

    async def wait_open(self, count: int = 0, timeout: float = 10.0) -> None:
        """Wait until exactly `count` clients hold a connection, those that pair or part included."""
        await self._changes.wait_until(
            lambda: len(self._connections) == count,
            timeout,
            lambda: f"{len(self._connections)} connections open after {timeout:g} s, {count} expected",
        )

    async def wait_refused(self, count: int, timeout: float = 10.0) -> None:
        """Wait until `count` connections were turned away since the start."""
        await self._changes.wait_until(
            lambda: self.tunnels_refused >= count,
            timeout,
            lambda: f"{self.tunnels_refused} connections refused within {timeout:g} s, {count} expected",
        )

    async def _serve(self, stream: SocketStream, context: ssl.SSLContext, identity: NoiseIdentity) -> None:
        connection: Connection | None = None
        try:
            if self._refusing is not None:
                await self._turn_away(stream)
                return
            self.connections_accepted += 1
            self._changes.notify()
            with anyio.fail_after(HANDSHAKE_TIMEOUT):
                host = await accept_tunnel(stream)
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
            await anyio.aclose_forcefully(stream)
            if connection is not None:
                self._connections.discard(connection)
                connection.closed.set()
                self._changes.notify()

    async def _turn_away(self, stream: SocketStream) -> None:
        self.tunnels_refused += 1
        self._changes.notify()
        if isinstance(self._refusing, int):
            with anyio.move_on_after(HANDSHAKE_TIMEOUT):
                await refuse_tunnel(stream, self._refusing)
        else:
            reset_on_close(stream)
