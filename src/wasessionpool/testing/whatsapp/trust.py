"""What makes an unmodified neonize trust the loopback WhatsApp, and it alone."""

from __future__ import annotations

import ctypes
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from wasessionpool.testing.whatsapp.errors import UnsafeEnvironment

ROOT_KEY_VARIABLE = "WASESSIONPOOL_TESTING_ROOT_KEY"
WHATSAPP_ROOT_KEY = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")
"""The root of WhatsApp's Noise certificates, as whatsmeow knows it (`WACertPubKey`)."""

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (r\S{3}) \S+ \S+ \S+\s+(.*)")


def refuse_foreign_proxy(url: str) -> None:
    """Raise UnsafeEnvironment unless a proxy's URL names a loopback address by its number."""
    try:
        host = urlsplit(url).hostname or ""
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise UnsafeEnvironment("the proxy is not a loopback address: this process must not reach the real WhatsApp")


def root_key_from(environment: Mapping[str, str]) -> bytes:
    """Return the loopback server's root key, if this environment leads nowhere but to that server.

    Raises UnsafeEnvironment otherwise. Go reads the environment a process was started with, so that is what to pass.
    """
    for name in ("HTTPS_PROXY", "https_proxy"):
        if name == "HTTPS_PROXY" or name in environment:
            refuse_foreign_proxy(environment.get(name, ""))
    if any(environment.get(name) for name in ("NO_PROXY", "no_proxy")):
        raise UnsafeEnvironment("NO_PROXY is set: this process must not reach the real WhatsApp")
    try:
        key = bytes.fromhex(environment.get(ROOT_KEY_VARIABLE, ""))
    except ValueError:
        key = b""
    if len(key) != len(WHATSAPP_ROOT_KEY):
        raise UnsafeEnvironment(f"{ROOT_KEY_VARIABLE} is not the root key of a loopback WhatsApp")
    return key


def replace_root_key(key: bytes) -> None:
    """Replace WhatsApp's root key in the memory of the neonize library that this process has loaded.

    The mapping is private, so the file is untouched. To be done before the first connection. Linux only: it reads
    /proc/self/maps. Raises RuntimeError unless the key stands in exactly one place, and that can be written.
    """
    if len(key) != len(WHATSAPP_ROOT_KEY):
        raise ValueError("a root key has 32 bytes")
    places = [
        (start + offset, "w" in permissions)
        for start, end, permissions in _library_mappings()
        for offset in _occurrences(ctypes.string_at(start, end - start))
    ]
    if len(places) != 1 or not places[0][1]:
        raise RuntimeError(
            f"the Noise root key stands in {len(places)} places of neonize's library, one writable expected"
        )
    ctypes.memmove(places[0][0], key, len(key))


def _library_mappings() -> list[tuple[int, int, str]]:
    lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    found = [match.groups() for match in map(_MAPPING.match, lines) if match]
    return [
        (int(start, 16), int(end, 16), permissions)
        for start, end, permissions, path in found
        if Path(path).name.startswith("neonize-")
    ]


def _occurrences(memory: bytes) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(WHATSAPP_ROOT_KEY), memory)]
