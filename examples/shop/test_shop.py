import pytest
from shop import install


@pytest.mark.anyio
async def test_a_customer_is_answered(whatsapp, whatsapp_pool, whatsapp_link):
    install(whatsapp_pool)
    phone = await whatsapp_link("962302")
    customer = whatsapp.contact("79001234567", name="Ann")
    await customer.send(phone.number, "When are you open?")
    assert (await customer.next_message()).text == "We are open from 9 to 18."
