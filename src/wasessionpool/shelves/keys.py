"""The keys of a shelf."""

from __future__ import annotations

from ..errors import StorageError

MAX_KEY = 512
"""Characters of a key."""

AFTER_ALL = "\x7f"
"""Sorts after everything that a key may hold."""


def check_key(key: str) -> None:
    """Raise ``StorageError`` for what is no key."""
    if not key:
        raise StorageError("a shelf's key is empty")
    check_prefix(key)


def check_prefix(prefix: str) -> None:
    """Raise ``StorageError`` for what no key begins with."""
    if len(prefix) > MAX_KEY or not (prefix.isascii() and prefix.isprintable()):
        raise StorageError(
            f"a shelf's key is 1–{MAX_KEY} printable ASCII characters, not {ascii(prefix)[:80]} ({len(prefix)})"
        )
