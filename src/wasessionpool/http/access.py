"""How a request proves who it is from, and whether it may do what it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..abc import Shelf
from ..errors import ConfigurationError
from .errors import unauthorized
from .keys import VARIABLE, ConfiguredKeys, StoredKeys
from .quota import Quota
from .rights import NEEDED, Grant
from .tokens import Tokens


class Access:
    """Lets requests in by a key (``X-API-Key``, ``Authorization: Bearer``), or a token where ``tokens`` are accepted.

    ``shelf`` returns where keys that were made are kept. ``allow_anonymous`` gives a request that names no key every
    right; one with a wrong key is refused all the same.
    """

    def __init__(
        self,
        keys: ConfiguredKeys,
        shelf: Callable[[], Shelf],
        *,
        tokens: Tokens | None = None,
        allow_anonymous: bool = False,
        quota: Quota | None = None,
    ) -> None:
        self._keys = keys
        self._shelf = shelf
        self._tokens = tokens
        self._allow_anonymous = allow_anonymous
        self._quota = quota

    async def check(self) -> None:
        """Raise ``ConfigurationError`` where nobody could be let in, or all would be without that being said."""
        if self._allow_anonymous or self._keys or self._tokens or await StoredKeys(self._shelf()).list():
            return
        raise ConfigurationError(
            f"no API key is configured: set {VARIABLE}, or say allow_anonymous=True to let everybody in"
        )

    async def admit(self, call: str, headers: Mapping[str, str]) -> Grant | None:
        """Return what the request may do, ``None`` where the call needs no key; raises ``HttpError`` 401, 403, 429."""
        right = NEEDED[call]
        if right is None:
            return None
        grant = await self._grant(headers)
        if grant is None:
            raise unauthorized()
        if self._quota is not None:
            self._quota.spend(grant.name)
        grant.require(right)
        return grant

    async def _grant(self, headers: Mapping[str, str]) -> Grant | None:
        key = _given(headers)
        if key is None:
            return Grant("anonymous") if self._allow_anonymous else None
        found = self._keys.find(key)
        if found is None and key.startswith("wsp_"):
            found = await StoredKeys(self._shelf()).find(key)
        if found is None and self._tokens is not None:
            found = self._tokens.find(key)
        return found


def _given(headers: Mapping[str, str]) -> str | None:
    """Return the key that the headers name; ``""``, which is nobody's, for a scheme that is not known."""
    key, authorization = headers.get("x-api-key"), headers.get("authorization")
    if key is not None or authorization is None:
        return key
    scheme, _, credentials = authorization.partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""
