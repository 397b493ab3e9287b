"""What processes cost, as the kernel counts it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import linear_regression, mean


def born(pid: int) -> int | None:
    """Return when a process was started, which tells it from another of its number; None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def descriptors(pid: int) -> Counter[str]:
    """What a process has open, by kind; files by their name."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        found[target.split(":")[0].rsplit("/", 1)[-1]] += 1
    return found


def memory(pid: int) -> int | None:
    """Return the bytes of its own that a process has written to, none once it has ended.

    Pages of a library are not among them: who else has that library loaded would change the count.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


def growth(samples: list[tuple[float, int]], seconds: float) -> float:
    """Return by which share of their mean samples grow in so many seconds, by least squares."""
    times, values = zip(*samples, strict=True)
    return linear_regression(times, values).slope * seconds / mean(values)
