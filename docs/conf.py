"""Sphinx reads this in build/site-source, where `survey site` puts it beside the generated pages."""

import re
from pathlib import Path

import survey_lib
from survey_lib.analysis.address import about, address
from survey_lib.analysis.literature import papers
from survey_lib.experiment.data.sources import REPOSITORY

project = "Neural network pruning"
author = ", ".join(each["name"] for each in about()["authors"])
copyright = f"{author}; text and figures CC BY 4.0, code MIT"
KEY = re.compile(r"\b[a-z]+[12]\d{3}[a-z0-9]+\b")  # of a paper
version = release = survey_lib.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
    "sphinx_click",
    "sphinxcontrib.bibtex",
    "sphinxext.opengraph",
]
nb_execution_mode = "off"  # the committed outputs are shown; `survey notebooks run` makes them
nb_render_markdown_format = "myst"  # its tables are tables; those of commonmark stay text
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the solution"
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 3

bibtex_bibfiles = [str(REPOSITORY / "data" / "literature" / "references.bib")]
bibtex_reference_style = "author_year"
bibtex_cite_id = "ref-{key}"

apidoc_modules = [
    {"path": str(REPOSITORY / "survey_lib"), "destination": "library", "automodule_options": {"members"}}
]
apidoc_module_first = True
autodoc_default_options = {"ignore-module-all": True}  # what survey_lib brings has pages of its own
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of torch.nn.Module say nothing here
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes as a list
napoleon_use_rtype = False  # the type in front of what is returned
suppress_warnings = ["ref.python"]  # two classes are called Method; a type in a docstring may link to either
smartquotes = False  # --help is no dash
default_role = "code"  # `name` in a docstring
python_maximum_signature_line_length = 100

html_theme = "sphinx_book_theme"
html_title = project
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["site.css"]
html_js_files = ["filter.js"]
html_copy_source = False
exclude_patterns = ["README.md", "figures/README.md"]  # the site has pages of its own for these
html_context = {"default_mode": "auto"}  # as the system is set
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
ogp_social_cards = {"enable": False}  # a shared link shows title and first sentence
html_theme_options = {"show_toc_level": 2}
autosummary_generate = False  # apidoc writes the pages
if where := address():  # without one there is nothing to launch
    owner, name = where.home.split("/")[-2:]
    ogp_site_url = f"https://{owner}.github.io/{name}"
    html_theme_options |= {
        "repository_url": where.home,
        "repository_branch": where.tag,
        "repository_provider": "github",
        "use_repository_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        },
    }


def cite_papers(app, what, name, obj, options, lines):
    """Keys of papers in docstrings lead to the references."""
    keys = papers().index
    lines[:] = [
        KEY.sub(lambda key: f":cite:t:`{key[0]}`" if key[0] in keys else key[0], one) for one in lines
    ]


def setup(app):
    app.connect("autodoc-process-docstring", cite_papers)
