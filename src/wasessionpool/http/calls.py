"""What each call of the REST interface does, for whichever framework brings it."""

from __future__ import annotations

import logging

from ..errors import ConfigurationError, SessionNotFound
from ..explain import explain
from ..models import SessionKey, SessionStatus
from ..pool import WhatsAppSessionPool
from ..qr import QRCode
from .bodies import (
    CreatedSession,
    CreateSession,
    Detail,
    Done,
    Explanation,
    Metrics,
    OneSession,
    PoolMetricsBody,
    SendMessage,
    Sent,
    SessionBody,
    SessionCounts,
    Sessions,
    public,
)
from .errors import HttpError
from .reading import invalid
from .rights import Grant

logger = logging.getLogger(__name__)


class Calls:
    """The calls on one pool. Each takes what the request may do, and raises the pool's errors or ``HttpError``."""

    def __init__(self, pool: WhatsAppSessionPool) -> None:
        self.pool = pool
        self._creating: set[SessionKey] = set()

    async def list_sessions(self, grant: Grant) -> Sessions:
        sessions = await self._sessions(grant)
        return Sessions(
            count=len(sessions), sessions=list(map(SessionBody.of, sessions)), metrics=SessionCounts.of(sessions)
        )

    async def create_session(
        self, grant: Grant, asked: CreateSession, device: str | None
    ) -> tuple[bool, CreatedSession]:
        """Return whether the session is new, and how it stands; ``device`` is the query's, where it names one."""
        if device is None:
            device = asked.device
        elif "device" in asked.model_fields_set and device != asked.device:
            raise invalid(Detail(where="query.device", problem="the body names another device"))
        key = grant.reach(asked.company_id, device)
        # Of several that ask for it at once, one has created it.
        is_new = not await self._knows(key) and key not in self._creating
        creating = {key} if is_new else set()
        self._creating |= creating
        try:
            status = await self.pool.create_session(
                key.company_id,
                device=key.device,
                phone_number=asked.phone_number,
                metadata=asked.metadata,
                proxy=asked.proxy,
            )
        except ConfigurationError as error:
            # It is about the metadata or the proxy, which are the client's.
            raise invalid(Detail(where="body", problem=error.message)) from None
        finally:
            self._creating -= creating
        return is_new, CreatedSession.of(status)

    async def get_session(self, grant: Grant, company_id: str, device: str) -> OneSession:
        return OneSession(session=SessionBody.of(await self._status(grant.reach(company_id, device))))

    async def delete_session(self, grant: Grant, company_id: str, device: str) -> Done:
        key = grant.reach(company_id, device)
        await self.pool.delete_session(key.company_id, device=key.device)
        return Done()

    async def disconnect_session(self, grant: Grant, company_id: str, device: str) -> OneSession:
        key = grant.reach(company_id, device)
        await self.pool.disconnect(key.company_id, device=key.device)
        return OneSession(session=SessionBody.of(await self._status(key)))

    async def restart_session(self, grant: Grant, company_id: str, device: str) -> OneSession:
        key = grant.reach(company_id, device)
        await self.pool.restart(key.company_id, device=key.device)
        return OneSession(session=SessionBody.of(await self._status(key)))

    async def logout_session(self, grant: Grant, company_id: str, device: str) -> OneSession:
        key = grant.reach(company_id, device)
        await self.pool.logout(key.company_id, device=key.device)
        return OneSession(session=SessionBody.of(await self._status(key)))

    async def get_qr(self, grant: Grant, company_id: str, device: str) -> QRCode:
        """Return the QR that waits; raises ``HttpError`` 409 where none does."""
        status = await self._status(grant.reach(company_id, device))
        if status.qr is None:
            waits = "a pairing code waits in its place" if status.pairing_code else f"it is {status.status}"
            said = f"No QR waits to be scanned for company {company_id}: {waits}"
            raise HttpError(409, "no_qr_waiting", said, carried={"status": status.status})
        return status.qr

    async def send_message(
        self, grant: Grant, company_id: str, device: str, asked: SendMessage, idempotency_key: str | None
    ) -> Sent:
        key = grant.reach(company_id, device)
        sent = await self.pool.send_message(
            key.company_id, asked.to, asked.message, device=key.device, idempotency_key=idempotency_key
        )
        tied = {"session": str(key), "message_id": sent.id}
        logger.info("session %s: sent message %s", key, sent.id, extra=tied)
        return Sent.of(sent)

    async def explain_session(self, grant: Grant, company_id: str, device: str) -> Explanation:
        key = grant.reach(company_id, device)
        return Explanation(text=explain(public(await self._status(key)), self.pool.backends.clock.now()))

    async def get_metrics(self, grant: Grant) -> Metrics:
        """Return what the pool counts; to a key that is limited to companies, only what is theirs."""
        if grant.companies is None:
            return Metrics(metrics=PoolMetricsBody.of(await self.pool.get_metrics()))
        return Metrics(metrics=SessionCounts.of(await self._sessions(grant)))

    async def get_prometheus_metrics(self, grant: Grant) -> tuple[str, bytes]:
        """Return the content type and the text that Prometheus reads; they are of the whole pool, so not for every key.

        Raises ``HttpError`` 403 for a key that is limited to companies, 501 where the extra is missing.
        """
        if grant.companies is not None:
            raise HttpError(403, "forbidden", "This key is limited to companies, and these figures are of all of them")
        try:
            from ..hooks.prometheus import render
        except ConfigurationError as error:
            raise HttpError(501, "not_implemented", error.message) from None
        return render(await self.pool.get_metrics())

    async def _sessions(self, grant: Grant) -> list[SessionStatus]:
        return [status for status in await self.pool.get_sessions() if grant.reaches(status.company_id)]

    async def _status(self, key: SessionKey) -> SessionStatus:
        return await self.pool.get_session_status(key.company_id, device=key.device)

    async def _knows(self, key: SessionKey) -> bool:
        try:
            await self._status(key)
        except SessionNotFound:
            return False
        return True
