"""What an application may attach to a session."""

from __future__ import annotations

import json
from typing import Any

from .errors import ConfigurationError

MAX_METADATA = 4096
"""Bytes of a session's metadata, as JSON."""
MAX_DEPTH = 100
"""Levels of objects and lists in each other; what reads a record takes 200 in all."""


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return a copy, so that what the caller does to theirs changes no session."""
    if not isinstance(metadata, dict):
        raise ConfigurationError(f"metadata is a dict, not {type(metadata).__name__}")
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"metadata has to be JSON: {error}") from None
    if len(text) > MAX_METADATA:
        raise ConfigurationError(f"metadata has {len(text)} bytes as JSON, the limit is {MAX_METADATA}")
    copy: dict[str, Any] = json.loads(text)
    if (depth := _depth(copy)) > MAX_DEPTH:
        raise ConfigurationError(f"metadata is nested {depth} levels deep, the limit is {MAX_DEPTH}")
    return copy


def _depth(value: Any) -> int:
    """Return how many objects and lists lie in each other; not recursive, since there may be thousands."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth
