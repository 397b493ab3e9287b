"""The command line with another driver: ``loopback`` for neonize on loopback, or one without WhatsApp."""

from __future__ import annotations

import sys

from wasessionpool import PoolSettings, defaults
from wasessionpool.abc import Driver
from wasessionpool.cli import main


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

    return {"fake": FakeDriver(), "silent": FakeDriver(silent), "scanned": FakeDriver(scanned)}[name]


name = sys.argv.pop(1)
defaults.make_driver = make_driver
main()
