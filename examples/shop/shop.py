"""A shop's bot: it tells customers when the shop is open."""

from __future__ import annotations

import sys

import anyio

from wasessionpool import MessageEvent, WhatsAppSessionPool


def answer_to(question: str) -> str:
    return "We are open from 9 to 18." if "open" in question.lower() else "Ask me when we are open."


def install(pool: WhatsAppSessionPool) -> None:
    """Let the pool's sessions answer their customers."""

    @pool.on("message")
    async def answer(event: MessageEvent) -> None:
        if event.text and not event.from_me:
            await event.reply(answer_to(event.text))


async def main(company_id: str) -> None:
    async with WhatsAppSessionPool() as pool:
        install(pool)
        status = await pool.create_session(company_id)
        if status.qr is not None:
            print(status.qr.terminal())
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
