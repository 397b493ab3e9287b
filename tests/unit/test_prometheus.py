"""A pool's metrics as Prometheus reads them: every figure once, well named, without a company unless asked for."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from itertools import pairwise

import anyio
import pytest
from anyio.to_thread import run_sync
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from wasessionpool import (
    ConfigurationError,
    DisconnectReason,
    PoolClosed,
    PoolMetrics,
    Status,
    WhatsAppSessionPool,
    WorkerMetrics,
)
from wasessionpool.counts import Distribution
from wasessionpool.hooks.prometheus import PrometheusMetrics, render
from wasessionpool.models import QueueDepths
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool

pytestmark = pytest.mark.anyio
COMPANY, BOB = "962302", "79001234567"
Series = tuple[str, frozenset[tuple[str, str]]]


def read(text: bytes) -> dict[Series, float]:
    """Parse a scrape, in which no series comes twice and every name is as Prometheus wants it."""
    series: dict[Series, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        assert re.fullmatch(r"wasessionpool_[a-z_]+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        for sample in family.samples:
            one = sample.name, frozenset(sample.labels.items())
            assert one not in series, one
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
            series[one] = sample.value
    return series


def value(series: dict[Series, float], name: str, **labels: str) -> float:
    return series[f"wasessionpool_{name}", frozenset(labels.items())]


async def linked(pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock) -> FakeLink:
    await pool.create_session(COMPANY)
    driver.link.up()
    await clock.advance()
    return driver.link


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


def numbers(model: PoolMetrics) -> Iterator[float]:
    for each in model.model_dump().values():
        if isinstance(each, dict):
            yield from (number for number in each.values() if isinstance(number, int | float))
        elif not isinstance(each, tuple):
            yield each


def test_every_figure_is_rendered() -> None:
    latency = Distribution()
    for seconds in (0.02, 0.02, 7, 100):
        latency.observe(seconds)
    workers = (
        WorkerMetrics(pid=1, role="shard", sessions=("a", "b"), rss=901, descriptors=902, threads=903),
        WorkerMetrics(pid=2, role="shard", sessions=("c",), rss=1000, descriptors=None, threads=1),
        WorkerMetrics(pid=3, role="spare"),
    )
    metrics = PoolMetrics(
        total_sessions=5,
        active_connections=2,
        sessions={Status.CONNECTED: 2, Status.FAILED: 3},
        health={"ok": 101, "suspect": 102},
        messages_sent=103,
        messages_received=104,
        sends_failed={"send_timeout": 105, "rate_limit_exceeded": 106},
        rate_limited=107,
        rate_limit_degraded=True,
        rate_limit_fallbacks=108,
        receipts={"read": 109},
        errors=110,
        errors_by_code={"storage_error": 110},
        reconnects=111,
        reconnects_by_reason={DisconnectReason.NETWORK: 111},
        blips=127,
        connected_seconds=112.5,
        false_connected_seconds=99.5,
        send_latency=latency.histogram(),
        queue_depths=QueueDepths(
            handler_events=113, stream_events=114, sends_waiting=115, sends_in_flight=116, messages_in_flight=117
        ),
        events_dropped=118,
        presences_dropped=119,
        receipts_dropped=120,
        notices_dropped=121,
        messages_expired=122,
        log_lines_dropped=123,
        statistics_dropped=124,
        ignored_signals=125,
        workers=workers,
        worker_restarts=126,
    )
    content_type, text = render(metrics)
    assert content_type.startswith("text/plain; version=")
    series = read(text)
    derived = {metrics.total_sessions}
    assert set(numbers(metrics)) - derived <= set(series.values())
    assert value(series, "sessions", status="failed") == 3
    assert value(series, "sessions", status="pairing") == 0
    assert value(series, "sends_failed_total", code="send_timeout") == 105
    assert value(series, "reconnects_total", reason="network") == 111
    assert value(series, "reconnects_total", reason="server") == 0
    assert value(series, "rate_limit_degraded") == 1
    assert value(series, "queue_depth", queue="sends_waiting") == 115
    assert value(series, "dropped_total", what="messages") == 122
    bounds = ("0.01", "0.025", "10.0", "60.0", "+Inf")
    assert [value(series, "send_latency_seconds_bucket", le=bound) for bound in bounds] == [0, 2, 3, 3, 4]
    assert value(series, "send_latency_seconds_count") == 4
    assert value(series, "send_latency_seconds_sum") == pytest.approx(107.04)
    assert value(series, "time_to_connect_seconds_count") == 0
    of_workers = ("sessions", "memory_bytes", "descriptors", "threads")
    assert [value(series, f"worker_{what}", role="shard") for what in of_workers] == [3, 1901, 902, 904]
    assert (value(series, "workers", role="shard"), value(series, "workers", role="pairing")) == (2, 0)


async def test_a_pool_is_followed_and_its_counters_never_fall(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, registry: CollectorRegistry
) -> None:
    scrapes = []
    async with open_pool() as pool, PrometheusMetrics(pool, registry=registry, clock=clock):
        link = await linked(pool, driver, clock)
        for number in range(3):
            await pool.send_message(COMPANY, BOB, "hi")
            link.receive(str(number))
            await clock.advance(5)
            scrapes.append(read(generate_latest(registry)))
        link.end(DisconnectReason.NETWORK)
        await clock.advance(10)
        scrapes.append(read(generate_latest(registry)))
        await pool.delete_session(COMPANY)
        await clock.advance(5)
        scrapes.append(read(generate_latest(registry)))
    for before, after in pairwise(scrapes):
        for series, counted in before.items():
            if series[0].endswith(("_total", "_count", "_sum", "_bucket")):
                assert after[series] >= counted, series
    assert [value(each, "messages_sent_total") for each in scrapes] == [1, 2, 3, 3, 3]
    assert [value(each, "sessions", status="connected") for each in scrapes] == [1, 1, 1, 1, 0]
    assert COMPANY not in str(scrapes)
    assert generate_latest(registry) == b""


async def test_a_company_is_named_where_that_is_asked_for(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, registry: CollectorRegistry
) -> None:
    async with open_pool() as pool:
        await linked(pool, driver, clock)
        await pool.create_session(COMPANY, device="sales")
        await pool.send_message(COMPANY, BOB, "hi")
        await clock.advance()
        assert COMPANY not in render(await pool.get_metrics())[1].decode()
        async with PrometheusMetrics(pool, registry=registry, company_label=True, clock=clock):
            series = read(generate_latest(registry))
        assert series == read(render(await pool.get_metrics(), await pool.get_sessions())[1])
    main, sales = ({"company_id": COMPANY, "device": device} for device in ("main", "sales"))
    assert value(series, "session_connected", **main) == 1
    assert value(series, "session_connected", **sales) == 0
    assert value(series, "session_messages_sent_total", **main) == 1
    assert value(series, "session_messages_received_total", **sales) == 0


async def test_the_clients_own_server_scrapes_it_from_a_thread(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, registry: CollectorRegistry
) -> None:
    async with open_pool() as pool, PrometheusMetrics(pool, registry=registry, clock=clock):
        await linked(pool, driver, clock)
        await clock.advance(5)
        server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
        try:
            url = f"http://127.0.0.1:{server.server_port}/metrics"
            text = await run_sync(lambda: urllib.request.urlopen(url, timeout=10).read())
        finally:
            await run_sync(server.shutdown)
            server.server_close()
            thread.join()
    assert value(read(text), "sessions", status="connected") == 1


async def test_two_pools_do_not_mix_in_one_registry(
    open_pool: OpenPool, clock: FakeClock, registry: CollectorRegistry
) -> None:
    async with open_pool() as pool:
        async with PrometheusMetrics(pool, registry=registry, clock=clock):
            with pytest.raises(ConfigurationError, match="give each its own"):
                async with PrometheusMetrics(pool, registry=registry, clock=clock):
                    pass
        async with PrometheusMetrics(pool, registry=registry, clock=clock):
            assert generate_latest(registry)


async def test_nothing_is_told_of_a_pool_that_is_not_open(
    open_pool: OpenPool, clock: FakeClock, registry: CollectorRegistry
) -> None:
    opened, seen = anyio.Event(), anyio.Event()

    async def follow(pool: WhatsAppSessionPool) -> None:
        async with PrometheusMetrics(pool, registry=registry, clock=clock):
            opened.set()
            await seen.wait()

    async with anyio.create_task_group() as tasks:
        async with open_pool() as pool:
            tasks.start_soon(follow, pool)
            await opened.wait()
            assert generate_latest(registry)
        await clock.advance(5)
        assert generate_latest(registry) == b""
        seen.set()
    with pytest.raises(PoolClosed):
        async with PrometheusMetrics(pool, registry=registry, clock=clock):
            pass


async def test_an_applications_error_leaves_as_it_is(
    open_pool: OpenPool, clock: FakeClock, registry: CollectorRegistry
) -> None:
    with pytest.raises(KeyError):
        async with open_pool() as pool, PrometheusMetrics(pool, registry=registry, clock=clock):
            await anyio.lowlevel.checkpoint()
            raise KeyError
    assert generate_latest(registry) == b""


def test_without_its_package_it_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "try:\n    import wasessionpool.hooks.prometheus\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    said = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert said == "ConfigurationError prometheus-client not found: pip install 'wasessionpool[prometheus]'\n"
