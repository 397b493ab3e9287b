from __future__ import annotations

import base64

import pytest

from wasessionpool.testing import PairingError, WhatsAppServerError
from wasessionpool.testing.whatsapp.pairing import Codes, QRCode

KEYS = [base64.b64encode(bytes((number,)) * 32).decode() for number in (1, 2, 3)]


@pytest.mark.parametrize("text", [",".join(["ref", *KEYS]), ",".join(["https://wa.me/x#ref", *KEYS, "1"])])
def test_reading_a_code(text: str) -> None:
    assert QRCode.parse(text) == QRCode("ref", b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)


@pytest.mark.parametrize(
    "text", ["", "ref", "ref,a,b,c", ",".join(["ref", *KEYS[:2], base64.b64encode(b"x").decode()])]
)
def test_what_is_no_code(text: str) -> None:
    assert issubclass(PairingError, WhatsAppServerError)
    with pytest.raises(PairingError, match="not a WhatsApp pairing code") as caught:
        QRCode.parse(text)
    assert not text or text not in str(caught.value)


def test_codes_end_one_after_the_other() -> None:
    codes = Codes(3, now=1000.0)
    ends = dict(zip(codes.refs, (1062.0, 1082.0, 1102.0), strict=True))
    for ref, end in ends.items():
        assert codes.is_live(ref, end)
        assert not codes.is_live(ref, end + 0.1)
    assert set(codes.refs).isdisjoint(Codes(3, now=1000.0).refs)
    single = Codes(1, now=1000.0)
    assert single.is_live(single.refs[0], 1022.0)
    assert not single.is_live(single.refs[0], 1022.1)
