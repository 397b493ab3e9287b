"""Entry of a neonize worker that can reach nothing but a loopback WhatsApp."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path

from wasessionpool.errors import ConfigurationError
from wasessionpool.testing.whatsapp.errors import UnsafeEnvironment
from wasessionpool.testing.whatsapp.trust import refuse_foreign_proxy, replace_root_key, root_key_from

logger = logging.getLogger("wasessionpool.testing")


def environment_at_start() -> dict[str, str]:
    """Return the environment this process was started with: the one Go sees, whatever `os.environ` says by now."""
    entries = Path("/proc/self/environ").read_bytes().decode("utf-8", "surrogateescape").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def main() -> None:
    """Check the environment, put the loopback root in place, and become an ordinary worker.

    Ends with exit code 2, before neonize is imported, where the real WhatsApp could be reached.
    """
    try:
        key = root_key_from(environment_at_start())
    except UnsafeEnvironment as error:
        print(f"{__name__}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None

    from wasessionpool.drivers.neonize.binding import load_neonize
    from wasessionpool.drivers.neonize.worker import main as run_worker

    # Where neonize cannot be loaded, the worker itself says so to the pool.
    with suppress(ConfigurationError):
        load_neonize()
        replace_root_key(key)
        logger.warning("the Noise trust root was replaced: this worker speaks to a loopback WhatsApp only")
    run_worker(check_proxy=_refuse_foreign)


def _refuse_foreign(proxy: str | None) -> None:
    if proxy is not None:
        refuse_foreign_proxy(proxy)


if __name__ == "__main__":
    main()
