"""What of neonize the driver uses and how; run by `test_library.py`, in a process that may load neonize."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys

import pytest

from wasessionpool.drivers.neonize import binding as module
from wasessionpool.drivers.neonize import engine as engine_module
from wasessionpool.drivers.neonize.binding import Binding, load_neonize
from wasessionpool.drivers.neonize.engine import Engine
from wasessionpool.drivers.neonize.library import Library

EXPORTS = [
    *("Neonize", "Stop", "Disconnect", "Logout", "SendMessage", "MarkRead"),
    *("PairPhone", "SendChatPresence", "IsOnWhatsApp", "GetBlocklist"),
]


@pytest.fixture(scope="module")
def binding() -> Binding:
    return load_neonize()


def test_what_is_installed_fits(binding: Binding) -> None:
    assert module._mismatch(binding) is None


def test_neonize_comes_without_its_client_and_can_still_be_imported_whole(binding: Binding) -> None:
    assert binding.binder.__name__ == "neonize._binder"
    assert not {"neonize", "neonize.utils", "neonize.client", "PIL"} & set(sys.modules)
    code = (
        "from wasessionpool.drivers.neonize.binding import load_neonize; binding = load_neonize(); "
        "from neonize import NewClient; from neonize.client import gocode; print(gocode is binding.gocode)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30)
    assert said.split() == ["True"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process say how late its timers may be")
def test_the_timers_of_a_worker_may_be_late(binding: Binding) -> None:
    get_timer_slack = 30
    assert ctypes.CDLL(None).prctl(get_timer_slack, 0, 0, 0, 0) == module.TIMER_SLACK


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("odd", ["argtypes", "restype", "errcheck"])
def test_every_export_that_is_called_is_checked(
    binding: Binding, monkeypatch: pytest.MonkeyPatch, name: str, odd: str
) -> None:
    export = getattr(binding.gocode, name)
    other = {"argtypes": [*export.argtypes, ctypes.c_int], "restype": ctypes.c_double, "errcheck": lambda *_: b""}
    before = getattr(export, odd)
    setattr(export, odd, other[odd])
    try:
        assert module._mismatch(binding) == f"{name} takes or returns something else"
    finally:
        if before is None:
            delattr(export, odd)
        else:
            setattr(export, odd, before)
    assert module._mismatch(binding) is None


@pytest.mark.parametrize("table", ["EVENT_CODES", "ENUMS", "ARGUMENTS"])
def test_every_number_is_checked(binding: Binding, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    numbers = getattr(module, table)
    for name, number in numbers.items():
        monkeypatch.setattr(module, table, numbers | {name: number + 100})
        assert f"{name} has another number" in (module._mismatch(binding) or "")


def test_every_field_is_checked(binding: Binding, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fields in module.FIELDS.items():
        monkeypatch.setattr(module, "FIELDS", {name: fields + " Another"})
        assert module._mismatch(binding) == f"{name} has no Another"


@pytest.mark.parametrize("name", ["", "x", "Иван", "x" * 1000])
def test_device_properties_leave_nothing_of_an_earlier_device(binding: Binding, name: str) -> None:
    """Go merges them into a variable of its process: what one names, all have to."""
    library, kind = Library(binding), binding.device_props
    properties = kind.FromString(library._device_properties(name))
    earlier = kind.FromString(library._device_properties("another"))
    assert {field.name for field, _ in properties.ListFields()} == {field.name for field in kind.DESCRIPTOR.fields}
    earlier.MergeFrom(properties)
    assert earlier == properties
    assert (properties.os, properties.requireFullSync) == (name, False)


def test_what_was_never_started_has_opened_nothing(binding: Binding) -> None:
    assert not Library(binding).has_opened(b"nobody")


def test_callbacks_outlive_their_engine(binding: Binding) -> None:
    callbacks = Engine(binding, lambda _: None)._callbacks
    gc.collect()
    assert any(kept is callbacks for kept in engine_module._forever)
