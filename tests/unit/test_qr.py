from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from PIL import Image

from wasessionpool import QRCode

CODE = QRCode("2@" + "x" * 230, datetime(2026, 1, 1, tzinfo=UTC))


def test_terminal_is_square_enough_and_only_blocks() -> None:
    lines = CODE.terminal().splitlines()
    assert len({len(line) for line in lines}) == 1
    assert set("".join(lines)) <= set(" █▀▄\xa0")


def test_png_svg_and_data_url_are_what_they_say() -> None:
    image = Image.open(io.BytesIO(CODE.png(box_size=3)))
    assert image.format == "PNG"
    assert image.width == image.height
    assert image.width % 3 == 0
    assert ElementTree.fromstring(CODE.svg()).tag.endswith("svg")  # noqa: S314 - our own
    prefix, _, payload = CODE.data_url().partition(",")
    assert prefix == "data:image/png;base64"
    assert base64.b64decode(payload) == CODE.png()


def test_the_text_is_kept_but_not_shown() -> None:
    assert CODE.text.startswith("2@")
    assert "xxx" not in repr(CODE)
    with pytest.raises(AttributeError):
        CODE.text = "other"  # type: ignore[misc]
