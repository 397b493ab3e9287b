"""One client from its login on: what each of its stanzas brings about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.addresses import JID, SERVER
from wasessionpool.testing.whatsapp.app_state import share_key
from wasessionpool.testing.whatsapp.connection import LONG_PATIENCE, Connection
from wasessionpool.testing.whatsapp.errors import IQError, ProtocolError
from wasessionpool.testing.whatsapp.link_code import LinkRequest
from wasessionpool.testing.whatsapp.network import Companion, Network, logger
from wasessionpool.testing.whatsapp.nodes import Node, Value, node
from wasessionpool.testing.whatsapp.pairing import Codes, Pairing
from wasessionpool.testing.whatsapp.queries import Query, answer
from wasessionpool.testing.whatsapp.receipts import route_receipt
from wasessionpool.testing.whatsapp.routing import route_message
from wasessionpool.testing.whatsapp.stanzas import REPLACED, ack, iq_error, login_failure, now, result
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
    link = LinkRequest(network, connection, pairing)
    pairing.offer()

    def handle(stanza: Node) -> None:
        if stanza.tag == "iq":
            _answer_or_take(connection, stanza, lambda: link.answer(stanza))

    try:
        await connection.run(handle)
    finally:
        pairing.withdraw()
        link.withdraw()


async def _log_in(network: Network, connection: Connection, peer: Peer, payload: ClientPayload) -> None:
    companion = network.companion(JID(str(payload.username), device=payload.device))
    if companion is None or companion.noise_key != peer.static_key:
        await _turn_away(network, connection, payload, login_failure(401, location="loopback"))
        return
    faults = companion.account.faults
    if faults.refusing.value:
        companion.account.refused_logins += 1
        companion.account.changes.notify()
        connection.abort()
        return
    failure = faults.logins.take()
    if failure is not None:
        await _turn_away(network, connection, payload, failure)
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
    connection.end(LONG_PATIENCE)
    await connection.run(lambda _: None)


class _Session:
    def __init__(self, network: Network, connection: Connection, companion: Companion) -> None:
        self._network = network
        self._connection = connection
        self._companion = companion

    def begin(self) -> None:
        companion, connection = self._companion, self._connection
        if companion.connection is not None:
            if companion.connection.is_held:
                companion.account.overlapping_logins += 1
                logger.warning("%s logs in a second time, its link is up", companion.lid)
            companion.connection.send(REPLACED)
            companion.connection.end()
        connection.faults = companion.account.faults
        connection.client = f"{companion.account.number}:{companion.device}"
        companion.logins += 1
        companion.account.logins += 1
        connection.send(node("success", {"t": now(), "lid": companion.lid}))
        self._send_queue()
        companion.connection = connection
        if companion.logins == 1:
            share_key(companion)
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
                self._take_message(stanza)
            case "receipt":
                connection.send(route_receipt(self._network, companion, stanza))
            case "ack":
                companion.take_ack(stanza)
            case "chatstate":
                self._pass_on_typing(stanza)
            case "call":
                connection.send(ack(stanza))

    def _pass_on_typing(self, stanza: Node) -> None:
        """Show the devices of another account that are online that someone writes; WhatsApp keeps it for no other."""
        to = stanza.attrs.get("to")
        account = self._network.find(to) if isinstance(to, JID) else None
        for connection in account.connections() if account is not None else ():
            connection.send(node("chatstate", {"from": self._companion.lid}, stanza.children))

    def _take_message(self, stanza: Node) -> None:
        faults = self._companion.account.faults
        error = faults.sends.take()
        if error is not None:
            self._connection.send(ack(stanza, error=error))
            return
        acknowledgement = route_message(self._network, self._companion, stanza)
        if faults.acks_withheld.value:
            return
        if faults.ack_delay.value:
            self._connection.send_later(acknowledgement, faults.ack_delay.value)
        else:
            self._connection.send(acknowledgement)

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
        try:
            answered = result(iq, content())
        except IQError as error:
            answered = iq_error(iq, error.code, error.text)
        if not connection.faults.withholds(iq):
            connection.send(answered)
    else:
        connection.answered(iq)
