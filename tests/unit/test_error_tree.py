"""The tree of errors: as it is drawn, and what each carries."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

import wasessionpool
from wasessionpool import (
    AccountRestricted,
    RecipientNotOnWhatsapp,
    RecipientRestricted,
    WhatsAppPoolError,
    errors,
)


def tree(error: type[WhatsAppPoolError]) -> set[type[WhatsAppPoolError]]:
    ours = [child for child in error.__subclasses__() if child.__module__.split(".")[0] == "wasessionpool"]
    return {error}.union(*map(tree, ours))


def drawn() -> dict[str, tuple[str, set[str]]]:
    """Return each error in the module's docstring, with its parent and what it carries."""
    found, parents = {}, {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.fullmatch(r"(    [│├└─ ]*)([A-Z]\w+)(?: +([a-z_, ]+))?", line):
            depth = len(match[1])
            parents[depth] = match[2]
            above = [parent for level, parent in parents.items() if level < depth]
            found[match[2]] = above[-1] if above else "Exception", set(re.findall(r"\w+", match[3] or ""))
    return found


def test_the_tree_is_the_one_that_is_drawn() -> None:
    assert {error.__name__: error.__base__.__name__ for error in tree(WhatsAppPoolError) if error.__base__} == {
        name: parent for name, (parent, _) in drawn().items()
    }


@pytest.mark.parametrize("error", sorted(tree(WhatsAppPoolError), key=str), ids=lambda error: error.__name__)
def test_an_error_is_public_and_carries_what_is_drawn(error: type[WhatsAppPoolError]) -> None:
    assert getattr(wasessionpool, error.__name__) is error
    assert error.code == re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).lower() or error is WhatsAppPoolError
    carried = drawn()[error.__name__][1]
    names = {name: None for name in carried if name not in vars(error)}
    made = error("what happened", **names)  # type: ignore[arg-type]
    assert made.message == str(made) == "what happened"
    assert carried <= {name for name in dir(made) if not name.startswith("_")}


def test_restrictions_say_whom_they_are_about() -> None:
    until = datetime(2026, 1, 1, tzinfo=UTC)
    assert AccountRestricted("no cold sends", until=until).until == until
    assert RecipientRestricted.code == "recipient_restricted"
    assert RecipientNotOnWhatsapp.code == "recipient_not_on_whatsapp"
