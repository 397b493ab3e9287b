import pytest
from shop import install

pytestmark = pytest.mark.anyio


async def test_what_is_asked_while_the_line_is_down_is_answered_later(whatsapp, whatsapp_pool, whatsapp_link):
    install(whatsapp_pool)
    phone = await whatsapp_link("962302")
    customer = whatsapp.contact("79001234567", name="Ann")
    whatsapp.refuse()
    await whatsapp.drop()
    for _ in range(5):
        await customer.send(phone.number, "When are you open?")
    await whatsapp.wait_refused(2)
    whatsapp.accept()
    for _ in range(5):
        assert (await customer.next_message(timeout=30)).text == "We are open from 9 to 18."


async def test_a_lost_acknowledgement_does_not_answer_twice(whatsapp, whatsapp_pool, whatsapp_link):
    install(whatsapp_pool)
    phone = await whatsapp_link("962302")
    customer = whatsapp.contact("79001234567", name="Ann")
    phone.withhold_acks()
    await customer.send(phone.number, "When are you open?")
    await customer.next_message()
    await whatsapp.drop()
    phone.withhold_acks(False)
    await phone.wait_connected(logins=2)
    await customer.send(phone.number, "Hello?")
    assert (await customer.next_message(timeout=30)).text == "Ask me when we are open."
    assert len(customer.received) == 2
