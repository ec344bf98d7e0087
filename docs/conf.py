"""Configuration of the documentation (Sphinx)."""

project = "MetalK8s buildchain"
author = "The MetalK8s authors"
extensions = ["myst_parser"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
html_theme = "alabaster"
html_theme_options = {"description": "Signed, reproducible media for sites without internet", "fixed_sidebar": True}
html_show_copyright = False
nitpicky = True
exclude_patterns = ["_build"]
