"""The server's own trust: a TLS authority, and WhatsApp's certificate chain inside Noise."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme

from wasessionpool.testing.whatsapp.curve import KeyPair
from wasessionpool.testing.whatsapp.whatsapp_pb2 import CertificateChain

HOSTS = ("web.whatsapp.com", "*.whatsapp.com", "*.whatsapp.net")

_DAY = 24 * 60 * 60
_VALIDITY = 30 * _DAY


@dataclass(frozen=True, slots=True)
class NoiseIdentity:
    """The static key the server proves in the handshake, and the chain from the root to it."""

    root_key: bytes
    """The public key that clients trust."""
    static: KeyPair
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Trust:
    """What clients trust: a TLS authority and the root of Noise certificates. A restarted server needs the same."""

    authority: trustme.CA
    noise_root: KeyPair

    @classmethod
    def make(cls) -> Self:
        return cls(trustme.CA(), KeyPair.generate())


def make_noise_identity(root: KeyPair | None = None) -> NoiseIdentity:
    """Issue an intermediate and a leaf certificate from a root, a new one unless given, valid for thirty days."""
    root = root or KeyPair.generate()
    intermediate, static = KeyPair.generate(), KeyPair.generate()
    chain = CertificateChain(
        intermediate=_certificate(root, intermediate, serial=1, issuer_serial=0),
        leaf=_certificate(intermediate, static, serial=2, issuer_serial=1),
    )
    return NoiseIdentity(root.public, static, chain.SerializeToString())


def make_tls_context(ca_file: Path, authority: trustme.CA) -> ssl.SSLContext:
    """Write an authority's certificate to `ca_file`, and return a context that serves `HOSTS`."""
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert(*HOSTS).configure_cert(context)
    return context


def _certificate(issuer: KeyPair, subject: KeyPair, *, serial: int, issuer_serial: int) -> CertificateChain.Certificate:
    now = int(time.time())
    details = CertificateChain.Certificate.Details(
        serial=serial,
        issuer_serial=issuer_serial,
        key=subject.public,
        not_before=now - _DAY,
        not_after=now + _VALIDITY,
    ).SerializeToString()
    return CertificateChain.Certificate(details=details, signature=issuer.sign(details))
