from __future__ import annotations

from typing import Any

import pytest

from wasessionpool.testing.whatsapp.certificates import make_noise_identity
from wasessionpool.testing.whatsapp.curve import KeyPair, verify
from wasessionpool.testing.whatsapp.errors import NoiseError, ProtocolError
from wasessionpool.testing.whatsapp.noise import PROLOGUE, Cipher, FrameReader, Responder, frame
from wasessionpool.testing.whatsapp.whatsapp_pb2 import CertificateChain, HandshakeMessage


def shake_hands(initiator: Any) -> tuple[tuple[Cipher, Cipher], tuple[Cipher, Cipher]]:
    identity, client = make_noise_identity(), initiator()
    server = Responder(identity.static, identity.certificate)
    last, certificate = client.finish(server.answer(client.hello()), b"login")
    peer = server.finish(last)
    assert (peer.static_key, peer.payload) == (client.static.public, b"login")
    assert (client.server_static, certificate) == (identity.static.public, identity.certificate)
    return client.state.split(), server.split()


def test_a_handshake_and_what_follows(initiator: Any) -> None:
    (client_out, client_in), (server_in, server_out) = shake_hands(initiator)
    for text in (b"one", b"two", b""):
        assert server_in.decrypt(client_out.encrypt(text)) == text
        assert client_in.decrypt(server_out.encrypt(text)) == text


def test_a_frame_cannot_be_repeated(initiator: Any) -> None:
    (client_out, _), (server_in, _) = shake_hands(initiator)
    sealed = client_out.encrypt(b"once")
    server_in.decrypt(sealed)
    with pytest.raises(NoiseError):
        server_in.decrypt(sealed)


@pytest.mark.parametrize("message", [b"", b"\xff\xff", HandshakeMessage().SerializeToString()])
def test_a_hello_that_is_none(message: bytes) -> None:
    identity = make_noise_identity()
    with pytest.raises((NoiseError, ProtocolError)):
        Responder(identity.static, identity.certificate).answer(message)


def test_a_last_message_that_was_changed(initiator: Any) -> None:
    identity, client = make_noise_identity(), initiator()
    server = Responder(identity.static, identity.certificate)
    last, _ = client.finish(server.answer(client.hello()), b"login")
    with pytest.raises((NoiseError, ProtocolError)):
        server.finish(last[:-1] + bytes((last[-1] ^ 1,)))


def test_the_certificates_lead_to_the_root() -> None:
    identity = make_noise_identity()
    chain = CertificateChain.FromString(identity.certificate)
    details = CertificateChain.Certificate.Details
    intermediate, leaf = details.FromString(chain.intermediate.details), details.FromString(chain.leaf.details)
    assert verify(identity.root_key, chain.intermediate.details, chain.intermediate.signature)
    assert verify(intermediate.key, chain.leaf.details, chain.leaf.signature)
    assert (intermediate.issuer_serial, leaf.issuer_serial, leaf.key) == (
        0,
        intermediate.serial,
        identity.static.public,
    )


def test_signatures() -> None:
    for _ in range(20):
        keys = KeyPair.generate()
        signature = keys.sign(b"text")
        assert verify(keys.public, b"text", signature)
        assert not verify(keys.public, b"other", signature)
        assert not verify(KeyPair.generate().public, b"text", signature)
    assert not verify(bytes(31) + b"\x80", b"text", bytes(64))
    assert not verify(b"", b"text", b"")


def test_frames_are_cut_wherever_the_bytes_break() -> None:
    stream = PROLOGUE + frame(b"one") + frame(b"") + frame(b"x" * 70_000)
    for size in (1, 3, 5, 1000, len(stream)):
        reader = FrameReader()
        frames = [f for start in range(0, len(stream), size) for f in reader.feed(stream[start : start + size])]
        assert frames == [b"one", b"", b"x" * 70_000]
    with pytest.raises(ProtocolError):
        FrameReader().feed(b"GET / HTTP/1.1")
