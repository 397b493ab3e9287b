"""Nodes: WhatsApp's binary XML, with token dictionary 3."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Final

from wasessionpool.testing.whatsapp.addresses import JID, LID_SERVER, PHONE_SERVER
from wasessionpool.testing.whatsapp.errors import NodeError

Value = str | JID
Content = bytes | tuple["Node", ...] | None

MAX_DEPTH: Final = 64
MAX_SIZE: Final = 16 * 1024 * 1024

_DICTIONARY_0, _AD_JID, _LIST_8, _LIST_16, _JID_PAIR = 0xEC, 0xF7, 0xF8, 0xF9, 0xFA
_HEX, _BINARY_8, _BINARY_20, _BINARY_32, _NIBBLE = 0xFB, 0xFC, 0xFD, 0xFE, 0xFF
_PACKED_MAX = 127
_NIBBLES, _HEXES = re.compile(r"[0-9.-]+"), re.compile(r"[0-9A-F]+")
_FROM_NIBBLES, _TO_NIBBLES = str.maketrans("-.", "ab"), str.maketrans("ab", "-.")
_COMPRESSED = 0x02


@dataclass(slots=True)
class Node:
    """An element: a tag, attributes, and either bytes, children or nothing inside.

    Attributes that name someone are JIDs, all others are strings, numbers too: the client checks the type.
    Text inside an element is bytes, whatever way it was written.
    """

    tag: str
    attrs: Mapping[str, Value] = field(default_factory=dict)
    content: Content = None

    @property
    def children(self) -> tuple[Node, ...]:
        return self.content if isinstance(self.content, tuple) else ()

    @property
    def data(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else b""

    def find(self, *path: str) -> Node | None:
        """Return the first descendant along a path of tags."""
        node: Node = self
        for tag in path:
            for child in node.children:
                if child.tag == tag:
                    node = child
                    break
            else:
                return None
        return node

    def find_all(self, tag: str) -> Iterator[Node]:
        return (child for child in self.children if child.tag == tag)

    def text(self, key: str) -> str:
        """Return an attribute as text, empty when it is missing."""
        return str(self.attrs.get(key, ""))

    def jid(self, key: str) -> JID:
        """Return an attribute that must be a JID. Raises NodeError when it is not."""
        value = self.attrs.get(key)
        if not isinstance(value, JID):
            raise NodeError(f"<{self.tag}> has no address in {key!r}")
        return value


def node(tag: str, attrs: Mapping[str, Value] | None = None, content: bytes | Iterable[Node] | None = None) -> Node:
    """Build a node; children may be any iterable."""
    if content is not None and not isinstance(content, bytes):
        content = tuple(content) or None
    return Node(tag, attrs or {}, content)


def encode(root: Node) -> bytes:
    """Write a frame: an uncompressed flag byte and the node. Raises NodeError when something has no encoding."""
    out = bytearray(1)
    _write_node(out, root)
    return bytes(out)


def decode(frame: bytes) -> Node:
    """Read a frame. Raises NodeError, and nothing else, for bytes that are no node."""
    if not frame:
        raise NodeError("empty frame")
    body = _inflate(frame[1:]) if frame[0] & _COMPRESSED else frame[1:]
    reader = _Reader(body)
    root = reader.node(0)
    if reader.position != len(body):
        raise NodeError("bytes after the node")
    return root


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(data, MAX_SIZE)
    except zlib.error as error:
        raise NodeError(f"bad compression: {error}") from None
    if not inflater.eof:
        raise NodeError("compressed frame is truncated or too large")
    return body


def _load_tokens() -> tuple[dict[str, bytes], list[str], list[list[str]]]:
    text = files("wasessionpool.testing.whatsapp").joinpath("dictionary.json").read_text("ascii")
    dictionary = json.loads(text)
    single: list[str] = dictionary["single_byte"]
    double: list[list[str]] = dictionary["double_byte"]
    codes: dict[str, bytes] = {}
    for page, tokens in enumerate(double):
        codes.update({token: bytes((_DICTIONARY_0 + page, index)) for index, token in enumerate(tokens)})
    codes.update({token: bytes((index,)) for index, token in enumerate(single) if index})
    return codes, single, double


_CODES, _SINGLE, _DOUBLE = _load_tokens()


def _write_node(out: bytearray, item: Node) -> None:
    _write_list(out, 1 + 2 * len(item.attrs) + (item.content is not None))
    out += _written(item.tag)
    for key, value in item.attrs.items():
        out += _written(key)
        out += _written(value)
    if isinstance(item.content, bytes):
        _write_bytes(out, item.content)
    elif item.content is not None:
        _write_list(out, len(item.content))
        for child in item.content:
            _write_node(out, child)


def _write_list(out: bytearray, size: int) -> None:
    if size == 0:
        out.append(0)
    elif size < 1 << 8:
        out += bytes((_LIST_8, size))
    elif size < 1 << 16:
        out.append(_LIST_16)
        out += size.to_bytes(2, "big")
    else:
        raise NodeError(f"a list of {size} elements is too long")


def _write_bytes(out: bytearray, data: bytes) -> None:
    size = len(data)
    if size < 1 << 8:
        out += bytes((_BINARY_8, size))
    elif size < 1 << 20:
        out.append(_BINARY_20)
        out += size.to_bytes(3, "big")
    else:
        out.append(_BINARY_32)
        out += size.to_bytes(4, "big")
    out += data


@lru_cache(maxsize=4096)
def _written(value: Value) -> bytes:
    """Return the bytes of a tag, a key or a value; most of them come again and again."""
    out = bytearray()
    if isinstance(value, JID):
        _write_jid(out, value)
    else:
        _write_string(out, value)
    return bytes(out)


def _write_string(out: bytearray, text: str) -> None:
    code = _CODES.get(text)
    if code is not None:
        out += code
    elif not 0 < len(text) <= _PACKED_MAX:
        _write_bytes(out, text.encode())
    elif _NIBBLES.fullmatch(text):
        _write_packed(out, _NIBBLE, text.translate(_FROM_NIBBLES))
    elif _HEXES.fullmatch(text):
        _write_packed(out, _HEX, text)
    else:
        _write_bytes(out, text.encode())


def _write_packed(out: bytearray, tag: int, digits: str) -> None:
    odd = len(digits) % 2
    out += bytes((tag, odd << 7 | (len(digits) + odd) // 2))
    out += bytes.fromhex(digits + "f" * odd)


def _write_jid(out: bytearray, jid: JID) -> None:
    if jid.device:
        if jid.server not in (PHONE_SERVER, LID_SERVER) or not 0 < jid.device < 1 << 8:
            raise NodeError(f"{jid} has no encoding")
        out += bytes((_AD_JID, jid.server == LID_SERVER, jid.device))
        _write_string(out, jid.user)
    else:
        out.append(_JID_PAIR)
        if jid.user:
            _write_string(out, jid.user)
        else:
            out.append(0)
        _write_string(out, jid.server)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise NodeError("frame ends early")
        chunk = self.data[self.position : end]
        self.position = end
        return chunk

    def byte(self) -> int:
        position = self.position
        self.position = position + 1
        try:
            return self.data[position]
        except IndexError:
            raise NodeError("frame ends early") from None

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def node(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise NodeError("nested too deep")
        size = self.list_size(self.byte())
        if size == 0:
            raise NodeError("a node without a tag")
        tag = self.string()
        attrs: dict[str, Value] = {}
        for _ in range((size - 1) // 2):
            key = self.string()
            attrs[key] = self.value(self.byte())
        content = self.content(depth) if size % 2 == 0 else None
        return Node(tag, attrs, content)

    def list_size(self, tag: int) -> int:
        if tag == 0:
            return 0
        if tag == _LIST_8:
            return self.byte()
        if tag == _LIST_16:
            return self.number(2)
        raise NodeError(f"byte {tag} is no list")

    def content(self, depth: int) -> Content:
        tag = self.byte()
        if tag in (0, _LIST_8, _LIST_16):
            return tuple([self.node(depth + 1) for _ in range(self.list_size(tag))])
        if tag in (_BINARY_8, _BINARY_20, _BINARY_32):
            return self.raw(tag)
        return str(self.value(tag)).encode()

    def raw(self, tag: int) -> bytes:
        if tag == _BINARY_8:
            return self.take(self.byte())
        if tag == _BINARY_20:
            return self.take(self.number(3) & 0xFFFFF)
        return self.take(self.number(4))

    def string(self) -> str:
        tag = self.byte()
        if 0 < tag < _DICTIONARY_0:
            return _SINGLE[tag]
        value = self.value(tag)
        if isinstance(value, JID):
            raise NodeError("an address where a string must stand")
        return value

    def value(self, tag: int) -> Value:
        if 0 < tag < _DICTIONARY_0:
            return _SINGLE[tag]
        if _DICTIONARY_0 <= tag < _DICTIONARY_0 + len(_DOUBLE):
            return _DOUBLE[tag - _DICTIONARY_0][self.byte()]
        if tag in (_BINARY_8, _BINARY_20, _BINARY_32):
            try:
                return self.raw(tag).decode()
            except UnicodeDecodeError:
                raise NodeError("a string that is not UTF-8") from None
        if tag == _NIBBLE:
            text = self.packed().translate(_TO_NIBBLES)
            if text and not _NIBBLES.fullmatch(text):
                raise NodeError("a packed string outside its alphabet")
            return text
        if tag == _HEX:
            return self.packed().upper()
        if tag == _JID_PAIR:
            user_tag = self.byte()
            user = self.value(user_tag) if user_tag else ""
            server = self.string()
            if isinstance(user, JID):
                raise NodeError("an address inside an address")
            return JID(user, server)
        if tag == _AD_JID:
            agent, device = self.byte(), self.byte()
            if agent not in (0, 1):
                raise NodeError(f"unknown address agent {agent}")
            return JID(self.string(), LID_SERVER if agent else PHONE_SERVER, device)
        raise NodeError(f"byte {tag} starts no value")

    def packed(self) -> str:
        head = self.byte()
        digits = self.take(head & 0x7F).hex()
        return digits[:-1] if head >> 7 else digits
