"""``disconnect``, ``logout`` and ``delete``: what ends a session."""

from __future__ import annotations

from ..models import SessionKey
from .output import Output
from .places import Ending, Place


async def leave(place: Place, key: SessionKey, ending: Ending, output: Output) -> None:
    """End the session in the way that is asked for."""
    with output.waiting(f"{ending} {key}"):
        was = await place.leave(key, ending)
    linked = f"was linked to {was.phone_number or 'a phone'}" if was.linked else "was not linked to a phone"
    said = {
        "disconnect": "stays down until it is asked for again; its keys are kept",
        "logout": f"{linked}; its keys are erased",
        "delete": f"{linked}; nothing of it is left",
    }[ending]
    output.json({"company_id": key.company_id, "device": key.device, "done": ending, "was_linked": was.linked})
    output.line(f"{key} {said}")
