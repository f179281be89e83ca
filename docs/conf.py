"""How the site is made from the pages of this directory: `make docs`. Nothing is fetched when a page is read."""

from __future__ import annotations

import datetime
import os

project = "envkit"
author = "the envkit authors"
copyright = ""
root_doc = "index"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns: list[str] = []
highlight_language = "none"
today = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.UTC).date().isoformat()

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block", "attrs_inline"]
suppress_warnings = ["misc.highlighting_failure"]

pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

html_theme = "furo"
html_title = "envkit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b5d6b", "color-brand-content": "#0b5d6b"},
    "dark_css_variables": {"color-brand-primary": "#6fd0de", "color-brand-content": "#6fd0de"},
}
