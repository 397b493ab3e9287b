"""API keys: those that the environment names, and those that are made, listed and revoked."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

from pydantic import Field, ValidationError

from ..abc import Shelf
from ..errors import ConfigurationError, StorageError
from ..models import Frozen, SessionKey
from .rights import Grant, Right, checked_rights

logger = logging.getLogger(__name__)

VARIABLE = "WHATSAPP_API_KEYS"
SHORT = 16
"""Characters; a configured key that has fewer can be guessed."""
PLACE = "api_keys/"
_CONFIGURED = re.compile(r"[!-+\--~]+", re.ASCII)
_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})", re.ASCII)
_MADE = re.compile(r"wsp_([0-9a-f]{16})_[A-Za-z0-9_-]{43}", re.ASCII)
_NOBODYS = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


def digest(key: str) -> str:
    """Return what is kept of a key. It has 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class ConfiguredKeys:
    """Keys given in plain, or as ``sha256:<hex>``; each has every right.

    Raises ``ConfigurationError``, which never repeats a key.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [_digest_of(key, number) for number, key in enumerate(keys, 1)]

    @classmethod
    def from_env(cls) -> ConfiguredKeys:
        """Read ``WHATSAPP_API_KEYS``, where keys are separated by commas."""
        return cls(key for part in os.environ.get(VARIABLE, "").split(",") if (key := part.strip()))

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, key: str) -> Grant | None:
        """Return what the key allows; it is compared with every one, so that the time tells nothing of them."""
        given, found = digest(key), 0
        for number, known in enumerate(self._digests, 1):
            found |= number * hmac.compare_digest(known, given)
        return Grant(f"configured:{found}") if found else None


class ApiKey(Frozen):
    """What is kept of a key that was made: everything but the key. ``companies=None`` are all of them."""

    id: str
    name: str = ""
    rights: tuple[Right, ...]
    companies: tuple[str, ...] | None = None
    created_at: datetime
    sha256: str = Field(repr=False)


class StoredKeys:
    """Keys on a shelf, which any process may make, list and revoke: a change counts from the next request on.

    A key names its own entry, ``wsp_<id>_<secret>``, so that a request reads one entry however many there are.
    """

    def __init__(self, shelf: Shelf, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._shelf = shelf
        self._now = now

    async def create(
        self, *, rights: Collection[str], companies: Collection[str] | None = None, name: str = ""
    ) -> tuple[str, ApiKey]:
        """Make a key and return it, which is possible this once, with what is kept of it.

        Raises ``ConfigurationError``, ``InvalidCompanyId``, ``StorageError``.
        """
        chosen = checked_rights(rights)
        if companies is not None:
            if not companies:
                raise ConfigurationError("a key that is limited to no company is of no use")
            for company_id in companies:
                SessionKey(company_id)
        key_id = secrets.token_hex(8)
        key = f"wsp_{key_id}_{secrets.token_urlsafe(32)}"
        made = ApiKey(
            id=key_id,
            name=name,
            rights=tuple(sorted(chosen)),
            companies=None if companies is None else tuple(sorted(set(companies))),
            created_at=self._now(),
            sha256=digest(key),
        )
        await self._shelf.put(PLACE + key_id, made.model_dump_json().encode())
        return key, made

    async def list(self) -> list[ApiKey]:
        """Return all of them, the oldest first; an entry that cannot be read is logged and left out."""
        found = []
        async for place, value in self._shelf.scan(PLACE):
            try:
                found.append(ApiKey.model_validate_json(value))
            except ValidationError:
                logger.error("the API key at %s is left out: it cannot be read", place)
        return sorted(found, key=lambda key: (key.created_at, key.id))

    async def revoke(self, key_id: str) -> bool:
        """Forget a key by its id; ``False``: there is none of this id."""
        if not re.fullmatch("[0-9a-f]{16}", key_id, re.ASCII):
            return False
        return await self._shelf.delete(PLACE + key_id)

    async def find(self, key: str) -> Grant | None:
        """Return what the key allows; ``None`` for one that is unknown or revoked."""
        match = _MADE.fullmatch(key)
        value = await self._shelf.get(PLACE + match[1]) if match else None
        try:
            kept = ApiKey.model_validate_json(value) if value is not None else None
        except ValidationError:
            raise StorageError("an API key on the shelf cannot be read") from None
        if not hmac.compare_digest(kept.sha256 if kept else _NOBODYS, digest(key)) or kept is None:
            return None
        companies = None if kept.companies is None else frozenset(kept.companies)
        return Grant(f"key:{kept.id}", frozenset(kept.rights), companies)


def _digest_of(key: str, number: int) -> str:
    if match := _HASHED.fullmatch(key):
        return match[1].lower()
    if key.startswith("sha256:") or not _CONFIGURED.fullmatch(key):
        raise ConfigurationError(
            f"{VARIABLE}: the key in place {number} is neither printable ASCII without blanks and commas, "
            "nor sha256: and 64 hexadecimal digits"
        )
    if len(key) < SHORT:
        logger.warning(
            "%s: the key in place %d has fewer than %d characters and can be guessed", VARIABLE, number, SHORT
        )
    return digest(key)
