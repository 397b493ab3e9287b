"""Other neonizes: altered copies of the installed one, loaded by a real worker."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from wasessionpool.drivers.neonize.wire import Hello, Refused

from .conftest import NOWHERE
from .raw_worker import raw_worker

pytestmark = pytest.mark.anyio

LIBRARY = "neonize-*.so"
Alteration = Callable[["Package"], None]


class Package:
    """A copy of neonize on a path of its own; files are links until they are changed."""

    def __init__(self, path: Path) -> None:
        spec = importlib.util.find_spec("neonize")
        assert spec is not None
        assert spec.origin is not None
        self.path = path
        self.root = path / "neonize"
        shutil.copytree(Path(spec.origin).parent, self.root, copy_function=os.symlink)
        self.call_itself("0.5.2")

    @property
    def library(self) -> Path:
        [library] = self.root.glob(LIBRARY)
        return library

    def call_itself(self, version: str) -> None:
        directory = self.path / "neonize.dist-info"
        directory.mkdir(exist_ok=True)
        (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: neonize\nVersion: {version}\n")

    def change(self, file: str | Path, old: str, new: str) -> None:
        """Replace text that is there at least once; a library's has to keep its length."""
        path = self.root / file
        data = path.read_bytes()
        assert old.encode() in data, f"{path.name} has no {old}"
        path.unlink()
        path.write_bytes(data.replace(old.encode(), new.encode()))


def release(package: Package) -> None:
    package.call_itself("0.5.9")
    package.change("download.py", '"0.5.2"', '"0.5.9"')
    package.change(package.library, "0.5.2", "0.5.9")
    package.change("events.py", "RotateADVSecretEv: 45,", "RotateADVSecretEv: 46,")


def repackaged(package: Package) -> None:
    package.call_itself("0.5.2.post1")


def old_library(package: Package) -> None:
    package.call_itself("0.5.9")
    package.change("download.py", '"0.5.2"', '"0.5.9"')


def no_library(package: Package) -> None:
    package.library.unlink()


def other_library(package: Package) -> None:
    library = package.library
    library.unlink()
    library.write_text("<html>Not Found</html>")


def no_export(name: str) -> Alteration:
    return lambda package: package.change(package.library, f"{name}\0", f"{name[:-1]}_\0")


def changed(file: str, old: str, new: str) -> Alteration:
    return lambda package: package.change(file, old, new)


SEND = """    gocode.SendMessage.argtypes = [
        ctypes.c_char_p,
"""
LOG_CALLBACK = "func_callback_bytes2 = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)"
MISFITS: dict[str, tuple[Alteration, str]] = {
    "old library": (old_library, "a library of version 0.5.2, not 0.5.9"),
    "no library": (no_library, "has no neonize-linux-amd64.so"),
    "no library at all": (other_library, "file too short"),
    "no version": (no_export("GetVersion"), "undefined symbol: GetVersion"),
    "export": (no_export("MarkRead"), "undefined symbol: MarkRead"),
    "argument": (changed("_binder.py", SEND, SEND + "ctypes.c_int,"), "SendMessage takes or returns something else"),
    "result": (changed("_binder.py", '        "SendMessage",\n', ""), "SendMessage takes or returns something else"),
    "callback": (
        changed("_binder.py", LOG_CALLBACK, LOG_CALLBACK.replace("int)", "int, ctypes.c_int)")),
        "func_callback_bytes2 is called with something else",
    ),
    "event": (changed("events.py", "MessageEv: 17", "MessageEv: 46"), "the event Message has another number"),
    "field": (changed("proto/Neonize_pb2.py", "Pushname", "Pushnome"), "MessageInfo has no Pushname"),
    "name": (changed("_binder.py", "_CProxySettings", "_CProxyOptions"), "there is no _CProxySettings"),
}


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)


@asynccontextmanager
async def network() -> AsyncIterator[tuple[dict[str, str], list[SocketStream]]]:
    """Be the only way out: return the environment that leads here, and who came."""
    visitors: list[SocketStream] = []

    async def take(stream: SocketStream) -> None:
        visitors.append(stream)
        await stream.aclose()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        tasks.start_soon(listener.serve, take)
        yield NOWHERE | {"HTTPS_PROXY": f"http://127.0.0.1:{port}"}, visitors
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("alter", "version"), [(release, "0.5.9"), (repackaged, "0.5.2.post1")])
async def test_another_version_that_fits_is_taken(package: Package, alter: Alteration, version: str) -> None:
    alter(package)
    async with raw_worker(NOWHERE | {"PYTHONPATH": str(package.path)}) as worker:
        assert (await worker.hear(Hello)).neonize == version


@pytest.mark.parametrize(("alter", "difference"), MISFITS.values(), ids=MISFITS)
async def test_one_that_does_not_fit_is_refused_with_what_differs(
    package: Package, alter: Alteration, difference: str
) -> None:
    alter(package)
    async with network() as (environment, visitors):
        async with raw_worker(environment | {"PYTHONPATH": str(package.path)}) as worker:
            refused = await worker.hear(Refused)
        assert refused.kind == "configuration"
        assert difference in refused.detail
        assert visitors == []


@pytest.mark.parametrize("alter", [no_library, old_library])
async def test_neonize_itself_would_have_gone_to_the_network(package: Package, alter: Alteration) -> None:
    """The test above could not fail otherwise."""
    alter(package)
    async with network() as (environment, visitors):
        await anyio.run_process(
            [sys.executable, "-c", "import neonize"],
            env=os.environ | environment | {"PYTHONPATH": str(package.path)},
            check=False,
            stderr=subprocess.DEVNULL,
        )
        assert visitors
