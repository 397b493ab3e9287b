"""JSON Web Tokens, for who has a login of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .rights import ALL_RIGHTS, Grant

LEEWAY = 30.0
"""Seconds that two hosts' clocks may differ."""


class Tokens:
    """Accepts tokens that ``issuer`` signed for ``audience``; ``key_file`` holds its public key, as PEM.

    The algorithm follows from the kind of that key, never from the token, so there is none to choose. A token has to
    expire. ``company_claim`` names the companies that it reaches, one or a list, ``"*"`` for all; ``rights_claim`` its
    rights, as a list or separated by blanks (``"read whatsapp:send"``). What a token does not say, it does not allow.
    Raises ``ConfigurationError`` for a key that cannot be used. Needs PyJWT, of the extra ``fastapi``.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        key_file: str | os.PathLike[str],
        company_claim: str = "companies",
        rights_claim: str = "scope",
    ) -> None:
        key, algorithms = _public_key(Path(key_file))
        self._company_claim = company_claim
        self._rights_claim = rights_claim
        import jwt

        self._invalid = jwt.InvalidTokenError
        self._decode = partial(
            jwt.decode,
            key=key,
            algorithms=algorithms,
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )

    def find(self, token: str) -> Grant | None:
        """Return what the token allows; ``None`` for one that is not accepted."""
        try:
            claims: dict[str, Any] = self._decode(token)
        except (self._invalid, OverflowError):
            # PyJWT lets the latter through, of a time that is infinite.
            return None
        companies = _words(claims.get(self._company_claim))
        rights = {word.removeprefix("whatsapp:") for word in _words(claims.get(self._rights_claim))}
        return Grant(
            f"token:{claims['sub']}",
            frozenset(right for right in ALL_RIGHTS if right in rights),
            None if "*" in companies else frozenset(companies),
        )


def _words(claim: object) -> list[str]:
    if isinstance(claim, str):
        return claim.split()
    return [word for word in claim if isinstance(word, str)] if isinstance(claim, list) else []


def _public_key(file: Path) -> tuple[Any, Sequence[str]]:
    """Return the key and the algorithms that it can be used with."""
    try:
        import jwt  # noqa: F401 - said here, before the key is looked at
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise ConfigurationError("PyJWT and cryptography not found: pip install 'wasessionpool[fastapi]'") from None
    try:
        key = load_pem_public_key(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"the tokens' key file {file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"the tokens' key file {file} holds no public key as PEM") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return key, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
    if isinstance(key, ec.EllipticCurvePublicKey) and (name := _CURVES.get(key.curve.name)):
        return key, [name]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key, ["EdDSA"]
    raise ConfigurationError(f"the tokens' key file {file}: expected RSA of 2048 bits, P-256, P-384, P-521 or Ed25519")


_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
