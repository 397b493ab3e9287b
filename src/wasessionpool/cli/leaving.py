"""``disconnect``, ``logout`` and ``delete``: what ends a session."""

from __future__ import annotations

from typing import Literal

from ..errors import SessionLocked
from ..models import SessionKey
from ..pool import WhatsAppSessionPool
from .ending import CommandFailed
from .listing import find
from .output import Output

Ending = Literal["disconnect", "logout", "delete"]


async def leave(pool: WhatsAppSessionPool, key: SessionKey, ending: Ending, output: Output) -> None:
    """End the session in the way that is asked for; raises ``SessionNotFound``."""
    record = await find(key, pool.settings.session_path)
    async with pool:
        pool.session(key.company_id, device=key.device)
        end = {"disconnect": pool.disconnect, "logout": pool.logout, "delete": pool.delete_session}[ending]
        try:
            with output.waiting(f"{ending} {key}"):
                await end(key.company_id, device=key.device)
        except SessionLocked as error:
            raise CommandFailed(f"{error.message}: do it there, or stop that process first") from None
    linked = f"was linked to {record.phone_number or 'a phone'}" if record.linked else "was not linked to a phone"
    said = {
        "disconnect": "stays down until it is asked for again; its keys are kept",
        "logout": f"{linked}; its keys are erased",
        "delete": f"{linked}; nothing of it is left",
    }[ending]
    output.json({"company_id": key.company_id, "device": key.device, "done": ending, "was_linked": record.linked})
    output.line(f"{key} {said}")
