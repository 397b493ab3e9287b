from __future__ import annotations

from wasessionpool.backoff import Backoff


def test_doubles_up_to_the_cap() -> None:
    backoff = Backoff(base=5, cap=300, jitter=0)
    assert [backoff.delay(attempt) for attempt in range(1, 9)] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.delay(10_000) == 300


def test_jitter_spreads_by_a_share_and_never_passes_the_cap() -> None:
    assert Backoff(5, 300, 0.2, random=lambda: 0.0).delay(1) == 4
    assert Backoff(5, 300, 0.2, random=lambda: 1.0).delay(1) == 6
    assert Backoff(5, 300, 0.2, random=lambda: 1.0).delay(9) == 300
