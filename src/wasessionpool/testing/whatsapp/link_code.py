"""Linking a device by a code that its user types into the phone: the server's and the phone's part."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

import anyio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from wasessionpool.testing.whatsapp.addresses import SERVER
from wasessionpool.testing.whatsapp.connection import Connection
from wasessionpool.testing.whatsapp.curve import KeyPair, hkdf
from wasessionpool.testing.whatsapp.errors import PairingError, ProtocolError
from wasessionpool.testing.whatsapp.network import Account, Companion, Network
from wasessionpool.testing.whatsapp.nodes import Node, node
from wasessionpool.testing.whatsapp.pairing import Pairing
from wasessionpool.testing.whatsapp.stanzas import now

ALPHABET: Final = frozenset("123456789ABCDEFGHJKLMNPQRSTVWXYZ")
_CODE_LENGTH = 8
_ITERATIONS = 2 << 16
_WRAPPED_SIZE = 32 + 16 + 32


class LinkRequest:
    """An unlinked client that may ask to be linked to a number by a code, instead of by its QR."""

    def __init__(self, network: Network, connection: Connection, pairing: Pairing) -> None:
        self.pairing = pairing
        self._network = network
        self._connection = connection
        self._number = ""
        self._ref = b""
        self._wrapped = b""
        self._bundle = b""
        self._finished = anyio.Event()

    def answer(self, iq: Node) -> list[Node]:
        """Answer an `<iq>` of the client. Raises ProtocolError or NodeError for one that makes no sense."""
        asked = iq.find("link_code_companion_reg")
        match asked.text("stage") if asked is not None else "":
            case "companion_hello" if asked is not None:
                return self._begin(asked)
            case "companion_finish" if asked is not None:
                self._bundle = _content(asked, "link_code_pairing_wrapped_key_bundle")
                self._finished.set()
        return []

    def withdraw(self) -> None:
        """Forget the request: the client has gone."""
        if self._network.link_requests.get(self._number) is self:
            del self._network.link_requests[self._number]
        self._finished.set()

    async def complete(self, account: Account, code: str) -> Companion:
        """Link the client, and return once it has proven that it showed this code, and its identity.

        Raises PairingError when it did not, refuses or goes away.
        """
        del self._network.link_requests[self._number]
        ephemeral, phone = KeyPair.generate(), account.primary.identity
        public = await _crypt(code, self._wrapped)
        salt_iv = secrets.token_bytes(48)
        children = [
            node(
                "link_code_pairing_wrapped_primary_ephemeral_pub",
                {},
                salt_iv + await _crypt(code, salt_iv + ephemeral.public),
            ),
            node("primary_identity_pub", {}, phone.public),
            node("link_code_pairing_ref", {}, self._ref),
        ]
        self._connection.send(
            node(
                "notification",
                {"from": SERVER, "type": "link_code_companion_reg", "id": secrets.token_hex(8), "t": now()},
                [node("link_code_companion_reg", {"stage": "primary_hello"}, children)],
            )
        )
        await self._finished.wait()
        return await self.pairing.complete(account, self._secret(ephemeral, public, phone))

    def _begin(self, asked: Node) -> list[Node]:
        self.withdraw()
        self._number = asked.jid("jid").user
        self._wrapped = _content(asked, "link_code_pairing_wrapped_companion_ephemeral_pub")
        if len(self._wrapped) != _WRAPPED_SIZE:
            raise ProtocolError("a wrapped key of a wrong length")
        self._ref = secrets.token_bytes(16)
        self._bundle = b""
        self._finished = anyio.Event()
        self._network.link_requests[self._number] = self
        return [node("link_code_companion_reg", {}, [node("link_code_pairing_ref", {}, self._ref)])]

    def _secret(self, ephemeral: KeyPair, public: bytes, phone: KeyPair) -> bytes:
        if not self._bundle:
            raise PairingError("the device went away while it was being linked")
        salt, nonce, sealed = self._bundle[:32], self._bundle[32:44], self._bundle[44:]
        try:
            shared = ephemeral.agree(public)
            key = hkdf(shared, salt=salt, info=b"link_code_pairing_key_bundle_encryption_key", length=32)
            bundle = AESGCM(key).decrypt(nonce, sealed, None)
        except (InvalidTag, ValueError):
            raise PairingError("the device shows another code than this one") from None
        identity, phone_identity, random = bundle[:32], bundle[32:64], bundle[64:]
        if identity != self.pairing.identity or phone_identity != phone.public:
            raise PairingError("the device speaks of other keys than those it registered with")
        return hkdf(shared + phone.agree(identity) + random, info=b"adv_secret", length=32)


def link_request(network: Network, account: Account, text: str) -> tuple[LinkRequest, str]:
    """Find the device that asked for a code for this account. Raises PairingError."""
    code = text.replace("-", "").replace(" ", "").upper()
    if len(code) != _CODE_LENGTH or not ALPHABET.issuperset(code):
        raise PairingError("not a WhatsApp pairing code: 8 letters and digits expected, no I, O, U and 0")
    request = network.link_requests.get(account.number)
    if request is None:
        raise PairingError(f"no device has asked to be linked to {account.number} by a code, or it is gone")
    return request, code


async def _crypt(code: str, wrapped: bytes) -> bytes:
    """En- or decrypt the key in `salt || iv || key`. The derivation takes about 60 ms, hence the thread."""
    salt, iv, content = wrapped[:32], wrapped[32:48], wrapped[48:]
    key = await anyio.to_thread.run_sync(hashlib.pbkdf2_hmac, "sha256", code.encode(), salt, _ITERATIONS)
    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(content) + cipher.finalize()


def _content(parent: Node, tag: str) -> bytes:
    found = parent.find(tag)
    if found is None:
        raise ProtocolError(f"<{parent.tag}> without <{tag}>")
    return found.data
