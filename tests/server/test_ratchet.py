from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasessionpool.testing.whatsapp.addresses import JID, lid_of
from wasessionpool.testing.whatsapp.content import read_content
from wasessionpool.testing.whatsapp.curve import KeyPair
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.messages import pad, unpad
from wasessionpool.testing.whatsapp.nodes import Node, node
from wasessionpool.testing.whatsapp.primary import PrimaryDevice
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

ANN, BOB = lid_of("79001234567"), lid_of("79007654321")
some = settings(deadline=None)


class Party:
    def __init__(self, own: JID, other: JID) -> None:
        self.own, self.other = own, other
        self.device = PrimaryDevice()

    def write(self, to: Party, text: str) -> Node:
        return self.device.encrypt(self.other, Message(conversation=text), to.device.take_bundle)

    def read(self, sealed: Node) -> tuple[str, str]:
        kind, message = self.device.decrypt(self.other, sealed)
        return kind, read_content(message).text


def parties() -> tuple[Party, Party]:
    return Party(ANN, BOB), Party(BOB, ANN)


def test_a_session_is_opened_once_and_then_goes_on() -> None:
    ann, bob = parties()
    assert bob.read(ann.write(bob, "1")) == ("pkmsg", "1")
    assert bob.read(ann.write(bob, "2")) == ("pkmsg", "2")
    assert ann.read(bob.write(ann, "3")) == ("msg", "3")
    assert bob.read(ann.write(bob, "4")) == ("msg", "4")


@some
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=25), st.randoms(use_true_random=False))
def test_any_interleaving_is_read(steps: list[tuple[bool, bool]], random: object) -> None:
    """Both may write at once, and messages may wait and arrive in any order."""
    ann, bob = parties()
    waiting: dict[bool, list[tuple[str, Node]]] = {True: [], False: []}
    for number, (by_ann, deliver) in enumerate(steps):
        sender, receiver = (ann, bob) if by_ann else (bob, ann)
        waiting[by_ann].append((str(number), sender.write(receiver, str(number))))
        if deliver:
            random.shuffle(waiting[by_ann])  # type: ignore[attr-defined]
            for text, sealed in waiting[by_ann]:
                assert receiver.read(sealed)[1] == text
            waiting[by_ann].clear()
    for by_ann, rest in waiting.items():
        for text, sealed in rest:
            assert (bob if by_ann else ann).read(sealed)[1] == text


def test_a_message_is_read_once() -> None:
    ann, bob = parties()
    first = ann.write(bob, "once")
    bob.read(first)
    with pytest.raises(DecryptionError, match="opened before"):
        bob.read(first)
    assert bob.read(ann.write(bob, "next"))[1] == "next"


@some
@given(st.integers(0, 200), st.integers(1, 255))
def test_damage_is_noticed_and_does_no_harm(position: int, change: int) -> None:
    ann, bob = parties()
    bob.read(ann.write(bob, "1"))
    ann.read(bob.write(ann, "2"))
    sealed = ann.write(bob, "3")
    body = bytearray(sealed.data)
    body[position % len(body)] ^= change
    with pytest.raises(DecryptionError):
        bob.read(node("enc", sealed.attrs, bytes(body)))
    assert bob.read(sealed)[1] == "3"


@some
@given(st.sampled_from(["pkmsg", "msg", "skmsg"]), st.binary(max_size=200))
def test_garbage_is_no_message(kind: str, body: bytes) -> None:
    _, bob = parties()
    with pytest.raises(DecryptionError):
        bob.read(node("enc", {"type": kind}, b"\x33" + body))


def test_a_message_too_far_ahead_is_refused() -> None:
    ann, bob = parties()
    for _ in range(2002):
        late = ann.write(bob, "x")
    with pytest.raises(DecryptionError, match="future"):
        bob.read(late)


def test_padding() -> None:
    message = Message(conversation="text")
    assert {len(pad(message)) - message.ByteSize() for _ in range(500)} == set(range(1, 16))
    assert unpad(pad(message)) == message
    for bad in (b"", b"\x00", b"\x05\x05"):
        with pytest.raises(DecryptionError):
            unpad(bad)


def test_agreement_needs_a_good_key() -> None:
    with pytest.raises(ValueError, match="shared key"):
        KeyPair.generate().agree(bytes(32))
