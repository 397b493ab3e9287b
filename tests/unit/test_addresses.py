from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasessionpool import Address, InvalidRecipient


@pytest.mark.parametrize(
    "text",
    [
        "79001234567",
        "+7 900 123-45-67",
        "0079001234567",
        "+7 (900) 123.45.67",
        " +79001234567 ",
        "\u202a+7 900 123\u201145\u201167\u202c",
        "+7 (0)900 123-45-67",
        "00 7(0) 900 123 45 67",
        "79001234567@s.whatsapp.net",
        "79001234567:12@s.whatsapp.net",
    ],
)
def test_reads_every_common_writing_of_a_number(text: str) -> None:
    address = Address.parse(text)
    assert str(address) == "79001234567@s.whatsapp.net"
    assert address.phone_number == "+79001234567"
    assert not address.is_group


def test_reads_groups_and_lids() -> None:
    assert Address.parse("120363041234567890@g.us").is_group
    assert Address.parse("79001234567-1600000000@g.us").is_group
    assert Address.parse("7779001234567@lid").phone_number is None


@pytest.mark.parametrize(
    "text",
    ["", " ", "123456", "1234567890123456", "abc", "+7900abc4567", "٧٩٠٠١٢٣٤٥٦٧", "079001234567", "7900\x001234567",
     "@s.whatsapp.net", "../x@s.whatsapp.net", "79001234567@evil.com", "++79001234567"],
)  # fmt: skip
def test_refuses_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidRecipient):
        Address.parse(text)


def test_refuses_what_is_no_str() -> None:
    with pytest.raises(InvalidRecipient, match="not int"):
        Address.parse(79001234567)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.text(max_size=40))
def test_whatever_comes_is_read_or_refused_and_reads_back(text: str) -> None:
    try:
        address = Address.parse(text)
    except InvalidRecipient:
        return
    assert Address.parse(str(address)) == address
