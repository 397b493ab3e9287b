"""Tables that the docs print from the code, so that they say what it does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from wasessionpool import DisconnectReason, PoolSettings, Status, WhatsAppPoolError, errors
from wasessionpool.events import BaseEvent, Event
from wasessionpool.settings import DURATIONS, PREFIX
from wasessionpool.state import ENDED_BY, REVIVABLE, TABLE

ALWAYS = frozenset(BaseEvent.model_fields)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def described(body: Iterable[str]) -> dict[str, str]:
    """Read lines of the form ``name: what it is``; a line that is indented goes on with the last."""
    found: dict[str, str] = {}
    name = ""
    for line in body:
        if line.startswith(" "):
            found[name] += " " + line.strip()
        elif line.strip():
            name, _, text = line.partition(":")
            found[name] = text.strip()
    return found


def settings_table(descriptions: Mapping[str, str]) -> str:
    """Return the settings that are described, as they are in the code; what is not there (yet) is left out."""
    rows = []
    for name, description in descriptions.items():
        if field := PoolSettings.model_fields.get(name):
            default, milliseconds = field.get_default(call_default_factory=True), name in DURATIONS
            variable = f"`{PREFIX}{name.upper()}`" + (" (ms)" if milliseconds else "")
            rows.append([f"`{name}`", f"`{_printed(default)}`", variable, f"{description}{_limits(field.metadata)}"])
    return table(["setting", "default", "variable", "what it is"], rows)


def _printed(value: Any) -> str:
    return str(value) if not isinstance(value, str) else f'"{value}"'


def _limits(metadata: Iterable[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [f"{sign} {getattr(rule, key)}" for rule in metadata for key, sign in signs.items() if hasattr(rule, key)]
    return f" ({', '.join(limits)})" if limits else ""


def events_table() -> str:
    rows = []
    for model in get_args(get_args(Event)[0]):
        fields = [f"`{name}`" for name in model.model_fields if name not in ALWAYS | {"type"}]
        rows.append(
            [f"`{model.model_fields['type'].default}`", f"`{model.__name__}`", first_line(model), ", ".join(fields)]
        )
    return table(["type", "class", "when", "fields"], rows)


def errors_table() -> str:
    rows = []
    for error in known_errors():
        carried = [name for name in inspect.signature(error).parameters if name not in ("message", "args", "kwargs")]
        if "outcome" in vars(error):
            carried.append("outcome")
        rows.append([f"`{error.__name__}`", f"`{error.code}`", first_line(error), ", ".join(f"`{n}`" for n in carried)])
    return table(["error", "code", "when", "carries"], rows)


def known_errors() -> list[type[WhatsAppPoolError]]:
    """Return the errors in the order of their module."""
    named = [
        value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, WhatsAppPoolError)
    ]
    return [error for error in named if error is not WhatsAppPoolError]


def states_table() -> str:
    rows = []
    for status in Status:
        follows = [f"{signal.value.upper()} → `{after}`" for signal, after in TABLE[status].items()]
        rows.append([f"`{status}`", ", ".join(follows)])
    return table(["status", "what changes it"], rows)


def reasons_table(descriptions: Mapping[str, str]) -> str:
    rows = []
    for reason in DisconnectReason:
        signal = ENDED_BY[reason]
        after = TABLE[Status.CONNECTED].get(signal) or TABLE[Status.PAIRING][signal]
        revived = ", revived" if reason in REVIVABLE else ""
        rows.append([f"`{reason}`", descriptions.get(reason, ""), f"`{after}`{revived}"])
    return table(["reason", "what happened", "status then"], rows)


def first_line(documented: Any) -> str:
    text = (inspect.getdoc(documented) or "").partition("\n\n")[0].replace("\n", " ")
    return re.sub(r"``(.+?)``", r"`\1`", text)
