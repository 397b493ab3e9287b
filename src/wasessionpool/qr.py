"""A pairing code as terminal text, PNG, SVG or data URL."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class QRCode:
    """What the phone scans (WhatsApp › Linked devices › Link a device), until ``expires_at``.

    ``text`` holds the secret of the pairing, so the repr leaves it out; never log it.
    """

    text: str = field(repr=False)
    expires_at: datetime

    def terminal(self) -> str:
        """Draw it with half blocks, light on dark, for a terminal of at least 60 columns."""
        out = io.StringIO()
        self._code().print_ascii(out=out, invert=True)
        return out.getvalue()

    def png(self, *, box_size: int = 8) -> bytes:
        """Draw it as a PNG; ``box_size`` is the width of a module in pixels."""
        out = io.BytesIO()
        self._code(box_size).make_image().save(out)
        return out.getvalue()

    def svg(self) -> str:
        """Draw it as a stand-alone SVG of one path."""
        from qrcode.image.svg import SvgPathImage

        return self._code().make_image(image_factory=SvgPathImage).to_string(encoding="unicode")  # type: ignore[no-any-return]

    def data_url(self) -> str:
        """Return the PNG as ``data:image/png;base64,…``, ready for an ``<img>``."""
        return "data:image/png;base64," + base64.b64encode(self.png()).decode("ascii")

    def _code(self, box_size: int = 10) -> Any:
        import qrcode
        from qrcode.constants import ERROR_CORRECT_L

        code = qrcode.QRCode(error_correction=ERROR_CORRECT_L, box_size=box_size, border=2)
        code.add_data(self.text)
        return code
