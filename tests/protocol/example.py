"""An example in a process of its own, on the loopback WhatsApp: ``python example.py <script> <arguments>``.

The environment names the server. A code is printed as what it holds, since nobody looks at it.
"""

from __future__ import annotations

import runpy
import sys

from wasessionpool import PoolSettings, QRCode, defaults
from wasessionpool.abc import Driver
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.testing.whatsapp.server import WORKER_MODULE


def make_driver(settings: PoolSettings) -> Driver:
    return NeonizeDriver(worker_module=WORKER_MODULE)


defaults.make_driver = make_driver
QRCode.terminal = lambda code: f"QR {code.text}"  # type: ignore[method-assign]
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
