"""The command line with another driver: ``loopback`` for neonize on loopback, or one without WhatsApp."""

from __future__ import annotations

import sys
from pathlib import Path

from anyio.to_thread import run_sync

from wasessionpool import DisconnectReason, PoolSettings, defaults
from wasessionpool.abc import Driver
from wasessionpool.cli import main, service_log


def make_driver(settings: PoolSettings) -> Driver:
    if name == "loopback":
        from wasessionpool.drivers.neonize import NeonizeDriver
        from wasessionpool.testing.whatsapp.server import WORKER_MODULE

        return NeonizeDriver(worker_module=WORKER_MODULE)
    from wasessionpool.testing.driver import FakeDriver, FakeLink

    async def silent(link: FakeLink) -> None:
        pass

    async def scanned(link: FakeLink) -> None:
        link.offer_pairing()
        link.up()

    async def held(link: FakeLink) -> None:
        link.on_send = wait_for_the_test
        link.up()

    async def unsteady(link: FakeLink) -> None:
        link.up()
        link.end(DisconnectReason.NETWORK)

    scripts = {"unsteady": unsteady, "silent": silent, "scanned": scanned, "held": held}
    return FakeDriver(scripts[name]) if name in scripts else FakeDriver()


async def wait_for_the_test(*_: object) -> None:
    """Tell by one pipe that a message is on its way, and let it arrive when something comes by the other."""
    await run_sync(Path("sending").write_text, "now")
    await run_sync(Path("arriving").read_text)


service_log.PATIENCE = 30.0
name = sys.argv.pop(1)
defaults.make_driver = make_driver
main()
