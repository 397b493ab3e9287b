"""What the pool and a worker say to each other: frames of JSON over a socket pair."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ...links import DriverEvent
from ...models import Frozen
from ...operations import CheckNumbers, LogOut, MarkRead, React, ShowTyping

MAX_FRAME = 512 * 1024
"""Bytes in a frame. A text of 65,536 control characters is the longest content: 384 KiB once JSON escaped it."""

_HEADER = 4
FrameT = TypeVar("FrameT")


class FrameError(Exception):
    """A frame is over the limit or not understood."""


class UnknownFrame(FrameError):
    """A whole frame is not understood; the next can be. ``call`` is the one it wants answered, if it says so."""

    def __init__(self, message: str, call: int | None) -> None:
        super().__init__(message)
        self.call = call


class SendText(Frozen):
    """Send a text to a JID."""

    type: Literal["send_text"] = "send_text"
    to: str
    text: str = Field(repr=False)


class Probe(Frozen):
    """Ask WhatsApp's server something, to see whether it answers."""

    type: Literal["probe"] = "probe"


Request = Annotated[
    SendText | Probe | LogOut | MarkRead | React | ShowTyping | CheckNumbers, Field(discriminator="type")
]


class Start(Frozen):
    """Host ``session``; with ``pairing``, its device is not linked yet, and is to be by a code with a number."""

    type: Literal["start"] = "start"
    session: str
    database: str
    inbox: str
    inbox_max_bytes: int
    device_name: str
    proxy: str | None = Field(default=None, repr=False)
    pairing: bool = False
    pairing_number: str | None = None


class Stop(Frozen):
    """End ``session``; ``Over`` answers."""

    type: Literal["stop"] = "stop"
    session: str


class Credit(Frozen):
    """Tell ``news`` more of what ``session`` hears besides messages: a batch of receipts, a presence or typing each."""

    type: Literal["credit"] = "credit"
    session: str
    news: int


class Perform(Frozen):
    """Do ``request``; an ``Answer`` of the same ``call`` follows."""

    type: Literal["perform"] = "perform"
    call: int
    session: str
    request: Request


class Quit(Frozen):
    """Stop all sessions and end."""

    type: Literal["quit"] = "quit"


Command = Annotated[Start | Stop | Credit | Perform | Quit, Field(discriminator="type")]


class Hello(Frozen):
    """The worker is ready."""

    type: Literal["hello"] = "hello"
    neonize: str


class Refused(Frozen):
    """The worker cannot work in this installation, and ends."""

    type: Literal["refused"] = "refused"
    kind: Literal["configuration", "driver"]
    detail: str


class Vitals(Frozen):
    """The worker is alive: its memory in bytes, its open descriptors, how many there may be, and its threads."""

    type: Literal["vitals"] = "vitals"
    rss: int
    descriptors: int
    descriptor_limit: int
    threads: int


class Running(Frozen):
    """The client of ``session`` has opened its line and reports from now on."""

    type: Literal["running"] = "running"
    session: str


class Happened(Frozen):
    """What ``session`` has to say."""

    type: Literal["happened"] = "happened"
    session: str
    event: DriverEvent


class Stored(Frozen):
    """There is more in the inbox of ``session``."""

    type: Literal["stored"] = "stored"
    session: str


class Over(Frozen):
    """The client of ``session`` has let go of its database."""

    type: Literal["over"] = "over"
    session: str


class Failure(Frozen):
    """Why a call failed; ``server_code`` where WhatsApp's server refused."""

    kind: Literal["not_connected", "rejected", "timeout", "not_on_whatsapp", "failed"]
    detail: str
    server_code: int | None = None


class Sent(Frozen):
    """The server's acknowledgement, ``timestamp`` in seconds since 1970."""

    id: str
    timestamp: int


class Registered(Frozen):
    """Those of the ``numbers`` asked for that are on WhatsApp, as digits."""

    numbers: tuple[str, ...]


class Answer(Frozen):
    """The outcome of a call."""

    type: Literal["answer"] = "answer"
    call: int
    sent: Sent | None = None
    registered: Registered | None = None
    failure: Failure | None = None


class Log(Frozen):
    """A line for the application's log, at a level of ``logging``."""

    type: Literal["log"] = "log"
    level: int
    text: str


Report = Annotated[
    Hello | Refused | Vitals | Running | Happened | Stored | Over | Answer | Log, Field(discriminator="type")
]

_CONFIG = ConfigDict(cache_strings="keys")
COMMANDS: TypeAdapter[Command] = TypeAdapter(Command, config=_CONFIG)
REPORTS: TypeAdapter[Report] = TypeAdapter(Report, config=_CONFIG)


def encode(frame: Command | Report) -> bytes:
    """Return the frame's bytes, length first; raises ``FrameError`` over ``MAX_FRAME``."""
    body = frame.model_dump_json().encode()
    if len(body) > MAX_FRAME:
        raise FrameError(f"a frame {frame.type!r} has {len(body)} bytes, the limit is {MAX_FRAME}")
    return len(body).to_bytes(_HEADER) + body


class FrameDecoder(Generic[FrameT]):
    """Cuts a stream of bytes into frames."""

    def __init__(self, frames: TypeAdapter[FrameT]) -> None:
        self._frames = frames
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[FrameT]:
        """Yield the frames that ``data`` completes; raises ``FrameError``.

        After an ``UnknownFrame`` those that follow it are had by feeding nothing.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER:
            size = int.from_bytes(self._buffer[:_HEADER])
            if size > MAX_FRAME:
                raise FrameError(f"a frame claims {size} bytes, the limit is {MAX_FRAME}")
            end = _HEADER + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER:end])
            del self._buffer[:end]
            try:
                yield self._frames.validate_json(body)
            except ValidationError as error:
                raise UnknownFrame(f"a frame is not understood: {error.error_count()} errors", _call(body)) from None


def _call(body: bytes) -> int | None:
    try:
        call = json.loads(body)["call"]
    except (ValueError, TypeError, LookupError):
        return None
    return call if type(call) is int else None
