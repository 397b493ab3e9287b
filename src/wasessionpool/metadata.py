"""What an application may attach to a session."""

from __future__ import annotations

import json
from typing import Any

from .errors import ConfigurationError

MAX_METADATA = 4096
"""Bytes of a session's metadata, as JSON."""


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return a copy, so that what the caller does to theirs changes no session."""
    if not isinstance(metadata, dict):
        raise ConfigurationError(f"metadata is a dict, not {type(metadata).__name__}")
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"metadata has to be JSON: {error}") from None
    if len(text) > MAX_METADATA:
        raise ConfigurationError(f"metadata has {len(text)} bytes as JSON, the limit is {MAX_METADATA}")
    copy: dict[str, Any] = json.loads(text)
    return copy
