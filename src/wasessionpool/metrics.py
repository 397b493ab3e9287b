"""What a pool is doing, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from .backends import Backends
from .counts import Counts
from .models import PoolMetrics, QueueDepths, Status
from .session import Supervisor


class Metrics:
    """Gathers a pool's figures when they are asked for; what happened to a session that is gone stays in them."""

    def __init__(self) -> None:
        self._gone = Counts()

    def forget(self, session: Supervisor) -> None:
        """Count a session no longer, but what happened to it."""
        self._gone += session.standing.counted()

    def of(self, sessions: Collection[Supervisor], backends: Backends) -> PoolMetrics:
        """Return the figures of this moment."""
        standings = [session.standing for session in sessions]
        counts = sum((standing.counted() for standing in standings), self._gone)
        statuses = Counter(standing.status for standing in standings)
        health = Counter(standing.health for standing in standings if standing.status is Status.CONNECTED)
        bus, driver = backends.bus, backends.driver
        return PoolMetrics(
            total_sessions=len(standings),
            active_connections=statuses[Status.CONNECTED],
            sessions={status: statuses[status] for status in Status},
            health={"ok": health["ok"], "suspect": health["suspect"]},
            messages_sent=counts.messages_sent,
            messages_received=counts.messages_received,
            sends_failed=dict(counts.sends_failed),
            rate_limited=counts.sends_failed["rate_limit_exceeded"],
            rate_limit_degraded=getattr(backends.limiter, "degraded", False),
            rate_limit_fallbacks=getattr(backends.limiter, "fallbacks", 0),
            receipts=dict(counts.receipts),
            errors=counts.errors.total(),
            errors_by_code=dict(counts.errors),
            reconnects=counts.reconnects.total(),
            reconnects_by_reason=dict(counts.reconnects),
            blips=counts.blips,
            connected_seconds=counts.connected_seconds,
            false_connected_seconds=counts.false_connected_seconds,
            send_latency=backends.send_latency.histogram(),
            time_to_connect=backends.time_to_connect.histogram(),
            queue_depths=QueueDepths(
                handler_events=bus.waiting_for_handlers(),
                stream_events=bus.waiting_for_streams(),
                sends_waiting=sum(session.sends.waiting for session in sessions),
                sends_in_flight=sum(session.sends.in_flight for session in sessions),
                messages_in_flight=sum(session.inbound.in_flight for session in sessions),
            ),
            events_dropped=bus.dropped,
            presences_dropped=counts.presences_dropped,
            receipts_dropped=counts.receipts_dropped,
            notices_dropped=counts.notices_dropped,
            messages_expired=counts.messages_expired,
            log_lines_dropped=counts.log_lines_dropped,
            statistics_dropped=backends.statistics.dropped,
            ignored_signals=counts.ignored_signals,
            workers=driver.workers(),
            worker_restarts=driver.worker_restarts,
        )
