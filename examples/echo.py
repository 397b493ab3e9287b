"""Answer every message with its own text, for each company named on the command line.

    python examples/echo.py 962302 962303 962304

Ctrl-C or SIGTERM ends it; started again, it goes on without a QR. Killed at any moment, it loses no message: what it
had not answered comes again, so that at worst a message is answered twice.
"""

from __future__ import annotations

import signal
import sys

import anyio

from wasessionpool import MessageEvent, PoolSettings, QrEvent, WhatsAppPoolError, WhatsAppSessionPool


async def main(companies: list[str]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with WhatsAppSessionPool(PoolSettings.from_env()) as pool:

            @pool.on("qr")
            async def show(event: QrEvent) -> None:
                scan = "scan this in WhatsApp › Linked devices"
                print(f"Company {event.company_id}: {scan}\n{event.qr.terminal()}", flush=True)

            @pool.on("message", durable=True)
            async def echo(event: MessageEvent) -> None:
                if event.text and not event.from_me:
                    await event.reply(event.text, wait=True)

            async def run(company: str) -> None:
                try:
                    said: str = (await pool.create_session(company)).status
                except WhatsAppPoolError as error:
                    said = error.message
                print(f"Company {company}: {said}", flush=True)

            async with anyio.create_task_group() as tasks:
                for company in companies:
                    tasks.start_soon(run, company)
                await anext(signals)
                tasks.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[1:])
    except KeyboardInterrupt:
        pass
    except WhatsAppPoolError as error:
        sys.exit(str(error))
