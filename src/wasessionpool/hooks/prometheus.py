"""A pool's metrics for Prometheus; needs ``pip install 'wasessionpool[prometheus]'``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import accumulate
from types import TracebackType
from typing import Any, Protocol, Self

import anyio

from ..abc import Clock
from ..clock import SystemClock
from ..errors import ConfigurationError, PoolClosed
from ..models import DisconnectReason, Histogram, PoolMetrics, SessionStatus, Status, WorkerMetrics

try:
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise ConfigurationError("prometheus-client not found: pip install 'wasessionpool[prometheus]'") from None

INTERVAL = 5.0
"""Seconds that what a scrape is told may be old."""
ROLES = ("shard", "pairing", "spare")


class Source(Protocol):
    """What is asked of a pool."""

    async def get_metrics(self) -> PoolMetrics: ...

    async def get_sessions(self) -> list[SessionStatus]: ...


class PrometheusMetrics(Collector):
    """A collector of a pool's metrics, registered with ``registry`` as long as its context lasts::

        async with WhatsAppSessionPool() as pool, PrometheusMetrics(pool):
            prometheus_client.start_http_server(9100)

    It reads the pool every ``interval`` seconds, so that a scrape, from whatever thread, neither waits nor touches
    what the event loop works on. With ``company_label`` each session has series of its own, too. Raises
    ``ConfigurationError`` where the registry has another pool's metrics, ``PoolClosed`` where the pool is not open.
    """

    def __init__(
        self,
        pool: Source,
        *,
        registry: CollectorRegistry = REGISTRY,
        company_label: bool = False,
        interval: float = INTERVAL,
        clock: Clock | None = None,
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._company_label = company_label
        self._interval = interval
        self._clock = clock or SystemClock()
        self._families: tuple[Metric, ...] = ()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._read()
        async with AsyncExitStack() as stack:
            try:
                self._registry.register(self)
            except ValueError:
                raise ConfigurationError("the registry has a pool's metrics already: give each its own") from None
            stack.callback(self._registry.unregister, self)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._follow)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def collect(self) -> tuple[Metric, ...]:
        """Return what was read last; nothing once the pool is closed."""
        return self._families

    async def _follow(self) -> None:
        try:
            while True:
                await self._clock.sleep(self._interval)
                await self._read()
        except PoolClosed:
            self._families = ()

    async def _read(self) -> None:
        metrics = await self._pool.get_metrics()
        sessions = await self._pool.get_sessions() if self._company_label else None
        self._families = tuple(_families(metrics, sessions))


def render(metrics: PoolMetrics, sessions: Sequence[SessionStatus] | None = None) -> tuple[str, bytes]:
    """Return the content type and the text that Prometheus reads, for a web application's own ``/metrics``.

    Where ``sessions`` are given, each has series of its own, with its ``company_id`` and ``device`` as labels.
    """

    class Once(Collector):
        def collect(self) -> Iterator[Metric]:
            return _families(metrics, sessions)

    registry = CollectorRegistry()
    registry.register(Once())
    return CONTENT_TYPE_LATEST, generate_latest(registry)


def _families(metrics: PoolMetrics, sessions: Sequence[SessionStatus] | None) -> Iterator[Metric]:
    yield _gauge("sessions", "Sessions by status.", "status", {each: metrics.sessions.get(each, 0) for each in Status})
    yield _gauge("connected_sessions", "Connected sessions by health.", "health", metrics.health)
    yield _counter("connected_seconds", "Time that sessions were connected, added up.", metrics.connected_seconds)
    dead = metrics.false_connected_seconds
    yield _counter("false_connected_seconds", "Part of it in which the links were dead already.", dead)
    yield _counter("messages_sent", "Messages that WhatsApp acknowledged.", metrics.messages_sent)
    yield _counter("messages_received", "Messages received from others.", metrics.messages_received)
    yield _counters("sends_failed", "Sends that raised, by the code of the error.", "code", metrics.sends_failed)
    yield _counter("rate_limited", "Sends that the limit refused.", metrics.rate_limited)
    yield _number(
        "rate_limit_degraded", "1 while limits are kept in memory, Redis being gone.", metrics.rate_limit_degraded
    )
    yield _counter("rate_limit_fallbacks", "How often Redis was gone.", metrics.rate_limit_fallbacks)
    receipts = {each: metrics.receipts.get(each, 0) for each in ("delivered", "read", "played")}
    yield _counters("receipts", "Receipts of messages, by what they say.", "receipt", receipts)
    yield _counters("errors", "Error events, by code.", "code", metrics.errors_by_code)
    reconnects = {each: metrics.reconnects_by_reason.get(each, 0) for each in DisconnectReason}
    yield _counters("reconnects", "Links that followed another, by what ended that.", "reason", reconnects)
    yield _counter("blips", "Lost lines that were back within the grace.", metrics.blips)
    yield _histogram("send_latency_seconds", "From handing a send over to its acknowledgement.", metrics.send_latency)
    yield _histogram("time_to_connect_seconds", "From a link's start until it is live.", metrics.time_to_connect)
    yield _gauge("queue_depth", "What waits now.", "queue", metrics.queue_depths.model_dump())
    dropped = {
        "events": metrics.events_dropped,
        "presences": metrics.presences_dropped,
        "receipts": metrics.receipts_dropped,
        "notices": metrics.notices_dropped,
        "messages": metrics.messages_expired,
        "log_lines": metrics.log_lines_dropped,
        "statistics": metrics.statistics_dropped,
    }
    yield _counters("dropped", "What did not fit a bounded queue, by what it was.", "what", dropped)
    yield _counter("ignored_signals", "News of a link that meant nothing any more.", metrics.ignored_signals)
    yield from _workers(metrics.workers)
    yield _counter("worker_restarts", "Workers that crashed, froze or were recycled.", metrics.worker_restarts)
    if sessions is not None:
        yield from _sessions(sessions)


def _workers(workers: Sequence[WorkerMetrics]) -> Iterator[Metric]:
    def by_role(measure: Callable[[WorkerMetrics], int | None]) -> dict[str, int]:
        return {role: sum(measure(each) or 0 for each in workers if each.role == role) for role in ROLES}

    yield _gauge("workers", "Worker processes by role.", "role", by_role(lambda _: 1))
    yield _gauge("worker_sessions", "Sessions that workers host.", "role", by_role(lambda each: len(each.sessions)))
    yield _gauge("worker_memory_bytes", "Resident memory of the workers.", "role", by_role(lambda each: each.rss))
    yield _gauge("worker_descriptors", "Open descriptors.", "role", by_role(lambda each: each.descriptors))
    yield _gauge("worker_threads", "Threads of the workers.", "role", by_role(lambda each: each.threads))


def _sessions(sessions: Sequence[SessionStatus]) -> Iterator[Metric]:
    labels = ("company_id", "device")
    connected = GaugeMetricFamily(_name("session_connected"), "1 while the session is connected.", labels=labels)
    sent = CounterMetricFamily(_name("session_messages_sent"), "Messages that WhatsApp acknowledged.", labels=labels)
    received = CounterMetricFamily(_name("session_messages_received"), "Messages received.", labels=labels)
    for each in sessions:
        whose = (each.company_id, each.device)
        connected.add_metric(whose, each.status is Status.CONNECTED)
        sent.add_metric(whose, each.messages_sent)
        received.add_metric(whose, each.messages_received)
    return iter((connected, sent, received))


def _name(name: str) -> str:
    return f"wasessionpool_{name}"


def _number(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_name(name), text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_name(name), text, value=value)


def _gauge(name: str, text: str, label: str, values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(_name(name), text, labels=(label,))
    for key, value in values.items():
        family.add_metric((str(key),), value)
    return family


def _counters(name: str, text: str, label: str, values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(_name(name), text, labels=(label,))
    for key, value in values.items():
        family.add_metric((str(key),), value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = (*map(str, histogram.bounds), "+Inf")
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(_name(name), text, buckets=buckets, sum_value=histogram.sum)
