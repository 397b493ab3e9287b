"""The layers, the public names, and what an import costs."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import wasessionpool

ROOT = Path(wasessionpool.__file__).parent
VALUES = {
    "errors", "models", "messages", "events", "links", "operations", "addresses", "qr", "settings", "state", "backoff",
    "files", "clock", "waiting", "explain", "proxies", "counts", "notices", "metadata",
    "pacing", "threads", "disk", "damage",
}  # fmt: skip
CORE = {
    "debug_log", "bus", "inbound", "received", "contacts", "starts", "drops", "standing", "backends",
    "sending", "link", "session", "handle", "metrics", "pool", "defaults", "patience", "idempotency", "recipients",
    "restrictions", "statistics", "pulse", "health", "comebacks", "retries", "arrival", "idleness", "pace", "places",
    "kept", "autostart",
}  # fmt: skip
BACKENDS = {"drivers", "stores", "shelves", "limiters", "hooks", "coordinators"}
ADAPTERS = {"cli", "django", "dashboard", "__main__"}
MAY_IMPORT = {
    **dict.fromkeys(VALUES, VALUES),
    "abc": VALUES,
    **dict.fromkeys(CORE, VALUES | {"abc"} | CORE),
    **{backend: VALUES | {"abc", backend} for backend in BACKENDS},
    "__init__": VALUES | {"abc"} | CORE,
    "http": VALUES | {"abc", "http", "hooks", "limiters"} | CORE,
    "fastapi": VALUES | {"abc", "http", "fastapi"} | CORE,
}
FREE = ADAPTERS | {"testing"}
"""Layers that may import everything; nothing below may import them."""


def imports(path: Path) -> set[str]:
    """The parts of the package that a module imports at its top or anywhere in it."""
    package = ("wasessionpool", *path.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            names = [module] if len(module) > 1 or node.level == 0 else [(*module, a.name) for a in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        found |= {name[1] for name in names if name[0] == "wasessionpool" and len(name) > 1}
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if part in FREE:
        return
    allowed = MAY_IMPORT[part]
    made_here = BACKENDS if path.name == "defaults.py" else set()
    assert imports(path) - allowed - made_here == set()


def test_only_the_driver_speaks_to_neonize() -> None:
    speakers = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "neonize")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "neonize" for alias in node.names))
    }
    assert speakers
    assert all(name.startswith(("drivers/neonize/", "testing/whatsapp/")) for name in speakers), speakers


def test_what_frameworks_share_has_none_in_it() -> None:
    loaded = loaded_by(
        "wasessionpool.http." + ", wasessionpool.http.".join(path.stem for path in (ROOT / "http").glob("[a-z]*.py"))
    )
    assert loaded & {"fastapi", "starlette", "django", "jwt"} == set()


def loaded_by(modules: str) -> set[str]:
    """The top-level packages that an import brings."""
    script = f"import sys, json, {modules}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    return set(json.loads(subprocess.check_output([sys.executable, "-c", script])))


def test_the_public_names() -> None:
    public = {
        name for name, value in vars(wasessionpool).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(wasessionpool.__all__)


def test_an_import_brings_nothing_heavy() -> None:
    loaded = loaded_by("wasessionpool")
    heavy = {"neonize", "PIL", "qrcode", "limits", "redis", "httpx", "cryptography", "pydantic_settings", "filelock",
             "typer", "rich", "google", "phonenumbers", "websockets", "trustme", "sqlite3", "magic", "fastapi",
             "starlette", "jwt", "prometheus_client"}  # fmt: skip
    assert loaded & heavy == set()
