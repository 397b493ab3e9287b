"""A human's pace on the real wire."""

from __future__ import annotations

import pytest

from wasessionpool import PacingPolicy, RateLimitExceeded
from wasessionpool.testing import WhatsAppServer

from .conftest import PHONES, OpenApplication

pytestmark = pytest.mark.anyio

COMPANY, OTHER = PHONES
POLICY = PacingPolicy(min_gap=8.0, gap_jitter=0.0, typing_speed=2.0, typing_max=3.0, reconnect_slowdown=1.0)


async def test_a_text_is_typed_before_it_goes_and_the_next_waits_its_turn(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    async with application(hear=("typing", "message"), pacing=POLICY) as app:
        await app.link(whatsapp.phone(PHONES[COMPANY]))
        await app.link(whatsapp.phone(PHONES[OTHER]), OTHER)
        await app.pool.send_message(COMPANY, PHONES[OTHER], "How are you doing?")
        with pytest.raises(RateLimitExceeded) as refused:
            await app.pool.send_message(COMPANY, PHONES[OTHER], "And so on?")
        assert 0 < refused.value.retry_after <= POLICY.min_gap
        await app.pool.send_message(COMPANY, PHONES[OTHER], "And yours?", wait=True)
        await app.heard.message("And yours?", OTHER)
        heard = [(event.type, getattr(event, "text", None)) for event in app.heard.events if event.company_id == OTHER]
        assert heard == [
            ("typing", None),
            ("message", "How are you doing?"),
            ("typing", None),
            ("message", "And yours?"),
        ]
