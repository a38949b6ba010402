"""How Sphinx builds the documentation: `make docs`, in which a warning is an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

project = "minidock"
author = "the minidock authors"
html_title = "minidock"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "docs.made.extension",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "made", "recorded"]
suppress_warnings = ["toc.empty_glob", "ref.python", "misc.highlighting_failure"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
# With them furo resolves thousands of entries for each of the pages: minutes instead of seconds.
toc_object_entries = False
highlight_language = "none"
# The types of signatures are for reading; a link for each would be noise, and many are not documented.
nitpicky = False
