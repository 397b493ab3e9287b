"""Rights: what a key allows, and what each call needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ..errors import ConfigurationError, SessionNotFound
from ..models import MAIN_DEVICE, SessionKey
from .errors import HttpError

Right = Literal["read", "send", "manage"]
ALL_RIGHTS: frozenset[Right] = frozenset(get_args(Right))

NEEDED: Mapping[str, Right | None] = {
    "get_health": None,
    "get_readiness": None,
    "list_sessions": "read",
    "get_session": "read",
    "explain_session": "read",
    "get_metrics": "read",
    "get_prometheus_metrics": "read",
    "send_message": "send",
    "create_session": "manage",
    "delete_session": "manage",
    "disconnect_session": "manage",
    "restart_session": "manage",
    "logout_session": "manage",
    "get_qr": "manage",
}
"""The right that each call needs; ``None``: not even a key. Who sees a QR can link a phone of their own by it."""


def checked_rights(rights: Collection[str]) -> frozenset[Right]:
    """Return the rights; raises ``ConfigurationError`` for none, and for one that there is not."""
    unknown = sorted(set(rights) - ALL_RIGHTS)
    if unknown or not rights:
        said = f"there is no right {unknown[0]!r}" if unknown else "a key without a right is of no use"
        raise ConfigurationError(f"{said}; there are {', '.join(get_args(Right))}")
    return frozenset(cast("Collection[Right]", rights))


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do. ``name`` tells keys apart and is no secret; ``companies=None`` are all of them."""

    name: str
    rights: frozenset[Right] = ALL_RIGHTS
    companies: frozenset[str] | None = None

    def require(self, right: Right) -> None:
        """Raise ``HttpError`` 403 where the right is missing."""
        if right not in self.rights:
            raise HttpError(403, "forbidden", f"This key does not have the right to {right}")

    def reach(self, company_id: str, device: str = MAIN_DEVICE) -> SessionKey:
        """Return the session's key; what is out of reach is as unknown as what is not there: ``SessionNotFound``."""
        key = SessionKey(company_id, device)
        if not self.reaches(company_id):
            raise SessionNotFound(f"Session not found for company {key}")
        return key

    def reaches(self, company_id: str) -> bool:
        return self.companies is None or company_id in self.companies
