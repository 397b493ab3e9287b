"""Answer every message with its own text, for each company named on the command line.

    python examples/echo.py 962302 962303

Ctrl-C ends it; started again, it goes on without a QR.
"""

from __future__ import annotations

import sys

import anyio

from wasessionpool import MessageEvent, QrEvent, WhatsAppPoolError, WhatsAppSessionPool


async def main(companies: list[str]) -> None:
    async with WhatsAppSessionPool() as pool:

        @pool.on("qr")
        async def show(event: QrEvent) -> None:
            print(f"Company {event.company_id}: scan this in WhatsApp › Linked devices\n{event.qr.terminal()}")

        @pool.on("message")
        async def echo(event: MessageEvent) -> None:
            if event.text and not event.from_me:
                await event.reply(event.text)

        async with anyio.create_task_group() as tasks:
            for company in companies:
                tasks.start_soon(pool.create_session, company)
        for status in await pool.get_sessions():
            print(f"Company {status.company_id}: {status.status}")
        await anyio.sleep_forever()


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[1:])
    except KeyboardInterrupt:
        pass
    except WhatsAppPoolError as error:
        sys.exit(str(error))
