from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasessionpool.testing.whatsapp.addresses import JID, SERVER
from wasessionpool.testing.whatsapp.errors import NodeError
from wasessionpool.testing.whatsapp.nodes import MAX_DEPTH, MAX_SIZE, Node, decode, encode, node

users = st.text("0123456789", min_size=1, max_size=15)
jids = st.builds(JID, users, st.sampled_from(["s.whatsapp.net", "lid"]), st.integers(0, 255)) | st.builds(
    JID, users, st.sampled_from(["g.us", "broadcast", "newsletter"]), st.just(0)
)
words = st.sampled_from(["message", "iq", "receipt", "pkmsg", "encrypt"])
packed = st.text("0123456789-.", max_size=130) | st.text("0123456789ABCDEF", max_size=130)
strings = words | packed | st.text(max_size=300)
nodes = st.recursive(
    st.builds(Node, strings, st.dictionaries(strings, strings | jids, max_size=4), st.none() | st.binary(max_size=300)),
    lambda inner: st.builds(
        Node, strings, st.dictionaries(strings, strings | jids, max_size=4), st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=12,
)
some = settings(deadline=None)


@some
@given(nodes)
def test_a_node_survives_the_wire(item: Node) -> None:
    assert decode(encode(item)) == item


@some
@given(nodes)
def test_a_compressed_node_is_read(item: Node) -> None:
    assert decode(b"\x02" + zlib.compress(encode(item)[1:])) == item


@some
@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_node_error(data: bytes) -> None:
    with contextlib.suppress(NodeError):
        decode(data)


@some
@given(nodes, st.data())
def test_damage_raises_nothing_but_node_error(item: Node, data: st.DataObject) -> None:
    frame = bytearray(encode(item))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NodeError):
        decode(bytes(frame))


def test_the_bytes_are_whatsapps() -> None:
    item = node("iq", {"from": SERVER, "type": "result", "id": "12-3"}, b"\x01")
    assert encode(item).hex(" ") == "00 f8 08 19 06 fa 00 03 04 14 08 ff 02 12 a3 fc 01 01"


@pytest.mark.parametrize(
    ("jid", "written"),
    [
        (JID("79001234567"), "fa ff 86 79 00 12 34 56 7f 03"),
        (JID("79001234567", device=3), "f7 00 03 ff 86 79 00 12 34 56 7f"),
        (JID("7779001234567", "lid", 3), "f7 01 03 ff 87 77 79 00 12 34 56 7f"),
    ],
)
def test_addresses(jid: JID, written: str) -> None:
    assert encode(node("to", {"jid": jid})).hex(" ").endswith(written)


def test_limits() -> None:
    deep = node("a")
    for _ in range(MAX_DEPTH + 1):
        deep = node("a", {}, [deep])
    bomb = b"\x02" + zlib.compress(bytes(MAX_SIZE + 1))
    for frame in (encode(deep), bomb, b"", b"\x00", encode(node("a")) + b"\x00"):
        with pytest.raises(NodeError):
            decode(frame)
    with pytest.raises(NodeError, match="no encoding"):
        encode(node("a", {"jid": JID("1", "g.us", 3)}))


def test_finding() -> None:
    item = node("a", {"jid": JID("1")}, [node("b"), node("c", {}, [node("d", {}, b"x"), node("d", {}, b"y")])])
    found = item.find("c", "d")
    assert found is not None
    assert found.data == b"x"
    assert item.find("c", "e") is None
    assert item.jid("jid") == JID("1")
    with pytest.raises(NodeError, match="no address"):
        item.jid("from")
