"""What ``import wasessionpool`` costs over its two large dependencies, each import in a fresh process.

python benchmarks/import_time.py [runs]
"""

from __future__ import annotations

import statistics
import subprocess
import sys

BASE = "import anyio, pydantic; pydantic.create_model('M', a=(int, 1))"
SCRIPT = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def seconds(statement: str) -> float:
    return float(subprocess.check_output([sys.executable, "-c", SCRIPT.format(statement)]))


def main(runs: int) -> None:
    pairs = [(seconds(BASE), seconds(f"{BASE}; import wasessionpool")) for _ in range(runs)]
    extra = sorted(ours - base for base, ours in pairs)
    ratio = statistics.median(ours / base for base, ours in pairs)
    print(f"pydantic and anyio: {statistics.median(base for base, _ in pairs):.3f} s (median of {runs})")
    print(f"wasessionpool on top: {statistics.median(extra):.3f} s (range {extra[0]:.3f} to {extra[-1]:.3f})")
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
