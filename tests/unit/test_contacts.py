from __future__ import annotations

from wasessionpool.contacts import KEPT, Contacts
from wasessionpool.models import Contact

PHONE = Contact(id="79001234567@s.whatsapp.net", phone_number="+79001234567")
BOTH = PHONE.model_copy(update={"lid": "7779001234567@lid"})


def test_who_is_new_or_known_by_more_than_before_is_told_once() -> None:
    contacts = Contacts()
    assert contacts.meet(PHONE, None) == (PHONE, None)
    assert contacts.meet(PHONE, "Bob") == (PHONE, "Bob")
    assert contacts.meet(BOTH, "Bob") == (BOTH, "Bob")
    for contact, name in ((BOTH, "Bob"), (PHONE, "Bob"), (BOTH, None), (PHONE, "")):
        assert contacts.meet(contact, name) is None
    assert contacts.meet(PHONE, "Robert") == (BOTH, "Robert")


def test_those_met_last_are_remembered() -> None:
    contacts = Contacts()
    people = [Contact(id=f"{number}@lid") for number in range(KEPT + 1)]
    for contact in people[:KEPT]:
        assert contacts.meet(contact, None)
    assert contacts.meet(people[0], None) is None
    assert contacts.meet(people[KEPT], None)
    assert contacts.meet(people[0], None) is None
    assert contacts.meet(people[1], None)
