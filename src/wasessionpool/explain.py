"""A session's standing in plain words."""

from __future__ import annotations

from datetime import datetime

from .models import SessionStatus


def explain(status: SessionStatus, now: datetime) -> str:
    """Say what happened, what happens next and when."""
    because = f" ({status.disconnect_reason})" if status.disconnect_reason else ""
    text = f"The session is {status.status}{because}."
    if status.next_retry_at is not None:
        text += f" The next attempt is in {max(0, round((status.next_retry_at - now).total_seconds()))} s."
    return text
