"""The directives that print a table from the code where they stand."""

from __future__ import annotations

from typing import Any

import tables
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Printed(SphinxDirective):
    """A table that is printed where the directive of its name stands."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        descriptions = tables.described(self.content)
        printed = {
            "settings": lambda: tables.settings_table(descriptions),
            "reasons": lambda: tables.reasons_table(descriptions),
            "events": tables.events_table,
            "errors": tables.errors_table,
            "states": tables.states_table,
        }[self.name]()
        return self.parse_text_to_nodes(printed)


def setup(app: Sphinx) -> dict[str, Any]:
    for name in ("settings", "reasons", "events", "errors", "states"):
        app.add_directive(name, Printed)
    return {"parallel_read_safe": True}
