"""``doctor``: what the pool needs on this machine."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import anyio
from anyio.to_thread import run_sync

from ..damage import fault_of
from ..models import SessionRecord
from ..shelves.directory import DirectoryShelf
from ..stores.directory import DirectoryStore
from .ending import CommandFailed
from .output import Output
from .pruning import Prune
from .records import command_of, holder_of, keys_of, pair_command, records_at, store_at

NEONIZE = ">=0.5.2,<0.6"
LOADING = 60.0
"""Seconds that a worker's start may take."""
LITTLE_SPACE = 500 << 20
"""Bytes; a session has a few megabytes, and SQLite needs room to write its log."""
STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}

LOAD = """
import os, sys
from wasessionpool.drivers.neonize.binding import load_neonize
from wasessionpool.errors import WhatsAppPoolError
try:
    load_neonize()
except WhatsAppPoolError as error:
    sys.stderr.write(error.message)
    code = 1
else:
    code = 0
sys.stderr.flush()
os._exit(code)
"""
"""What a worker does first, in a process of its own: Go does not leave one that it has entered."""


@dataclass(frozen=True)
class Finding:
    """One check's outcome; where it is not ``ok``, ``detail`` says what to do."""

    check: str
    outcome: Literal["ok", "warn", "fail"]
    detail: str


async def examine(session_path: Path, output: Output) -> None:
    """Run every check and print its outcome; raises ``CommandFailed`` where one fails."""
    failed = []
    async for finding in _findings(session_path):
        output.json(asdict(finding))
        output.line(f"{finding.outcome:4}  {finding.check:14}  {finding.detail}", style=STYLES[finding.outcome])
        if finding.outcome == "fail":
            failed.append(finding.check)
    if failed:
        raise CommandFailed(f"failed: {', '.join(failed)}")


async def _findings(path: Path) -> AsyncIterator[Finding]:
    yield python(sys.version_info[:3])
    mac = platform.mac_ver()[0]
    yield system(platform.system(), platform.machine(), libc="".join(platform.libc_ver()), mac=mac)
    yield libmagic()
    yield neonize()
    yield await worker()
    yield ffmpeg()
    yield extras()
    yield directory(path)
    yield await sessions(path)
    store = store_at(path) if await anyio.Path(path).is_dir() else None
    if store is not None:
        yield await run_sync(records, store)
        yield await run_sync(shelf, path)
        yield await run_sync(modes, path)
        yield await left_over(store)


def python(version: tuple[int, int, int]) -> Finding:
    text = ".".join(map(str, version))
    if version < (3, 11):
        return Finding("python", "fail", f"{text}; 3.11 or later is needed")
    return Finding("python", "ok", f"{text} ({sys.executable})")


def system(name: str, machine: str, *, libc: str, mac: str) -> Finding:
    """Check for one of the platforms that neonize has wheels for."""
    here = f"{name} {machine} {mac or libc}".strip()
    if name == "Linux" and not libc.startswith("glibc"):
        detail = f"{here}: neonize has no wheel without glibc, so Alpine is not supported; use a Debian-based image"
    elif name == "Darwin" and int(mac.split(".")[0] or 0) < 12:
        detail = f"{here}: neonize needs macOS 12 or later"
    elif name not in ("Linux", "Darwin"):
        detail = f"{here} is not supported; use Linux with glibc, or macOS 12 or later"
    elif machine.lower() not in ("x86_64", "amd64", "aarch64", "arm64"):
        detail = f"{here}: neonize has wheels for x86-64 and arm64 only"
    else:
        return Finding("platform", "ok", here)
    return Finding("platform", "fail", detail)


def libmagic() -> Finding:
    try:
        ctypes.CDLL("libmagic.dylib" if sys.platform == "darwin" else "libmagic.so.1")
    except OSError:
        if find_spec("pylibmagic") is not None:
            return Finding("libmagic", "ok", f"from pylibmagic {importlib.metadata.version('pylibmagic')}")
        package = "brew install libmagic" if sys.platform == "darwin" else "apt install libmagic1"
        return Finding("libmagic", "fail", f"not found: {package}, or pip install pylibmagic")
    return Finding("libmagic", "ok", "the system's")


def neonize() -> Finding:
    try:
        version = importlib.metadata.version("neonize")
    except importlib.metadata.PackageNotFoundError:
        return Finding("neonize", "fail", f"not installed: pip install 'neonize{NEONIZE}'")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if not (0, 5, 2) <= numbers < (0, 6):
        return Finding("neonize", "fail", f"{version} is installed: pip install 'neonize{NEONIZE}'")
    return Finding("neonize", "ok", version)


async def worker() -> Finding:
    """Load neonize as a worker does, in a process that can reach no network: it would download a missing library."""
    unreachable = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    environment = {**os.environ, **unreachable, "NO_PROXY": "", "no_proxy": ""}
    with anyio.move_on_after(LOADING):
        child = await anyio.run_process([sys.executable, "-c", LOAD], check=False, env=environment)
        if child.returncode == 0:
            return Finding("worker", "ok", "a worker process can load neonize")
        said = child.stderr.decode(errors="replace").strip().splitlines() or [f"ended with {child.returncode}"]
        return Finding("worker", "fail", said[-1])
    return Finding("worker", "fail", f"loading neonize took over {LOADING:g} s: is this machine overloaded?")


def ffmpeg() -> Finding:
    if missing := [name for name in ("ffmpeg", "ffprobe") if shutil.which(name) is None]:
        names = " and ".join(missing)
        return Finding("ffmpeg", "warn", f"{names} not found; only audio and video need it: install the package ffmpeg")
    return Finding("ffmpeg", "ok", "ffmpeg and ffprobe are there")


def extras() -> Finding:
    """Say which optional features are installed; none of them has to be."""
    needs: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("wasessionpool") or ():
        match = re.match(r"([\w.-]+)[^;]*;.*extra == ['\"]([\w-]+)", requirement)
        if match and match[1] != "wasessionpool" and match[2] not in ("all", "dev", "docs"):
            needs.setdefault(match[2], []).append(match[1])
    missing = [extra for extra, names in needs.items() if not all(map(_installed, names))]
    there = f"installed: {', '.join(sorted(needs.keys() - set(missing)))}"
    if not missing:
        return Finding("extras", "ok", there)
    return Finding("extras", "ok", f"{there}; where wanted: pip install 'wasessionpool[{','.join(sorted(missing))}]'")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def directory(path: Path) -> Finding:
    """Check that sessions can be kept at ``path`` and are private there."""
    path = path.absolute()
    if not path.exists():
        above = next(parent for parent in path.parents if parent.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            return Finding("session path", "fail", f"{path} does not exist and cannot be created in {above}")
        return Finding("session path", "ok", f"{path} does not exist yet; the first session creates it")
    if not path.is_dir():
        return Finding("session path", "fail", f"{path} is not a directory")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o007:
        return Finding("session path", "fail", f"{path} is open to every user ({mode:03o}): chmod 700 {path}")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return Finding("session path", "fail", f"{path} cannot be written by this user ({os.geteuid()})")
    free = shutil.disk_usage(path).free
    if free < LITTLE_SPACE:
        return Finding("session path", "warn", f"{path} has only {free >> 20} MB left: make room")
    if mode & 0o070:
        return Finding("session path", "warn", f"{path} is open to its group ({mode:03o}): chmod 700 {path}")
    return Finding("session path", "ok", f"{path} ({mode:03o}, {free / (1 << 30):.1f} GB free)")


async def sessions(path: Path) -> Finding:
    """Say who holds what; a linked session whose keys are gone or damaged has to be paired anew."""
    found = await records_at(path) or []
    faults = [fault for record in found if record.linked and (fault := await run_sync(_fault_of_keys, record, path))]
    if faults:
        return Finding("sessions", "fail", "; ".join(faults))
    holders = [(record.key, holder_of(record, path)) for record in found]
    held = [f"{key} is held by {holder}" for key, holder in holders if holder is not None]
    return Finding("sessions", "ok", "; ".join([f"{len(found)} known", *held]))


def _fault_of_keys(record: SessionRecord, path: Path) -> str | None:
    keys, anew = keys_of(record, path), pair_command(record.key, path)
    if not keys.is_file():
        return f"{record.key} is linked, but its keys are gone: {anew}"
    if (fault := fault_of(keys)) is None:
        return None
    return f"{record.key}: {fault}; look at the disk, then: {command_of('logout', record.key, path)}; {anew}"


def records(store: DirectoryStore) -> Finding:
    """Read every session's record."""
    faults = [f"{key}: {fault}" for key in store.known() if (fault := store.fault(key)) is not None]
    return Finding("records", "fail" if faults else "ok", "; ".join(faults) or "all readable")


def shelf(path: Path) -> Finding:
    """Read what is kept for all sessions; the next pool that opens a damaged file puts it aside."""
    kept = DirectoryShelf(path)
    fault, damaged = kept.fault(), f"{kept.path.name}.damaged*"
    if fault is not None:
        lost = (
            "all API keys that were made, and what is known of sends by a key in the last 24 h, are lost once a pool, "
            "or `wasessionpool keys create`, puts it aside"
        )
        return Finding("shelf", "fail", f"{fault}; {lost}")
    if aside := sorted(kept.path.parent.glob(damaged)):
        return Finding("shelf", "warn", f"{aside[0]} was put aside: look at the disk, then remove it")
    return Finding("shelf", "ok", "readable" if kept.path.exists() else "nothing kept yet")


def modes(path: Path) -> Finding:
    """Check that what is below the session path is the owner's only."""
    wide = [file for file in path.rglob("*") if _mode(file) & 0o077]
    if not wide:
        return Finding("permissions", "ok", "every file is its owner's only")
    more = f" and {len(wide) - 1} more" if len(wide) > 1 else ""
    return Finding("permissions", "warn", f"{wide[0]}{more} can be read by others: chmod -R go-rwx {path}")


def _mode(path: Path) -> int:
    try:
        status = path.lstat()
    except FileNotFoundError:
        # SQLite and a pool remove files of theirs at any time.
        return 0
    return 0 if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)


async def left_over(store: DirectoryStore) -> Finding:
    """Count what ``prune`` would remove, whatever its age."""
    found = await Prune(store, days=0, named=None).find()
    names = [f"{stale.key} ({stale.because})" for stale in found]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    detail = f"{shown}; to see what is old enough to go: {command_of('prune', None, store.path)}"
    return Finding("left over", "ok", detail if found else "nothing")
