"""One client from its login on: what each of its stanzas brings about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.addresses import JID, SERVER
from wasessionpool.testing.whatsapp.connection import Connection
from wasessionpool.testing.whatsapp.errors import ProtocolError
from wasessionpool.testing.whatsapp.network import Companion, Network
from wasessionpool.testing.whatsapp.nodes import Node, Value, node
from wasessionpool.testing.whatsapp.pairing import Codes, Pairing
from wasessionpool.testing.whatsapp.queries import Query, answer
from wasessionpool.testing.whatsapp.routing import route_message, route_receipt
from wasessionpool.testing.whatsapp.stanzas import REPLACED, ack, login_failure, now, result
from wasessionpool.testing.whatsapp.whatsapp_pb2 import ClientPayload

if TYPE_CHECKING:
    from wasessionpool.testing.whatsapp.noise import Peer


async def serve_client(network: Network, connection: Connection, peer: Peer, *, refs: int) -> None:
    """Pair or log in a client and serve it until it goes. Raises WhatsAppServerError when it breaks the protocol."""
    try:
        payload = ClientPayload.FromString(peer.payload)
    except DecodeError:
        raise ProtocolError("a login that cannot be read") from None
    if payload.HasField("registration"):
        await _pair(network, connection, peer, payload, refs)
    else:
        await _log_in(network, connection, peer, payload)


async def _pair(network: Network, connection: Connection, peer: Peer, payload: ClientPayload, refs: int) -> None:
    pairing = Pairing(network, connection, peer.static_key, payload, Codes(refs, anyio.current_time()))
    pairing.offer()

    def handle(stanza: Node) -> None:
        if stanza.tag == "iq":
            _answer_or_take(connection, stanza, list)

    try:
        await connection.run(handle)
    finally:
        pairing.withdraw()


async def _log_in(network: Network, connection: Connection, peer: Peer, payload: ClientPayload) -> None:
    companion = network.companion(JID(str(payload.username), device=payload.device))
    if companion is None or companion.noise_key != peer.static_key:
        await _turn_away(network, connection, payload, login_failure(401, location="loopback"))
        return
    faults = companion.account.faults
    if faults.login_failures:
        await _turn_away(network, connection, payload, faults.login_failures.popleft())
        return
    session = _Session(network, connection, companion)
    session.begin()
    try:
        await connection.run(session.handle)
    finally:
        session.finish()


async def _turn_away(network: Network, connection: Connection, payload: ClientPayload, failure: Node) -> None:
    account = network.accounts.get(str(payload.username))
    if account is not None:
        account.refused_logins += 1
        account.changes.notify()
    connection.send(failure)
    connection.end()
    await connection.run(lambda _: None)


class _Session:
    def __init__(self, network: Network, connection: Connection, companion: Companion) -> None:
        self._network = network
        self._connection = connection
        self._companion = companion

    def begin(self) -> None:
        companion, connection = self._companion, self._connection
        if companion.connection is not None:
            companion.connection.send(REPLACED)
            companion.connection.end()
        connection.silent = companion.account.faults.silent
        companion.logins += 1
        companion.account.logins += 1
        connection.send(node("success", {"t": now(), "lid": companion.lid}))
        self._send_queue()
        companion.connection = connection
        companion.account.changes.notify()

    def finish(self) -> None:
        if self._companion.connection is self._connection:
            self._companion.connection = None
        self._companion.account.changes.notify()

    def handle(self, stanza: Node) -> None:
        connection, companion = self._connection, self._companion
        match stanza.tag:
            case "iq":
                _answer_or_take(connection, stanza, lambda: answer(Query(self._network, companion, stanza)))
            case "message":
                acknowledgement = route_message(self._network, companion, stanza)
                if not companion.account.faults.withhold_acks:
                    connection.send(acknowledgement)
            case "receipt":
                connection.send(route_receipt(self._network, companion, stanza))
            case "ack":
                companion.acknowledge(stanza.text("class"), stanza.text("id"), stanza.text("type"))
            case "call":
                connection.send(ack(stanza))

    def _send_queue(self) -> None:
        queue = self._companion.pending
        counts: dict[str, Value] = {
            kind: str(sum(stanza.tag == tag for stanza in queue))
            for kind, tag in (("message", "message"), ("receipt", "receipt"), ("notification", "notification"))
        }
        total = str(len(queue))
        preview = node("offline_preview", {"count": total, "appdata": "0", "call": "0", **counts})
        self._connection.send(node("ib", {"from": SERVER}, [preview]))
        for stanza in queue:
            self._connection.send(Node(stanza.tag, {**stanza.attrs, "offline": "0"}, stanza.content))
        self._connection.send(node("ib", {"from": SERVER}, [node("offline", {"count": total})]))


def _answer_or_take(connection: Connection, iq: Node, content: Callable[[], list[Node]]) -> None:
    if iq.text("type") in ("get", "set"):
        connection.send(result(iq, content()))
    else:
        connection.answered(iq)
