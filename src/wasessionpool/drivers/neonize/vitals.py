"""What a worker process costs, and how much it may."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from .wire import Vitals


def measure() -> Vitals:
    """Measure this process. Outside Linux ``rss`` is the most there ever was, and ``threads`` are Python's."""
    if sys.platform == "linux":
        rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    else:
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        threads = len(sys._current_frames())
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Reading the list takes a descriptor itself.
    descriptors = sum(1 for _ in Path("/dev/fd").iterdir()) - 1
    return Vitals(rss=rss, descriptors=descriptors, descriptor_limit=limit, threads=threads)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What a shard worker may come to before it is recycled.

    It takes no more sessions once it has passed one, and is drained at an age of ``min_age`` seconds: limits that its
    sessions pass by themselves would else make them move for ever. ``descriptors`` is a share of what the system
    allows the process, ``rss`` is in bytes. Each start leaks two or three descriptors and a quarter of a megabyte,
    since neonize closes no database; a worker begins with 64 MiB, and a session needs some 5 MiB.
    """

    starts: int = 500
    descriptors: float = 0.6
    rss: int = 1024**3
    threads: int = 2000
    min_age: float = 600.0

    def passed_by(self, starts: int, vitals: Vitals | None) -> str | None:
        """Say which of them a worker has passed, if any."""
        if starts >= self.starts:
            return f"{starts} starts"
        if vitals is None:
            return None
        if 0 < self.descriptors * vitals.descriptor_limit < vitals.descriptors:
            return f"{vitals.descriptors} of {vitals.descriptor_limit} descriptors"
        if vitals.rss > self.rss:
            return f"{vitals.rss // 1024**2} MiB"
        return f"{vitals.threads} threads" if vitals.threads > self.threads else None
