from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wasessionpool import InvalidCompanyId, PayloadTooLarge, QRCode, SessionKey, Text
from wasessionpool.errors import InvalidMessage, WhatsAppPoolError
from wasessionpool.messages import MAX_TEXT, to_message
from wasessionpool.models import InboundMessage, SessionRecord, SessionStatus
from wasessionpool.operations import React
from wasessionpool.pacing import Planned


@pytest.mark.parametrize("bad", ["", "../x", "a/b", "-a", "a" * 65, "é", "a\x00", "a\n", " a", ".pool", "a:b", None, 5])
def test_ids_that_could_harm_are_refused(bad: object) -> None:
    with pytest.raises(InvalidCompanyId):
        SessionKey(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidCompanyId):
        SessionKey("962302", bad)  # type: ignore[arg-type]


def test_any_is_no_device() -> None:
    with pytest.raises(InvalidCompanyId, match="reserved"):
        SessionKey("962302", "any")


def test_a_key_prints_short_and_says_where_it_lies() -> None:
    assert str(SessionKey("a" * 64)) == "a" * 64
    assert str(SessionKey("962302")) == "962302"
    assert str(SessionKey("962302", "sales")) == "962302:sales"
    assert str(SessionKey("962302").directory) == "962302"
    assert str(SessionKey("962302", "sales").directory) == "962302/devices/sales"


def test_keys_that_differ_in_case_fold_to_one() -> None:
    assert SessionKey("Shop", "Sales").folded() == SessionKey("shop", "sales").folded()
    assert SessionKey("shop").folded() != SessionKey("shop", "sales").folded()


def test_a_blank_record_keeps_what_the_user_gave() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    record = SessionRecord(
        company_id="962302", proxy="http://p:1", metadata={"a": 1}, linked=True, jid="1@lid", created_at=now
    )
    assert record.blank() == SessionRecord(company_id="962302", proxy="http://p:1", metadata={"a": 1}, created_at=now)


@pytest.mark.parametrize("bad", ["", "  \n", 5, None, b"x", "\ud800"])
def test_messages_that_cannot_be_sent(bad: object) -> None:
    with pytest.raises(InvalidMessage):
        to_message(bad)  # type: ignore[arg-type]


def test_a_text_has_a_limit() -> None:
    assert to_message("я" * MAX_TEXT) == Text(text="я" * MAX_TEXT)
    with pytest.raises(PayloadTooLarge) as caught:
        to_message("x" * (MAX_TEXT + 1))
    assert caught.value.limit == MAX_TEXT


SECRET = "squeamish ossifrage"


def test_no_repr_holds_a_text_a_code_or_a_password() -> None:
    now = datetime.now(UTC)
    qr = QRCode(SECRET, now)
    from wasessionpool.links import PairingOffered
    from wasessionpool.models import Contact

    contact = Contact(id="79001234567@s.whatsapp.net")
    shown = [
        qr,
        Text(text=SECRET),
        Planned(SECRET),
        React(message_id="1", emoji=SECRET, chat="x", sender="x"),
        PairingOffered(text=SECRET, lifetime=1),
        InboundMessage(message_id="1", chat=contact, sender=contact, text=SECRET, timestamp=now),
        SessionRecord(company_id="a", created_at=now, proxy=f"http://u:{SECRET}@h"),
        SessionStatus(company_id="a", device="main", status="pairing", qr=qr, pairing_code=SECRET),  # type: ignore[arg-type]
    ]
    assert SECRET not in repr(shown)
    assert SECRET not in str(shown)


def test_codes_are_class_names_in_snake_case() -> None:
    def tree(error: type[WhatsAppPoolError]) -> list[type[WhatsAppPoolError]]:
        return [error, *(child for sub in error.__subclasses__() for child in tree(sub))]

    for error in tree(WhatsAppPoolError):
        if error is not WhatsAppPoolError:
            assert "".join(part.capitalize() for part in error.code.split("_")) == error.__name__
        import wasessionpool

        assert getattr(wasessionpool, error.__name__) is error
