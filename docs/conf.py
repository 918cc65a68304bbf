"""How Sphinx makes pages of these documents: ``make docs``."""

project = "himbeerecouch"
copyright = "the himbeerecouch authors"
html_theme = "alabaster"
html_theme_options = {"description": "Python programs on Raspberry Pis by way of CouchDB", "page_width": "70em"}
exclude_patterns = ["_build"]
highlight_language = "none"
nitpicky = True
