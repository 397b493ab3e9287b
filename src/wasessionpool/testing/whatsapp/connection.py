"""One client's link after the Noise handshake: nodes in, nodes out."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from wasessionpool.testing.whatsapp.addresses import SERVER
from wasessionpool.testing.whatsapp.network import Network, logger
from wasessionpool.testing.whatsapp.nodes import Node, Value, decode, encode, node
from wasessionpool.testing.whatsapp.noise import Cipher, FrameReader, Peer, Responder, frame
from wasessionpool.testing.whatsapp.tcp import TcpStream
from wasessionpool.testing.whatsapp.websocket import WebSocket

if TYPE_CHECKING:
    from wasessionpool.testing.whatsapp.certificates import NoiseIdentity

HANDSHAKE_TIMEOUT = 20.0
PATIENCE = 0.5
LONG_PATIENCE = 5.0
"""For what makes every client close by itself."""

BROKEN = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError, OSError)


class Connection:
    """A client that has proven its static key."""

    def __init__(
        self,
        network: Network,
        tcp: TcpStream,
        websocket: WebSocket,
        frames: FrameReader,
        waiting: list[bytes],
        ciphers: tuple[Cipher, Cipher],
    ) -> None:
        self.faults = network.faults
        self.client = "unlinked"
        self.closed = anyio.Event()
        self._network = network
        self._tcp = tcp
        self._websocket = websocket
        self._frames = frames
        self._waiting = waiting
        self._incoming, self._outgoing = ciphers
        self._scope = anyio.CancelScope()
        self._tasks: TaskGroup | None = None
        self._request_ids = itertools.count(1)
        self._requests: dict[str, Callable[[Node], None]] = {}
        self._ending = False
        websocket.pace = lambda: self.faults.bytes_per_second.value

    @property
    def is_open(self) -> bool:
        return not self._ending and not self.closed.is_set()

    @property
    def is_held(self) -> bool:
        """Whether the client still holds its end, and this end has not begun to close."""
        return self.is_open and self._websocket.is_whole

    def send(self, stanza: Node) -> None:
        """Queue a stanza. Nothing happens on a connection that ends."""
        if not self.is_open or self.faults.silent.value:
            return
        self._network.wire.note("→", self.client, stanza)
        try:
            self._websocket.send(frame(self._outgoing.encrypt(encode(stanza))))
        except anyio.BrokenResourceError:
            logger.warning("a client that reads nothing is disconnected")
            self.abort()

    def send_later(self, stanza: Node, seconds: float) -> None:
        """Queue a stanza after some time, unless the connection is over by then."""

        async def wait_and_send() -> None:
            await anyio.sleep(seconds)
            self.send(stanza)

        if self._tasks is not None:
            self._tasks.start_soon(wait_and_send)

    def request(self, attrs: dict[str, Value], content: list[Node], on_answer: Callable[[Node], None]) -> None:
        """Send an `<iq>` of type set, and call `on_answer` with the client's result or error."""
        request_id = f"server-{next(self._request_ids)}"
        self._requests[request_id] = on_answer
        self.send(node("iq", {"from": SERVER, "type": "set", "id": request_id, **attrs}, content))

    def answered(self, stanza: Node) -> None:
        """Give the client's answer to whoever asked; an answer to nothing is ignored."""
        on_answer = self._requests.pop(stanza.text("id"), None)
        if on_answer is not None:
            on_answer(stanza)

    def end(self, patience: float = PATIENCE) -> None:
        """Close after everything that is queued was sent, and the client has had `patience` seconds to close itself.

        It handles stanzas apart from the stream: an end of stream right behind an error can overtake the error.
        """
        self._ending = True
        self._websocket.end(patience)

    def abort(self, *, reset: bool = True) -> None:
        """Close the TCP connection at once, by a reset or by an end of stream."""
        self._ending = True
        if reset and not self.closed.is_set():
            self._tcp.reset_on_close()
        self._scope.cancel()

    async def run(self, handle: Callable[[Node], None]) -> None:
        """Give each stanza to `handle` until the connection is over.

        Raises NoiseError, NodeError, ProtocolError, and what `handle` raises.
        """
        failure: Exception | None = None
        with self._scope:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._write, tasks.cancel_scope)
                try:
                    await self._read(handle)
                except Exception as error:  # noqa: BLE001 - raised below: out of a task group it would come in a group
                    failure = error
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _read(self, handle: Callable[[Node], None]) -> None:
        frames = self._waiting
        while True:
            for sealed in frames:
                plain = self._incoming.decrypt(sealed)
                if self._ending or self.faults.silent.value:
                    continue
                stanza = decode(plain)
                self._network.wire.note("←", self.client, stanza)
                handle(stanza)
            try:
                frames = self._frames.feed(await self._websocket.receive())
            except BROKEN:
                return

    async def _write(self, scope: anyio.CancelScope) -> None:
        try:
            await self._websocket.write()
        except BROKEN:
            logger.debug("a client has gone while it was written to")
        scope.cancel()


async def open_connection(
    network: Network, tcp: TcpStream, context: ssl.SSLContext, identity: NoiseIdentity
) -> tuple[Connection, Peer]:
    """Do all handshakes on a connection that has passed the proxy.

    Raises TimeoutError, WhatsAppServerError or one of `BROKEN`.
    """
    with anyio.fail_after(HANDSHAKE_TIMEOUT):
        websocket = WebSocket(tcp, context)
        await websocket.accept()
        frames = FrameReader()
        waiting: list[bytes] = []

        async def next_frame() -> bytes:
            while not waiting:
                waiting.extend(frames.feed(await websocket.receive()))
            return waiting.pop(0)

        responder = Responder(identity.static, identity.certificate)
        websocket.send(frame(responder.answer(await next_frame())))
        peer = responder.finish(await next_frame())
    return Connection(network, tcp, websocket, frames, waiting, responder.split()), peer
