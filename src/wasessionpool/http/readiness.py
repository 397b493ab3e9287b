"""Whether the service can do its work: its store, its limits, its workers and its sessions. It names no tenant."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from ..backends import Backends
from ..errors import ClientOutdated, PoolClosed, RateLimitExceeded, WhatsAppPoolError
from ..models import DisconnectReason, SessionKey, SessionStatus, Status
from ..pool import WhatsAppSessionPool
from .bodies import Readiness

logger = logging.getLogger(__name__)

PROBE_TIMEOUT = 5.0
"""Seconds for each part to answer."""
PROBE = SessionKey("_readiness")
"""Whose place in the limits is asked for and given back."""
DOWN = frozenset({Status.CONNECTING, Status.RECONNECTING, Status.FAILED})
"""Where a session is not connected though nobody wanted that, and WhatsApp allows it."""


async def readiness(pool: WhatsAppSessionPool) -> Readiness:
    """Return what keeps the service from its work, in plain words."""
    try:
        sessions = await pool.get_sessions()
        backends = pool.backends
    except PoolClosed:
        return _answer(["pool_closed: the pool is not open"])
    reasons = []
    for name, probe in (("store", _store), ("shelf", _shelf), ("limiter", _limiter)):
        if (reason := await _failure(name, probe, backends)) is not None:
            reasons.append(reason)
    try:
        backends.starts.check()
    except ClientOutdated as error:
        reasons.append(f"{error.code}: {error.message}")
    return _answer(reasons + _sessions(sessions))


def _answer(reasons: list[str]) -> Readiness:
    if not reasons:
        return Readiness(success=True, status="ok")
    return Readiness(success=False, status="unavailable", error="Not ready", code="not_ready", reasons=reasons)


async def _failure(name: str, probe: Callable[[Backends], Awaitable[None]], backends: Backends) -> str | None:
    with anyio.move_on_after(PROBE_TIMEOUT):
        try:
            await probe(backends)
        except WhatsAppPoolError as error:
            logger.warning("not ready: %s: %s", name, error.message)
            return f"{name}: {error.code}"
        except Exception:
            # A backend of somebody else's; whatever it raises, it does not work.
            logger.exception("not ready: %s", name)
            return f"{name}: it failed"
        return None
    return f"{name}: no answer within {PROBE_TIMEOUT:g} s"


async def _store(backends: Backends) -> None:
    async for _ in backends.store.records():
        break


async def _shelf(backends: Backends) -> None:
    await backends.shelf.get("readiness")


async def _limiter(backends: Backends) -> None:
    try:
        reservation = await backends.limiter.acquire(PROBE, str(PROBE))
    except RateLimitExceeded:
        return
    await reservation.release()


def _sessions(sessions: list[SessionStatus]) -> list[str]:
    down = [one for one in sessions if _should_be_connected(one)]
    reasons = []
    if any(one.disconnect_reason is DisconnectReason.WORKER_CRASHED for one in down):
        reasons.append("workers: a worker process ended, and not all of its sessions are back")
    if down and not any(one.status is Status.CONNECTED for one in sessions):
        reasons.append("sessions: none of those that should be connected is")
    return reasons


def _should_be_connected(session: SessionStatus) -> bool:
    """Whether it is linked and down, also for good, without having been told to be."""
    return session.phone_number is not None and session.status in DOWN
