from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasessionpool.drivers.neonize.wire import (
    COMMANDS,
    MAX_FRAME,
    REPORTS,
    Answer,
    Command,
    Credit,
    Failure,
    FrameDecoder,
    FrameError,
    Happened,
    Hello,
    Log,
    Perform,
    Quit,
    Report,
    SendText,
    Sent,
    Start,
    UnknownFrame,
    encode,
)
from wasessionpool.links import LinkEnded, PairingCodeOffered, PairingOffered
from wasessionpool.messages import MAX_TEXT
from wasessionpool.models import DisconnectReason

some = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FRAMES: list[Report] = [
    Hello(neonize="0.5.2"),
    Happened(session="a:main:1", event=PairingOffered(text="code", lifetime=60)),
    Happened(
        session="a:main:1",
        event=LinkEnded(reason=DisconnectReason.TEMPORARILY_BANNED, until=datetime(2026, 1, 2, tzinfo=UTC)),
    ),
    Answer(call=1, sent=Sent(id="3EB0", timestamp=1_700_000_000)),
    Answer(call=2, failure=Failure(kind="rejected", detail="x", server_code=479)),
]


@some
@given(st.lists(st.sampled_from(FRAMES)), st.integers(1, 50))
def test_frames_survive_any_cut(frames: list[Report], size: int) -> None:
    data = b"".join(map(encode, frames))
    decoder = FrameDecoder[Report](REPORTS)
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert [frame for chunk in chunks for frame in decoder.feed(chunk)] == frames


def test_the_longest_text_fits() -> None:
    text = "\x01" * MAX_TEXT
    command = Perform(call=2**53, session="c" * 64, request=SendText(to="1" * 20 + "@s.whatsapp.net", text=text))
    assert list(FrameDecoder[Command](COMMANDS).feed(encode(command))) == [command]


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match="a frame 'perform' has"):
        encode(Perform(call=1, session="s", request=SendText(to="x", text="\x01" * (MAX_FRAME // 6 + 1))))


def test_a_length_over_the_limit_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(FrameError, match="claims"):
        list(FrameDecoder[Command](COMMANDS).feed((MAX_FRAME + 1).to_bytes(4)))


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'{"type":"nothing"}', b'{"type":"quit","more":1}', b"\xff\xfe"]
)
def test_garbage_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError, match="not understood"):
        list(FrameDecoder[Command](COMMANDS).feed(len(body).to_bytes(4) + body))


@pytest.mark.parametrize(("body", "call"), [(b'{"call":7}', 7), (b'{"call":true}', None), (b"7", None), (b"", None)])
def test_the_frames_after_one_that_is_not_understood_are_read(body: bytes, call: int | None) -> None:
    decoder = FrameDecoder[Command](COMMANDS)
    with pytest.raises(UnknownFrame) as caught:
        list(decoder.feed(len(body).to_bytes(4) + body + encode(Quit())))
    assert caught.value.call == call
    assert list(decoder.feed(b"")) == [Quit()]


@some
@given(st.binary(max_size=200))
def test_any_bytes_end_in_frames_or_a_frame_error(data: bytes) -> None:
    decoder = FrameDecoder[Command](COMMANDS)
    try:
        frames = list(decoder.feed(data))
    except FrameError:
        return
    assert all(isinstance(frame, Credit | Quit) for frame in frames)


def test_no_representation_shows_a_text_or_a_code() -> None:
    secret = "do not log this"
    for frame in (
        Perform(call=1, session="s", request=SendText(to="x", text=secret)),
        Happened(session="s", event=PairingOffered(text=secret, lifetime=20)),
        Happened(session="s", event=PairingCodeOffered(code=secret, lifetime=20)),
        Start(session="s", database="d", inbox="i", inbox_max_bytes=1, device_name="n", proxy=f"http://u:{secret}@h"),
    ):
        assert secret not in repr(frame)
        body = encode(frame)[4:-1]
        with pytest.raises(FrameError) as caught:
            list(FrameDecoder[Command](COMMANDS).feed(len(body).to_bytes(4) + body))
        assert secret not in repr(caught.value)


def test_what_was_read_is_not_kept() -> None:
    decoder = FrameDecoder(REPORTS)
    frames = [encode(Log(level=40, text=f"a text that comes once, {number}")) for number in range(2_000)]
    before = sys.getallocatedblocks()
    for frame in frames:
        list(decoder.feed(frame))
    assert sys.getallocatedblocks() - before < 200
