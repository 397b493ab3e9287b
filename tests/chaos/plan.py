"""What goes wrong, and when: all of it from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Final

LAST: Final = 0.75
"""The share of the time after which faults may be final: what ends a session then is not mended."""
LAST_KILL: Final = 0.3
"""The share of the time after which the application is not killed: it then lives long enough to show that it leaks."""

WEIGHTS: Final[Mapping[str, int]] = {
    # a line, for a moment
    "drop": 12,
    "stream_error": 8,
    "fail_login": 8,
    # one account, for some seconds
    "refuse": 5,
    "silence": 5,
    "withhold_acks": 6,
    "delay_acks": 4,
    "withhold_iq": 5,
    "fail_send": 4,
    "corrupt_messages": 4,
    "flood": 2,
    "mute": 5,
    # a session's end
    "unlink": 2,
    "log_out": 4,
    "replace": 3,
    "ban": 3,
    # everybody
    "drop_all": 2,
    "refuse_all": 3,
    # processes
    "kill_worker": 7,
    "stop_worker": 3,
    "abort_worker": 3,
    "kill_application": 2,
    "restart_application": 1,
    "outdate": 1,
}
ENDINGS: Final = frozenset({"unlink", "log_out", "replace"})
RESTARTS: Final = frozenset({"kill_application", "restart_application", "outdate"})


@dataclass(frozen=True)
class Step:
    """One fault: when it strikes, whom, for how long, and which of its kind. No ``seconds``: it is not mended."""

    at: float
    fault: str
    session: int
    seconds: float | None
    choice: float

    def pick(self, *options: str | int) -> str | int:
        return options[int(self.choice * len(options))]

    def describe(self) -> dict[str, object]:
        return {name: round(value, 2) if isinstance(value, float) else value for name, value in asdict(self).items()}


def make_plan(seed: int, duration: float, sessions: int, every: float) -> list[Step]:
    """Return the faults of a run, in order, one ``every`` so many seconds. The same arguments give the same plan."""
    random = Random(seed)
    steps: list[Step] = []
    at = 0.0
    while True:
        at += random.expovariate(1 / every)
        if at >= duration:
            return steps
        fault = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        session, seconds, choice = random.randrange(sessions), random.uniform(0.5, 8.0), random.random()
        final = random.random() < 0.5 and at > duration * LAST
        if fault in RESTARTS and at > duration * LAST_KILL:
            fault = "kill_worker"
        steps.append(Step(at, fault, session, None if final and fault in ENDINGS else seconds, choice))
