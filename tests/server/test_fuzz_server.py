"""Garbage at every layer of a live server: it stays up, its errors are its own, and another client notices nothing."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import ByteStream, SocketStream
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.streams.tls import TLSStream
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import parse_uri

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp import queries
from wasessionpool.testing.whatsapp.addresses import JID, SERVER
from wasessionpool.testing.whatsapp.curve import KeyPair
from wasessionpool.testing.whatsapp.media import MEDIA_HOST
from wasessionpool.testing.whatsapp.network import Companion, DeviceKeys
from wasessionpool.testing.whatsapp.nodes import Node, decode, encode, node
from wasessionpool.testing.whatsapp.noise import PROLOGUE, Cipher, FrameReader, frame
from wasessionpool.testing.whatsapp.whatsapp_pb2 import ClientPayload

OWN = "79686484488"
FUZZED = "79686484499"
LID = JID(f"77{OWN}", "lid")

payloads = st.lists(st.binary(max_size=300), max_size=6)
few = settings(deadline=None, max_examples=40)


class Client:
    """A WhatsApp client as far as is needed to misbehave in any of its layers."""

    def __init__(self, whatsapp: WhatsAppServer, make_initiator: Callable[[], Any]) -> None:
        self.host = "web.whatsapp.com"
        self._whatsapp = whatsapp
        self._initiator = make_initiator()
        self._websocket = ClientProtocol(parse_uri("wss://web.whatsapp.com/ws/chat"))
        self._frames = FrameReader()
        self._frames.feed(PROLOGUE)
        self._waiting: list[bytes] = []
        self.tcp: SocketStream
        self.stream: ByteStream
        self.outgoing: Cipher
        self.incoming: Cipher

    async def dial(self) -> None:
        address = urlsplit(self._whatsapp.proxy_url)
        self.tcp = self.stream = await anyio.connect_tcp(address.hostname or "", address.port or 0)

    async def open_tunnel(self) -> None:
        await self.dial()
        await self.tcp.send(f"CONNECT {self.host}:443 HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        await self.tcp.receive()

    async def open_tls(self) -> None:
        await self.open_tunnel()
        context = ssl.create_default_context(cafile=self._whatsapp.environment["SSL_CERT_FILE"])
        self.stream = await TLSStream.wrap(self.tcp, hostname=self.host, ssl_context=context, standard_compatible=False)

    async def open_websocket(self) -> None:
        await self.open_tls()
        self._websocket.send_request(self._websocket.connect())
        await self.flush()
        self._websocket.receive_data(await self.stream.receive())
        self._websocket.events_received()

    async def flush(self) -> None:
        await self.stream.send(b"".join(self._websocket.data_to_send()))

    async def send(self, data: bytes) -> None:
        self._websocket.send_binary(data)
        await self.flush()

    async def next_frame(self) -> bytes:
        while not self._waiting:
            self._websocket.receive_data(await self.stream.receive())
            for event in self._websocket.events_received():
                if isinstance(event, Frame):
                    self._waiting += self._frames.feed(event.data)
        return self._waiting.pop(0)

    async def say_hello(self) -> None:
        await self.open_websocket()
        await self.send(PROLOGUE + frame(self._initiator.hello()))

    async def log_in(self, payload: bytes) -> None:
        await self.say_hello()
        last, _ = self._initiator.finish(await self.next_frame(), payload)
        await self.send(frame(last))
        self.outgoing, self.incoming = self._initiator.state.split()

    async def log_in_as(self, number: str) -> None:
        companion = link(self._whatsapp, number, self._initiator.static.public)
        await self.log_in(ClientPayload(username=int(number), device=companion.device).SerializeToString())
        assert (await self.next_node()).tag == "success"

    async def send_node(self, item: Node) -> None:
        await self.send(frame(self.outgoing.encrypt(encode(item))))

    async def next_node(self) -> Node:
        return decode(self.incoming.decrypt(await self.next_frame()))

    async def ping(self, number: int) -> None:
        """Ask for a keepalive, and wait for its answer."""
        await self.send_node(node("iq", {"xmlns": "w:p", "type": "get", "to": SERVER, "id": str(number)}))
        with anyio.fail_after(20):
            while (answer := await self.next_node()).text("id") != str(number):
                pass
        assert (answer.tag, answer.text("type")) == ("iq", "result")

    async def part(self) -> None:
        """Say no more, and wait until the server has closed its side too."""
        with anyio.fail_after(10), contextlib.suppress(*GONE):
            await self.tcp.send_eof()
            while True:
                await self.tcp.receive()
        await anyio.aclose_forcefully(self.tcp)


GONE = (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError, OSError)


def link(whatsapp: WhatsAppServer, number: str, noise_key: bytes) -> Companion:
    """Make a linked device without a pairing."""
    identity, prekey = KeyPair.generate(), KeyPair.generate()
    keys = DeviceKeys(1, identity.public, 1, prekey.public, identity.sign(prekey.typed_public))
    return whatsapp._network.account(number).link(noise_key, keys, "Fuzz")


@dataclass
class World:
    """A live server, and a client of it that only wants to be left in peace."""

    whatsapp: WhatsAppServer
    bystander: Client
    portal: BlockingPortal
    make_initiator: Callable[[], Any]
    attacks: int = 0

    def attack(self, how: Callable[[Client], Any]) -> None:
        self.portal.call(self._attack, how)

    async def _attack(self, how: Callable[[Client], Any]) -> None:
        client = Client(self.whatsapp, self.make_initiator)
        try:
            await how(client)
        except GONE:
            pass
        finally:
            await client.part()
        account = self.whatsapp._network.account(FUZZED)
        for companion in list(account.companions.values()):
            account.unlink(companion)
        account.last_device = 0
        self.attacks += 1
        await self.bystander.ping(self.attacks)
        failures = self.whatsapp._failures[:]
        self.whatsapp._failures.clear()
        assert failures == []


@pytest.fixture(scope="module")
def world(initiator: Callable[[], Any]) -> Iterator[World]:
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        whatsapp = stack.enter_context(portal.wrap_async_context_manager(WhatsAppServer()))
        whatsapp.contact("79001234567")
        bystander = Client(whatsapp, initiator)
        portal.call(bystander.log_in_as, OWN)
        yield World(whatsapp, bystander, portal, initiator)
        portal.call(bystander.part)


@few
@given(chunks=payloads)
@pytest.mark.parametrize("layer", ["dial", "open_tunnel", "open_tls", "open_websocket"])
def test_garbage_on_the_wire(world: World, layer: str, chunks: list[bytes]) -> None:
    async def attack(client: Client) -> None:
        await getattr(client, layer)()
        for chunk in chunks:
            await client.stream.send(chunk)

    world.attack(attack)


@few
@given(chunks=payloads, prologue=st.sampled_from([b"", PROLOGUE]), framed=st.booleans())
def test_garbage_for_frames(world: World, chunks: list[bytes], prologue: bytes, framed: bool) -> None:
    async def attack(client: Client) -> None:
        await client.open_websocket()
        await client.send(prologue)
        for chunk in chunks:
            await client.send(frame(chunk) if framed else chunk)

    world.attack(attack)


requests = st.builds(
    lambda method, path, headers, body: b"\r\n".join([b"%s /%s HTTP/1.1" % (method, path), *headers, b"", body]),
    st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"CONNECT", b"\xff"]),
    st.sampled_from([b"", b"mms/image/x?auth=", b"v/1?hash=&x", b"mms/" + bytes(range(128, 140))]),
    st.lists(
        st.sampled_from(
            [
                *(b"Host: h", b"Content-Length: 3", b"Content-Length: -1", b"Transfer-Encoding: chunked", b": x"),
                *(b"Connection: close", b"Connection: upgrade", b"Upgrade: x", b"Expect: 100-continue"),
            ]
        ),
        max_size=4,
    ),
    st.binary(max_size=60) | st.just(b"3\r\nabc\r\n0\r\n\r\n"),
)


@few
@given(said=st.lists(requests | st.binary(max_size=100), max_size=4))
def test_garbage_for_the_host_of_files(world: World, said: list[bytes]) -> None:
    async def attack(client: Client) -> None:
        client.host = MEDIA_HOST
        await client.open_tls()
        for request in said:
            await client.stream.send(request)

    world.attack(attack)


@few
@given(data=st.binary(max_size=200))
def test_garbage_for_the_end_of_a_handshake(world: World, data: bytes) -> None:
    async def attack(client: Client) -> None:
        await client.say_hello()
        await client.send(frame(data))

    world.attack(attack)


registrations = st.builds(
    lambda values: ClientPayload(registration=ClientPayload.Registration(**values)).SerializeToString(),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            [field.name for field in ClientPayload.Registration.DESCRIPTOR.fields], st.binary(max_size=70)
        ),
    ),
)
logins = st.builds(
    lambda user, device: ClientPayload(username=user, device=device).SerializeToString(),
    st.integers(0, 2**64 - 1) | st.just(int(FUZZED)),
    st.integers(0, 2**32 - 1),
)


@few
@given(payload=st.binary(max_size=200) | registrations | logins)
def test_garbage_for_a_login(world: World, payload: bytes) -> None:
    world.attack(lambda client: client.log_in(payload))


@few
@given(chunks=payloads, sealed=st.booleans())
def test_garbage_from_a_device_that_is_logged_in(world: World, chunks: list[bytes], sealed: bool) -> None:
    async def attack(client: Client) -> None:
        await client.log_in_as(FUZZED)
        for chunk in chunks:
            await client.send(frame(client.outgoing.encrypt(b"\x00" + chunk) if sealed else chunk))

    world.attack(attack)


def _stanzas() -> st.SearchStrategy[Node]:
    """Well-written stanzas, of words that the server itself knows, in an order that means nothing."""
    sources = (path.read_text("utf-8") for path in Path(queries.__file__).parent.glob("*.py"))
    known = sorted({word for source in sources for word in re.findall(r'"([a-z][a-z_:-]*)"', source)})
    odd = [SERVER, JID("1-2", "g.us"), JID("", "g.us"), JID("x", "lid"), JID("status", "broadcast")]
    jids = st.sampled_from(odd) | st.sampled_from(
        [LID, LID.with_device(1), JID(OWN), JID(FUZZED), JID(f"77{FUZZED}", "lid", 1), JID("79001234567", device=99)]
    )
    words = st.sampled_from(known)
    values = words | jids | st.text(max_size=12) | st.integers(-1, 2**40).map(str)
    names = st.sampled_from(["id", "to", "from", "type", "participant", "recipient", "jid", "count", "t", "version"])
    attrs = st.dictionaries(names | words, values, max_size=5)
    contents = st.none() | st.binary(max_size=80) | st.sampled_from([b"", b"\x05", b"\x33", b"79001234567", bytes(32)])
    inner = st.recursive(
        st.builds(Node, words, attrs, contents),
        lambda children: st.builds(Node, words, attrs, st.lists(children, min_size=1, max_size=4).map(tuple)),
        max_leaves=10,
    )
    asked = st.builds(
        lambda query, head, children, rest: node(
            "iq",
            {"id": "1", "xmlns": query[0], "type": query[1], **head},
            [node(query[2], rest, children), *children] if query[2] else children,
        ),
        st.sampled_from(sorted(queries.ANSWERS)),
        st.dictionaries(st.sampled_from(["to", "target", "id"]), values, max_size=2),
        st.lists(inner, max_size=4),
        attrs,
    )
    enc = st.builds(
        lambda kind, more, body: node("enc", {"type": kind, **more}, body),
        st.sampled_from(["pkmsg", "msg", "skmsg", "other"]),
        attrs,
        st.binary(max_size=80).map(lambda body: b"\x33" + body) | st.binary(max_size=80),
    )
    parts = st.builds(lambda jid, body: node("to", {"jid": jid}, [body]), jids, enc | inner)
    message = st.builds(
        lambda to, more, body, sealed, rest: node(
            "message", {"id": "1", "to": to, **more}, [node("participants", {}, body), *sealed, *rest]
        ),
        jids,
        attrs,
        st.lists(parts, max_size=3),
        st.lists(enc, max_size=1),
        st.lists(inner, max_size=2),
    )
    head = st.sampled_from(["message", "iq", "receipt", "ack", "call", "presence", "chatstate", "notification", "ib"])
    other = st.builds(
        lambda tag, to, more, children: node(tag, {"id": "1", "to": to, **more}, children),
        head,
        jids,
        st.dictionaries(names, values, max_size=5),
        st.lists(inner, max_size=4),
    )
    return asked | message | other


@pytest.mark.timeout(400)  # a failing example is made small for up to five minutes
@settings(deadline=None, max_examples=150)
@given(items=st.lists(_stanzas(), min_size=1, max_size=5))
def test_nonsense_from_a_device_that_is_logged_in(world: World, items: list[Node]) -> None:
    async def attack(client: Client) -> None:
        await client.log_in_as(FUZZED)
        for item in items:
            await client.send_node(item)

    world.attack(attack)


def _register() -> bytes:
    identity, prekey = KeyPair.generate(), KeyPair.generate()
    registration = ClientPayload.Registration(
        registration_id=bytes(4),
        key_type=b"\x05",
        identity=identity.public,
        signed_prekey_id=bytes(3),
        signed_prekey=prekey.public,
        signed_prekey_signature=identity.sign(prekey.typed_public),
    )
    return ClientPayload(registration=registration).SerializeToString()


link_stanzas = st.builds(
    lambda jid, stage, parts: node(
        "iq",
        {"id": "1", "xmlns": "md", "type": "set", "to": SERVER},
        [
            node(
                "link_code_companion_reg",
                {"stage": stage, **jid},
                [node(f"link_code_pairing_{tag}", {}, data) for tag, data in parts],
            )
        ],
    ),
    st.dictionaries(st.just("jid"), st.sampled_from([JID(OWN), JID("79991234567"), JID("x", "lid"), "text"])),
    st.sampled_from(["companion_hello", "companion_finish", "other"]),
    st.lists(
        st.tuples(
            st.sampled_from(["wrapped_companion_ephemeral_pub", "wrapped_key_bundle", "companion_identity", "ref"]),
            st.binary(max_size=100) | st.just(bytes(80)),
        ),
        max_size=4,
    ),
)


@few
@given(items=st.lists(link_stanzas | _stanzas(), min_size=1, max_size=5))
def test_nonsense_from_a_device_that_is_being_linked(world: World, items: list[Node]) -> None:
    async def attack(client: Client) -> None:
        await client.log_in(_register())
        assert (await client.next_node()).find("pair-device") is not None
        for item in items:
            await client.send_node(item)

    world.attack(attack)
