"""What all sessions of a pool share."""

from __future__ import annotations

from dataclasses import dataclass, field

from anyio.abc import TaskGroup

from .abc import Clock, Coordinator, Driver, RateLimiter, SessionStore, Shelf
from .backoff import Backoff
from .bus import Bus
from .comebacks import Comebacks
from .counts import Distribution
from .drops import Drops
from .health import Health
from .settings import PoolSettings
from .starts import StartLimiter
from .statistics import Statistics


@dataclass(frozen=True)
class Backends:
    """What all sessions of a pool share."""

    settings: PoolSettings
    driver: Driver
    store: SessionStore
    limiter: RateLimiter
    shelf: Shelf
    coordinator: Coordinator
    clock: Clock
    bus: Bus
    starts: StartLimiter
    statistics: Statistics
    drops: Drops
    comebacks: Comebacks
    health: Health
    backoff: Backoff
    tasks: TaskGroup
    send_latency: Distribution = field(default_factory=Distribution)
    time_to_connect: Distribution = field(default_factory=Distribution)
