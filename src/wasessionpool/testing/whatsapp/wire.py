"""What passes on the wire, as a person reads it: stanzas without texts, keys or ciphertexts."""

from __future__ import annotations

import logging
import os
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TextIO

from wasessionpool.testing.whatsapp.nodes import Node

RECENT_STANZAS: Final = 10
SHOWN: Final = frozenset(
    {
        "category", "class", "code", "context", "count", "error", "from", "id", "index", "jid", "key-index", "lid",
        "media_type", "mode", "offline", "participant", "peer_recipient_pn", "reason", "recipient", "sender_pn", "sid",
        "stage", "state", "t", "to", "type", "v", "val", "value", "version", "xmlns",
    }
)  # fmt: skip
"""Attributes that are shown whole. Any other could hold a name, a subject or a secret: its length is shown."""

Direction = Literal["←", "→"]

logger = logging.getLogger("wasessionpool.testing.wire")


class Wire:
    """Keeps the last stanzas of all clients, and writes each to the log or a file where that is asked for.

    The log is `wasessionpool.testing.wire` at level DEBUG. `←` came from a client, `→` went to it.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[Direction, str, Node]] = deque(maxlen=RECENT_STANZAS)
        self._file: TextIO | None = None

    def note(self, direction: Direction, client: str, stanza: Node) -> None:
        self._recent.append((direction, client, stanza))
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s %s", client, direction, render(stanza))
        if self._file is not None:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._file.write(f"{moment} {client} {direction} {render(stanza)}\n")

    def open(self, path: Path) -> None:
        """Append every stanza from now on to a file that only its owner can read, a line each."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "a", buffering=1, encoding="utf-8")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def describe_recent(self) -> str:
        """Name the last stanzas, oldest first: direction, client, tag, kinds, children's tags and id."""
        return (
            "; ".join(f"{direction} {client} {_name(stanza)}" for direction, client, stanza in self._recent) or "none"
        )


def render(stanza: Node) -> str:
    """Write a stanza as XML that shows no content but how long it is."""
    attrs = "".join(
        f' {key}="{value}"' if key in SHOWN else f" {key}=({len(str(value))})" for key, value in stanza.attrs.items()
    )
    if isinstance(stanza.content, bytes):
        return f"<{stanza.tag}{attrs}>({len(stanza.content)} bytes)</{stanza.tag}>"
    if stanza.content is None:
        return f"<{stanza.tag}{attrs}/>"
    return f"<{stanza.tag}{attrs}>{''.join(map(render, stanza.content))}</{stanza.tag}>"


def _name(stanza: Node) -> str:
    kinds = "/".join(filter(None, (stanza.text("xmlns"), stanza.text("type"), stanza.text("class"))))
    children = " ".join(child.tag for child in stanza.children[:2])
    return " ".join(filter(None, (stanza.tag, kinds, f"({children})" if children else "", stanza.text("id"))))
