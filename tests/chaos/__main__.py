"""``python -m tests.chaos --seed N --minutes M --sessions 20``: one run, one line of verdict, exit code 0 or 1."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import anyio

from .storm import brew
from .subject import Options


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="what is random comes from it; any by default")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long things go wrong")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two faults, on average")
    parser.add_argument("--folder", type=Path, default=None, help="where logs and journals go; a new one by default")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    folder = given.folder or Path(tempfile.mkdtemp(prefix="wasessionpool-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    print(f"chaos: seed {seed}; plan, log and journals are in {folder}", flush=True)
    options = Options(seed=seed, minutes=given.minutes, sessions=given.sessions, every=given.every)
    outcome = anyio.run(brew, options, folder)
    print(outcome.line(options), flush=True)
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
