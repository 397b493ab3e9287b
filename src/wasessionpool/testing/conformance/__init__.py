"""What every implementation of a seam of ``wasessionpool.abc`` has to keep, as checks that need no pytest.

Each is awaited with a function that makes what is to be checked: ``await check_store(lambda: MyStore("x.db"))``. It
returns when all is well, or raises ``AssertionError``, which says what the seam requires. What is made is entered
where it is an async context manager, and made anew for each requirement.
"""

from __future__ import annotations

from .clock import check_clock
from .coordinator import check_coordinator
from .driver import DriverUnderTest, FarEnd, check_driver
from .hook import check_hook, sample_events
from .limiter import check_limiter
from .shelf import check_shelf
from .store import check_store

__all__ = [
    "DriverUnderTest",
    "FarEnd",
    "check_clock",
    "check_coordinator",
    "check_driver",
    "check_hook",
    "check_limiter",
    "check_shelf",
    "check_store",
    "sample_events",
]
