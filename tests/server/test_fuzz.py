"""Garbage for everything that reads bytes: it raises its own errors and nothing else. Nodes are in `test_nodes`."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasessionpool.testing import PairingError
from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.certificates import make_noise_identity
from wasessionpool.testing.whatsapp.curve import KeyPair
from wasessionpool.testing.whatsapp.errors import DecryptionError, NoiseError, ProtocolError
from wasessionpool.testing.whatsapp.messages import unpad
from wasessionpool.testing.whatsapp.nodes import node
from wasessionpool.testing.whatsapp.noise import PROLOGUE, Cipher, FrameReader, Responder, frame
from wasessionpool.testing.whatsapp.pairing import QRCode
from wasessionpool.testing.whatsapp.primary import PrimaryDevice
from wasessionpool.testing.whatsapp.whatsapp_pb2 import HandshakeMessage

some = settings(deadline=None, max_examples=100)


@some
@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 50))
def test_frames_survive_any_cut(frames: list[bytes], size: int) -> None:
    stream = PROLOGUE + b"".join(map(frame, frames))
    reader = FrameReader()
    assert [f for start in range(0, len(stream), size) for f in reader.feed(stream[start : start + size])] == frames


@some
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_a_reader_of_frames_refuses_garbage_with_its_own_error(chunks: list[bytes]) -> None:
    reader = FrameReader()
    with contextlib.suppress(ProtocolError):
        for chunk in chunks:
            reader.feed(chunk)


@some
@given(st.binary(max_size=200), st.binary(max_size=100), st.binary(max_size=200))
def test_a_handshake_refuses_garbage_with_its_own_errors(raw: bytes, ephemeral: bytes, static: bytes) -> None:
    identity = make_noise_identity()
    hello = HandshakeMessage(client_hello=HandshakeMessage.ClientHello(ephemeral=ephemeral)).SerializeToString()
    finish = HandshakeMessage(client_finish=HandshakeMessage.ClientFinish(static=static)).SerializeToString()
    good = HandshakeMessage(client_hello=HandshakeMessage.ClientHello(ephemeral=KeyPair.generate().public))
    for first in (raw, hello):
        with contextlib.suppress(NoiseError, ProtocolError):
            Responder(identity.static, identity.certificate).answer(first)
    for last in (raw, finish):
        responder = Responder(identity.static, identity.certificate)
        responder.answer(good.SerializeToString())
        with pytest.raises((NoiseError, ProtocolError)):
            responder.finish(last)


@some
@given(st.binary(max_size=200))
def test_a_cipher_opens_nothing_it_did_not_seal(data: bytes) -> None:
    with pytest.raises(NoiseError):
        Cipher(bytes(32)).decrypt(data)


@some
@given(st.text(max_size=200) | st.lists(st.text("AZaz09+/=", max_size=50), max_size=6).map(",".join))
def test_a_phone_refuses_any_other_picture(text: str) -> None:
    with contextlib.suppress(PairingError):
        QRCode.parse(text)


@some
@given(st.sampled_from(["pkmsg", "msg", "", "other"]), st.binary(max_size=200))
def test_a_phone_opens_no_garbage(kind: str, body: bytes) -> None:
    phone = PrimaryDevice()
    for data in (body, b"\x33" + body):
        with pytest.raises(DecryptionError):
            phone.decrypt(JID("7779001234567", "lid", 1), node("enc", {"type": kind}, data))
        with contextlib.suppress(DecryptionError):
            unpad(data)
