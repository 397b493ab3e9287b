from __future__ import annotations

import pytest

from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.sender_keys import MAX_SKIPPED, ReceivedSenderKey, SenderKey


def test_messages_open_in_any_order_and_once() -> None:
    own = SenderKey()
    other = ReceivedSenderKey.parse(own.distribution())
    sealed = [own.encrypt(b"message %d" % number) for number in range(6)]
    for number in (0, 3, 1, 5, 4, 2):
        assert other.decrypt(sealed[number]) == b"message %d" % number
    for number in (0, 5):
        with pytest.raises(DecryptionError, match="opened before"):
            other.decrypt(sealed[number])
    assert other.skipped == {}


def test_a_late_member_reads_from_then_on() -> None:
    own = SenderKey()
    early = own.encrypt(b"early")
    other = ReceivedSenderKey.parse(own.distribution())
    assert other.decrypt(own.encrypt(b"late")) == b"late"
    with pytest.raises(DecryptionError, match="opened before"):
        other.decrypt(early)


def test_what_does_not_open() -> None:
    own = SenderKey()
    other = ReceivedSenderKey.parse(own.distribution())
    sealed = own.encrypt(b"message")
    for position in (0, 20, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(DecryptionError):
            other.decrypt(bytes(changed))
    with pytest.raises(DecryptionError, match="another key"):
        other.decrypt(SenderKey().encrypt(b"message"))
    for body in (b"", b"\x33", b"\x33\xff\xff", b"\x22" + own.distribution()[1:]):
        with pytest.raises(DecryptionError, match="cannot be read"):
            ReceivedSenderKey.parse(body)
    assert other.decrypt(sealed) == b"message"


def test_too_far_in_the_future() -> None:
    own = SenderKey()
    other = ReceivedSenderKey.parse(own.distribution())
    own._chain.iteration = MAX_SKIPPED + 1
    with pytest.raises(DecryptionError, match="too far"):
        other.decrypt(own.encrypt(b"message"))
