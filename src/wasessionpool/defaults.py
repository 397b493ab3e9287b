"""The backends that settings ask for: the one place that imports them, when they are needed."""

from __future__ import annotations

from typing import Any

from .abc import Coordinator, Driver, RateLimiter, SessionStore, Shelf
from .settings import PoolSettings


def make_driver(settings: PoolSettings) -> Driver:
    from .drivers.neonize import NeonizeDriver

    return NeonizeDriver(
        sessions_per_worker=settings.sessions_per_worker,
        max_pairings=settings.max_pairings,
        inbox_max_bytes=settings.inbox_max_bytes,
        reset_after=settings.reconnect_reset_after,
    )


def make_store(settings: PoolSettings) -> SessionStore:
    from .stores.directory import DirectoryStore

    return DirectoryStore(settings.session_path)


def make_shelf(settings: PoolSettings) -> Shelf:
    from .shelves.directory import DirectoryShelf

    return DirectoryShelf(settings.session_path)


def make_limiter(settings: PoolSettings) -> RateLimiter:
    from .limiters.windows import WindowLimiter

    limits: dict[str, Any] = {
        "limit": settings.rate_limit_max,
        "recipient_limit": settings.rate_limit_recipient_max,
        "window": settings.rate_limit_window,
        "overrides": settings.rate_limit_overrides,
    }
    if settings.redis_url is None:
        return WindowLimiter(**limits)
    from .limiters.fallback import FallbackLimiter
    from .limiters.redis import RedisLimiter

    shared = RedisLimiter(settings.redis_url, **limits)
    return FallbackLimiter(shared, share=settings.rate_limit_fallback_share)


def make_coordinator(settings: PoolSettings) -> Coordinator:
    from .coordinators.local import LocalCoordinator

    return LocalCoordinator(settings.session_path)
