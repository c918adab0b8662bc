"""Sphinx reads this in build/site-source, where `survey site` puts it beside the generated pages."""

import survey_lib
from survey_lib.analysis.literature import papers
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.site.docstrings import as_rst
from survey_lib.site.source import HOME, TAG

project = "Neural network pruning"
copyright = "the survey_lib maintainers; text and figures CC BY 4.0, code MIT"
version = release = survey_lib.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinxcontrib.bibtex",
]
nb_execution_mode = "off"  # the committed outputs are shown; `survey notebooks run` makes them
nb_merge_streams = True
nb_code_prompt_show = "Show the solution"
nb_code_prompt_hide = "Hide the solution"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
numfig = True

bibtex_bibfiles = [str(REPOSITORY / "data" / "literature" / "references.bib")]
bibtex_reference_style = "author_year"
bibtex_cite_id = "ref-{key}"

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of torch.nn.Module say nothing here
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100

html_theme = "sphinx_book_theme"
html_title = project
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["filter.js"]
html_copy_source = False
html_context = {"default_mode": "light"}
html_theme_options = {
    "repository_url": HOME,
    "repository_branch": TAG,
    "repository_provider": "github",
    "use_repository_button": True,
    "launch_buttons": {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"},
    "show_toc_level": 2,
}


def escape_docstring(app, what, name, obj, options, lines):
    lines[:] = as_rst("\n".join(lines), papers().index)


def setup(app):
    app.connect("autodoc-process-docstring", escape_docstring)
