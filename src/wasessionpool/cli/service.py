"""Sessions that a running service owns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio

from ..http.bodies import CreatedSession, Done, Explanation, OneSession, Sent, SessionBody, Sessions, WaitingQR
from ..messages import OutgoingMessage
from ..models import DisconnectReason, SentMessage, SessionKey, Status
from ..qr import QRCode
from .client import Client, NoAnswer, Refused
from .ending import CommandFailed
from .places import Ending, Linked, Offers, Sight, still_waiting
from .records import command_line

POLL = 0.5
"""Seconds between two questions."""
GIVING_UP = 5.0
"""Seconds to tell the service that nobody waits for a code any more."""
ON_THE_WAY = frozenset({Status.CONNECTING, Status.PAIRING, Status.RECONNECTING, Status.RESTRICTED, Status.SLEEPING})
COMING = frozenset({Status.CONNECTING, Status.RECONNECTING, Status.SLEEPING})
"""Statuses out of which a session connects by itself, and soon."""
STAYING = frozenset({Status.DISCONNECTED, Status.FAILED})
"""Statuses that a session stays in until it is asked for."""


class Service:
    """The service at ``url``, asked with ``api_key``; ``options`` are those that name it in a command line."""

    def __init__(self, url: str, api_key: str | None, *, options: tuple[str, ...] = ()) -> None:
        self.url = url
        self._api_key = api_key
        self._options = options

    def command(self, name: str, key: SessionKey) -> str:
        return command_line(name, key, *self._options)

    async def sights(self) -> list[Sight]:
        async with self._asking() as client:
            found = await client.ask(Sessions, "GET", "/sessions")
        return [self._sight(session) for session in found.sessions]

    def nothing(self) -> str:
        return f"there are no sessions at {self.url}"

    async def sight(self, key: SessionKey) -> Sight:
        async with self._asking(key) as client:
            return self._sight(await _get(client, key))

    async def explanation(self, key: SessionKey) -> tuple[Sight, str]:
        async with self._asking(key) as client:
            session = await _get(client, key)
            said = await client.ask(Explanation, "GET", f"{_path(key)}/explain", device=key.device)
        return self._sight(session), said.text

    async def send(self, key: SessionKey, to: str, message: OutgoingMessage, *, timeout: float) -> SentMessage:
        """Send, as soon as the session's link is there; one that was told to stay down is not started."""
        body = {"to": to, "message": message.model_dump(mode="json", by_alias=True, exclude_none=True)}
        deadline = anyio.current_time() + timeout
        async with self._asking(key) as client:
            while True:
                try:
                    sent = await client.ask(
                        Sent, "POST", f"{_path(key)}/messages", body=body, device=key.device, timeout=timeout
                    )
                    break
                except NoAnswer as error:
                    raise CommandFailed(f"whether the message went out is unknown: {error}") from None
                except Refused as error:
                    if error.body.code != "session_not_connected":
                        raise
                    if error.body.status not in COMING or anyio.current_time() + POLL > deadline:
                        stays = error.body.status in STAYING
                        start = f"; to start it: {self.command('pair', key)}" if stays else ""
                        raise CommandFailed(f"not sent: {error}{start}") from None
                await anyio.sleep(POLL)
        return SentMessage(
            id=sent.message_id, to=sent.to, company_id=key.company_id, device=key.device, timestamp=sent.timestamp
        )

    async def leave(self, key: SessionKey, ending: Ending) -> Sight:
        async with self._asking(key) as client:
            was = self._sight(await _get(client, key))
            if ending == "delete":
                await client.ask(Done, "DELETE", _path(key), device=key.device)
            else:
                await client.ask(OneSession, "POST", f"{_path(key)}/{ending}", device=key.device)
        return was

    async def pair(self, key: SessionKey, *, phone_number: str | None, timeout: float, offers: Offers) -> Linked:
        """Ask how it stands until it is connected; where nobody confirms in time, the session is stopped."""
        async with self._asking(key) as client:
            pairing = _Pairing(client, key, phone_number, offers)
            try:
                with anyio.move_on_after(timeout):
                    return await pairing.wait()
                raise still_waiting(key, pairing.status, timeout, shown=pairing.shown, last_error=pairing.last_error)
            except BaseException:
                with anyio.move_on_after(GIVING_UP, shield=True):
                    await pairing.give_up()
                raise

    @asynccontextmanager
    async def _asking(self, key: SessionKey | None = None) -> AsyncIterator[Client]:
        """Ask, and say of a refusal what to do about it."""
        try:
            async with Client(self.url, self._api_key) as client:
                yield client
        except Refused as error:
            raise CommandFailed(self._meaning(error, key)) from None

    def _meaning(self, error: Refused, key: SessionKey | None) -> str:
        match error.body.code:
            case "unauthorized" if self._api_key:
                return f"{self.url} does not know the key: `wasessionpool keys` on its host lists and makes them"
            case "unauthorized":
                return f"{self.url} asks for a key: give it in WHATSAPP_API_KEY, or with --api-key"
            case "session_not_found" if key is not None:
                return f"there is no session {key} at {self.url}; to create it: {self.command('pair', key)}"
            case "authentication_required" if key is not None:
                return f"session {key} is not linked to a phone: {self.command('pair', key)}"
            case "not_found":
                return f"{self.url} is not where the REST interface is; name its path in the URL"
        return str(error)

    def _sight(self, session: SessionBody) -> Sight:
        key = SessionKey(session.company_id, session.device)
        linked = session.jid is not None
        return Sight(
            key=key,
            label=f"{session.status}, held by {self.url}",
            linked=linked,
            phone_number=session.phone_number,
            push_name=session.push_name,
            described={**session.model_dump(mode="json"), "linked": linked, "holder": self.url},
            connected_at=session.connected_at,
            restricted_until=session.restricted_until,
        )


class _Pairing:
    """A pairing that the service does, as far as it was seen."""

    def __init__(self, client: Client, key: SessionKey, phone_number: str | None, offers: Offers) -> None:
        self._client = client
        self._key = key
        self._phone_number = phone_number
        self._offers = offers
        self._told: tuple[Status, DisconnectReason | None] | None = None
        self._code: str | None = None
        self._begun = False
        self.status = Status.CONNECTING
        self.last_error: str | None = None

    @property
    def shown(self) -> str | None:
        """What waits on the phone."""
        if self.status is not Status.PAIRING or self._code is None:
            return None
        return "qr" if self._phone_number is None else "code"

    async def wait(self) -> Linked:
        session = (await self._create()).session
        while True:
            self._look(session)
            if session.status is Status.CONNECTED:
                return Linked(session.phone_number, session.jid)
            if session.status not in ON_THE_WAY:
                raise CommandFailed(_why_ended(self._key, session))
            if session.status is Status.PAIRING:
                await self._show()
            await anyio.sleep(POLL)
            session = await _get(self._client, self._key)

    async def give_up(self) -> None:
        """Let the service offer no codes that nobody asked for; a session that is linked is left alone."""
        with suppress(CommandFailed):
            if self._begun and (await _get(self._client, self._key)).jid is None:
                await self._client.ask(OneSession, "POST", f"{_path(self._key)}/disconnect", device=self._key.device)

    async def _create(self) -> CreatedSession:
        body: dict[str, Any] = {"companyId": self._key.company_id, "device": self._key.device}
        if self._phone_number is not None:
            body["phoneNumber"] = self._phone_number
        self._begun = True
        created = await self._client.ask(CreatedSession, "POST", "/sessions", body=body)
        if created.pairing_code not in (None, self._code):
            self._code = created.pairing_code
            self._offers.typed_code(self._code, None)
        return created

    def _look(self, session: SessionBody) -> None:
        self.status, self.last_error = session.status, session.last_error
        stands = session.status, session.disconnect_reason
        if stands != self._told and session.status is not Status.CONNECTED:
            self._told = stands
            self._offers.status(*stands)

    async def _show(self) -> None:
        """Show the code that waits, where it is not the one that was shown last."""
        if self._phone_number is not None:
            if self._code is None:
                await self._create()
            return
        try:
            code = await self._client.ask(WaitingQR, "GET", f"{_path(self._key)}/qr", device=self._key.device)
        except Refused as error:
            if error.body.code != "no_qr_waiting":
                raise
            return
        if code.text != self._code:
            self._code = code.text
            self._offers.qr(QRCode(code.text, code.expires_at))


async def _get(client: Client, key: SessionKey) -> SessionBody:
    return (await client.ask(OneSession, "GET", _path(key), device=key.device)).session


def _path(key: SessionKey) -> str:
    return f"/sessions/{key.company_id}"


def _why_ended(key: SessionKey, session: SessionBody) -> str:
    match session.disconnect_reason:
        case DisconnectReason.PAIRING_TIMEOUT:
            return f"session {key}: nobody confirmed the pairing in time"
        case DisconnectReason.PAIRING_FAILED:
            because = f" ({session.last_error})" if session.last_error else ""
            return f"session {key}: the pairing was refused or broke off{because}"
    reason = f" ({session.disconnect_reason})" if session.disconnect_reason else ""
    return f"session {key} is {session.status}{reason}"
