"""``keys``: the API keys of a session path, which a service that runs there takes up with its next request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anyio.to_thread import run_sync

from ..errors import StorageError
from ..http.keys import ApiKey, StoredKeys
from ..shelves.directory import PLACE, DirectoryShelf
from ..stores.directory import DirectoryStore
from .ending import CommandFailed
from .output import Output
from .records import store_at


async def keys_at(path: Path) -> list[ApiKey]:
    """Return the keys that were made, the oldest first; creates nothing, and puts nothing aside.

    Raises ``StorageError``.
    """
    if store_at(path) is None or not (path / PLACE).exists():
        return []
    shelf = DirectoryShelf(path)
    if (fault := await run_sync(shelf.fault)) is not None:
        raise StorageError(f"{fault}; `wasessionpool doctor` says what is lost with it")
    async with shelf:
        return await StoredKeys(shelf).list()


async def create_key(path: Path, *, rights: Sequence[str], companies: Sequence[str], name: str, output: Output) -> None:
    """Make a key and show it, which is possible this once."""
    async with DirectoryStore(path), DirectoryShelf(path) as shelf:
        key, kept = await StoredKeys(shelf).create(rights=rights, companies=companies or None, name=name)
    output.json({"key": key, **_described(kept)})
    output.line(key)
    output.aside(f"id {kept.id}: {', '.join(kept.rights)} of {_companies(kept)}; it is shown this once")


async def show_keys(path: Path, output: Output) -> None:
    """List the keys by what is kept of them, which is nothing secret."""
    kept = await keys_at(path)
    output.json([_described(one) for one in kept])
    if not kept:
        output.line(f"no key was made in {path}")
        return
    rows = [
        (one.id, one.name, " ".join(one.rights), _companies(one), one.created_at.isoformat(timespec="seconds"))
        for one in kept
    ]
    output.table(("ID", "NAME", "RIGHTS", "COMPANIES", "CREATED"), rows)


async def revoke_key(path: Path, key_id: str, output: Output) -> None:
    """Forget a key; raises ``CommandFailed`` where there is none of this id."""
    if not any(one.id == key_id for one in await keys_at(path)):
        raise CommandFailed(f"there is no key with the id {key_id} in {path}; `wasessionpool keys list` lists them")
    async with DirectoryShelf(path) as shelf:
        await StoredKeys(shelf).revoke(key_id)
    output.json({"id": key_id, "revoked": True})
    output.line(f"{key_id} is revoked")


def _described(kept: ApiKey) -> dict[str, object]:
    return kept.model_dump(mode="json", exclude={"sha256"})


def _companies(kept: ApiKey) -> str:
    return "every company" if kept.companies is None else " ".join(kept.companies)
