"""How the site is built: ``sphinx-build -W -b html docs build/docs``. Nothing is fetched for it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from wasessionpool import __version__

project = "wasessionpool"
author = "the authors of wasessionpool"
project_copyright = author
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "printed"]
exclude_patterns = ["_ext"]
html_theme = "furo"
html_title = f"wasessionpool {release}"
html_show_sphinx = False
nitpicky = False
myst_heading_anchors = 3
myst_enable_extensions = ["fieldlist"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
