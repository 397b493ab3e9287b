"""Linking a device, and the QR that shows what is needed for it: the server's and the phone's part."""

from __future__ import annotations

import base64
import binascii
import hmac
import itertools
import secrets
import time
from dataclasses import dataclass
from typing import Self

import anyio
from google.protobuf.message import DecodeError

from wasessionpool.testing.whatsapp.connection import LONG_PATIENCE, Connection
from wasessionpool.testing.whatsapp.curve import KEY_TYPE, verify
from wasessionpool.testing.whatsapp.device_lists import announce_device
from wasessionpool.testing.whatsapp.errors import PairingError, ProtocolError
from wasessionpool.testing.whatsapp.network import Account, Companion, DeviceKeys, Network
from wasessionpool.testing.whatsapp.nodes import Node, node
from wasessionpool.testing.whatsapp.stanzas import now, stream_error
from wasessionpool.testing.whatsapp.whatsapp_pb2 import (
    ClientPayload,
    DeviceIdentity,
    DeviceProps,
    SealedDeviceIdentity,
    SignedDeviceIdentity,
)

FIRST_CODE_LIFE = 60.0
CODE_LIFE = 20.0
CODE_GRACE = 2.0

_ACCOUNT_SIGNATURE, _DEVICE_SIGNATURE = b"\x06\x00", b"\x06\x01"


@dataclass(frozen=True, slots=True)
class QRCode:
    """What a phone reads from a QR: the code's reference, and the new device's keys and secret."""

    ref: str
    noise_key: bytes
    identity: bytes
    secret: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a QR, with or without the URL in front. Raises PairingError."""
        parts = text.rpartition("#")[2].split(",")
        if len(parts) < 4:
            raise PairingError(f"not a WhatsApp pairing code: {len(parts)} comma-separated parts, at least 4 expected")
        try:
            keys = [base64.b64decode(part, validate=True) for part in parts[1:4]]
        except (binascii.Error, ValueError):
            raise PairingError("not a WhatsApp pairing code: a key is not base64") from None
        if any(len(key) != 32 for key in keys):
            raise PairingError("not a WhatsApp pairing code: a key is not 32 bytes long")
        return cls(parts[0], *keys)


class Codes:
    """The references one client got for its codes, and the time each ends.

    The first of several lives 60 s, every other 20 s, as whatsmeow shows them; each is still taken 2 s later.
    """

    def __init__(self, count: int, now: float) -> None:
        lives = [FIRST_CODE_LIFE if count > 1 else CODE_LIFE] + [CODE_LIFE] * (count - 1)
        self._ends = {secrets.token_urlsafe(24): now + life + CODE_GRACE for life in itertools.accumulate(lives)}

    @property
    def refs(self) -> tuple[str, ...]:
        return tuple(self._ends)

    def is_live(self, ref: str, now: float) -> bool:
        return now <= self._ends[ref]


class Pairing:
    """A client that is not linked yet, and the codes it was given."""

    def __init__(
        self, network: Network, connection: Connection, noise_key: bytes, payload: ClientPayload, codes: Codes
    ) -> None:
        self._network = network
        self._connection = connection
        self._noise_key = noise_key
        self._keys = _device_keys(payload.registration)
        self._os = _device_props(payload.registration).os
        self._codes = codes
        self._taken = False
        self._answer: Node | None = None
        self._answered = anyio.Event()

    def offer(self) -> None:
        """Give the client its codes."""
        self._network.pairings.update(dict.fromkeys(self._codes.refs, self))
        offered = node("pair-device", {}, [node("ref", {}, ref.encode()) for ref in self._codes.refs])
        self._connection.request({"xmlns": "md"}, [offered], lambda _: None)

    def withdraw(self) -> None:
        """Forget the codes: the client has gone."""
        for ref in self._codes.refs:
            self._network.pairings.pop(ref, None)
        self._answered.set()

    def check(self, code: QRCode) -> None:
        """Raise PairingError when this code cannot be used now."""
        if self._taken:
            raise PairingError("this pairing code was used already")
        if not self._codes.is_live(code.ref, anyio.current_time()):
            raise PairingError("this pairing code has expired")
        if code.noise_key != self._noise_key or code.identity != self._keys.identity:
            raise PairingError("this pairing code shows other keys than the device that asked for it")

    @property
    def identity(self) -> bytes:
        """The public identity key that the device registers with."""
        return self._keys.identity

    async def complete(self, account: Account, secret: bytes) -> Companion:
        """Link the device to an account, and return once it has proven its identity.

        `secret` is what the phone learned by the code. The client is then told to log in. Raises PairingError when it
        refuses, lies or goes away.
        """
        if self._taken:
            raise PairingError("this device is being linked already")
        self._taken = True
        if account.faults.pairings.take():
            secret = secrets.token_bytes(len(secret))
        companion = account.link(self._noise_key, self._keys, self._os)
        try:
            details = DeviceIdentity(
                raw_id=secrets.randbits(31), timestamp=int(time.time()), key_index=companion.device
            ).SerializeToString()
            self._connection.request({"t": now()}, [_pair_success(companion, details, secret)], self._take_answer)
            await self._answered.wait()
            _check_answer(self._answer, account, details, self.identity)
        except BaseException:
            account.unlink(companion)
            raise
        refusal = account.faults.first_logins.take()
        if refusal is not None:
            self._network.refusals.append(refusal)
        announce_device(self._network, companion, "add")
        self._connection.send(stream_error(515))
        self._connection.end(LONG_PATIENCE)
        return companion

    def _take_answer(self, answer: Node) -> None:
        self._answer = answer
        self._answered.set()


def _pair_success(companion: Companion, details: bytes, secret: bytes) -> Node:
    account = companion.account
    phone = account.primary.identity
    signed = SignedDeviceIdentity(
        details=details,
        account_key=phone.public,
        account_signature=phone.sign(_ACCOUNT_SIGNATURE + details + companion.keys.identity),
    ).SerializeToString()
    sealed = SealedDeviceIdentity(details=signed, hmac=hmac.digest(secret, signed, "sha256"))
    return node(
        "pair-success",
        {},
        [
            node("device-identity", {}, sealed.SerializeToString()),
            node("device", {"jid": account.jid.with_device(companion.device), "lid": companion.lid}),
            node("platform", {"name": "android"}),
        ],
    )


def _check_answer(answer: Node | None, account: Account, details: bytes, identity: bytes) -> None:
    if answer is None:
        raise PairingError("the device went away while it was being linked")
    sign = answer.find("pair-device-sign", "device-identity")
    if answer.text("type") != "result" or sign is None:
        raise PairingError(f"the device refused to be linked: {answer.text('type')}")
    try:
        signature = SignedDeviceIdentity.FromString(sign.data).device_signature
    except DecodeError:
        raise PairingError("the device sent an identity that cannot be read") from None
    signed = _DEVICE_SIGNATURE + details + identity + account.primary.identity.public
    if not verify(identity, signed, signature):
        raise PairingError("the device's own signature does not hold")


def _device_keys(registration: ClientPayload.Registration) -> DeviceKeys:
    signed_prekey, signature = registration.signed_prekey, registration.signed_prekey_signature
    if registration.key_type != KEY_TYPE or not verify(registration.identity, KEY_TYPE + signed_prekey, signature):
        raise ProtocolError("a device registers with a signed pre-key that it did not sign")
    return DeviceKeys(
        int.from_bytes(registration.registration_id, "big"),
        registration.identity,
        int.from_bytes(registration.signed_prekey_id, "big"),
        signed_prekey,
        signature,
    )


def _device_props(registration: ClientPayload.Registration) -> DeviceProps:
    try:
        return DeviceProps.FromString(registration.device_props)
    except DecodeError:
        raise ProtocolError("a device registers with properties that cannot be read") from None


def scan_target(network: Network, text: str) -> tuple[Pairing, QRCode]:
    """Find the device behind a QR. Raises PairingError for a code this server does not know, or no longer."""
    code = QRCode.parse(text)
    pairing = network.pairings.get(code.ref)
    if pairing is None:
        raise PairingError("this pairing code is unknown here, or the device that showed it is gone")
    pairing.check(code)
    return pairing, code
