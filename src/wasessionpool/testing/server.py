"""The loopback WhatsApp as a process of its own: ``python -m wasessionpool.testing.server``.

When it is ready it prints one line of JSON: the URL of its control API, its proxy, and the environment for a process
that loads neonize. It ends at SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Sequence

import anyio

from wasessionpool.errors import StorageError
from wasessionpool.testing.whatsapp.control import serve_control
from wasessionpool.testing.whatsapp.errors import StateError
from wasessionpool.testing.whatsapp.server import WORKER_MODULE, WhatsAppServer


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wasessionpool.testing.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the loopback address of the proxy")
    parser.add_argument("--port", type=int, default=0, help="the proxy's port; any free one by default")
    parser.add_argument("--control-port", type=int, default=0, help="the control API's port; any free one by default")
    parser.add_argument("--state", metavar="FILE", help="read it at the start, if it is there, and write it at the end")
    parser.add_argument("--wire", metavar="FILE", help="append every stanza to it, without texts and keys")
    parser.add_argument("--prekeys", type=int, default=50, choices=[50, 812], help="how many a new device uploads")
    parser.add_argument("--refs", type=int, default=6, help="how many pairing codes a client gets")
    options = vars(parser.parse_args(arguments))
    control_port = options.pop("control_port")
    try:
        whatsapp = WhatsAppServer(**options)
    except (ValueError, StateError, OSError) as error:
        parser.error(str(error))
    try:
        anyio.run(_serve, whatsapp, control_port)
    except (OSError, StorageError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


async def _serve(whatsapp: WhatsAppServer, control_port: int) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with whatsapp, anyio.create_task_group() as tasks:

            async def serve_control_api(*, task_status: anyio.abc.TaskStatus[str]) -> None:
                await serve_control(whatsapp, port=control_port, task_status=task_status)

            control = await tasks.start(serve_control_api)
            ready = {
                "control": control,
                "proxy": whatsapp.proxy_url,
                "environment": dict(whatsapp.environment),
                "worker_module": WORKER_MODULE,
                "pid": os.getpid(),
            }
            print(json.dumps(ready), flush=True)  # noqa: T201 - it is what was asked for
            async for _ in signals:
                break
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    main()
