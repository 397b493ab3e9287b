"""A hook of one's own: every event as a line of JSON in a file, without what people wrote.

    python examples/custom_hook.py 962302

Any async function that takes one event will do. A hook hears all events of all sessions, in order per session.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from wasessionpool import Event, WhatsAppPoolError, WhatsAppSessionPool

PRIVATE = {"text", "qr", "code", "quoted", "sender_name"}


class EventFile:
    """Appends events to a file, one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = anyio.Path(path)
        self._writing = anyio.Lock()

    async def __call__(self, event: Event) -> None:
        line = event.model_dump_json(exclude=PRIVATE if event.type != "error" else None)
        async with self._writing, await self.path.open("a", encoding="utf-8") as file:
            await file.write(line + "\n")


async def main(company_id: str) -> None:
    async with WhatsAppSessionPool(hooks=[EventFile(Path("events.jsonl"))]) as pool:
        status = await pool.create_session(company_id)
        if status.qr is not None:
            print(status.qr.terminal())
        await anyio.sleep_forever()


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[1])
    except KeyboardInterrupt:
        pass
    except WhatsAppPoolError as error:
        sys.exit(str(error))
