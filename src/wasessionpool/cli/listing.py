"""``sessions``, ``status`` and ``explain``."""

from __future__ import annotations

from ..models import SessionKey
from .ending import printable
from .output import Output
from .places import Place


async def show_sessions(place: Place, output: Output) -> None:
    """List every session, and who holds it."""
    found = await place.sights()
    output.json([sight.described for sight in found])
    if not found:
        output.line(place.nothing())
        return
    rows = [(str(sight.key), sight.phone_number or "", "yes" if sight.linked else "no", sight.label) for sight in found]
    output.table(("SESSION", "PHONE NUMBER", "LINKED", "STATUS"), rows)


async def show_status(place: Place, key: SessionKey, output: Output) -> None:
    """Print what is known of one session."""
    sight = await place.sight(key)
    output.json(sight.described)
    next_run = {None: "", "running": "started"}.get(sight.desired, "left alone until it is asked for")
    rows = {
        "session": str(key),
        "status": sight.label,
        "linked": "yes" if sight.linked else f"no; to link it: {place.command('pair', key)}",
        "phone number": sight.phone_number or "",
        "name": sight.push_name or "",
        "created": sight.created_at.isoformat(timespec="seconds") if sight.created_at else "",
        "last connected": sight.connected_at.isoformat(timespec="seconds") if sight.connected_at else "",
        "restricted until": sight.restricted_until.isoformat(timespec="seconds") if sight.restricted_until else "",
        "in the next run": next_run,
    }
    output.properties({name: value for name, value in rows.items() if value})


async def show_explanation(place: Place, key: SessionKey, output: Output) -> None:
    """Say what happened to a session and what follows, as far as the place tells."""
    sight, said = await place.explanation(key)
    if not sight.linked:
        said += f" It is not linked to a phone: {place.command('pair', key)}"
    output.json({**sight.described, "text": said})
    output.line(printable(said))
