"""``pair``: link a session to a phone by the QR, or the code to type in, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..models import DisconnectReason, SessionKey, Status
from ..qr import QRCode
from .output import Output
from .places import Linked, Place

if TYPE_CHECKING:
    from .countdown import Countdown

SCAN = "on the phone: WhatsApp › Linked devices › Link a device, and scan this"
TYPE_IN = "on the phone: WhatsApp › Linked devices › Link a device › Link with phone number instead, and type in"
WIDTH, HEIGHT = 60, 34
"""What a terminal has to have for a code of WhatsApp's size, 57 columns and 29 lines, to be redrawn in place."""


async def pair(place: Place, key: SessionKey, *, phone_number: str | None, timeout: float, output: Output) -> None:
    """Show codes until the phone has confirmed one and the session is connected, at most ``timeout`` seconds."""
    shown = _Shown(key, output)
    with shown.drawn(in_place=phone_number is None):
        linked = await place.pair(key, phone_number=phone_number, timeout=timeout, offers=shown)
    shown.linked(linked)


class _Shown:
    """What the user sees while the phone is awaited."""

    def __init__(self, key: SessionKey, output: Output) -> None:
        self._key = key
        self._output = output
        self._countdown: Countdown | None = None
        self._offered = False

    @contextmanager
    def drawn(self, *, in_place: bool) -> Iterator[None]:
        """Redraw a QR in its place, where the terminal is large enough."""
        output = self._output
        if not in_place or not output.terminal or output.console.width < WIDTH or output.console.height < HEIGHT:
            yield
            return
        from .countdown import Countdown

        with Countdown(output.console, SCAN) as self._countdown:
            yield

    def qr(self, code: QRCode) -> None:
        self._offered = True
        self._json("qr", text=code.text, expires_at=code.expires_at.isoformat())
        if self._countdown is not None:
            self._countdown.show(code)
        else:
            self._output.qr(code)
            self._output.line(f"{SCAN} before {code.expires_at:%H:%M:%S} UTC")

    def typed_code(self, code: str, expires_at: datetime | None) -> None:
        self._offered = True
        self._json("pairing_code", code=code, expires_at=expires_at.isoformat() if expires_at else None)
        self._output.line(f"{code[:4]}-{code[4:]}", style="bold")
        self._output.line(f"{TYPE_IN} this code" + (f" before {expires_at:%H:%M:%S} UTC" if expires_at else ""))

    def status(self, status: Status, reason: DisconnectReason | None) -> None:
        self._json("status", status=status, reason=reason)
        said = f"{status}{f' ({reason})' if reason else ''}"
        if self._countdown is not None:
            self._countdown.say(f"{said} …")
        elif reason is not None:
            self._output.line(said)

    def linked(self, linked: Linked) -> None:
        self._json("linked", phone_number=linked.phone_number, jid=linked.jid, already_linked=not self._offered)
        self._output.line(f"{'' if self._offered else 'already '}linked as {linked.phone_number}", style="green")

    def _json(self, event: str, **fields: Any) -> None:
        self._output.json({"event": event, "company_id": self._key.company_id, "device": self._key.device, **fields})
