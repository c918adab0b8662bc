"""Sphinx reads this in build/site-source, where `survey site` puts it beside the generated pages."""

import html
import re
from pathlib import Path

from docutils import nodes

import survey_lib
from survey_lib.analysis.address import about, address
from survey_lib.analysis.literature import papers
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.site.pages import pictured
from survey_lib.site.webbook import KEY

project = "Neural network pruning"
author = ", ".join(each["name"] for each in about()["authors"])
copyright = f"{author}; text and figures CC BY 4.0, code MIT"
version = release = survey_lib.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
    "sphinxcontrib.bibtex",
]
nb_execution_mode = "off"  # the committed outputs are shown; `survey notebooks run` makes them
nb_render_markdown_format = "myst"  # its tables are tables; those of commonmark stay text
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the solution"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

bibtex_bibfiles = [str(REPOSITORY / "data" / "literature" / "references.bib")]
bibtex_reference_style = "author_year"
bibtex_cite_id = "ref-{key}"

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of torch.nn.Module say nothing here
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes as a list
napoleon_use_rtype = False  # the type in front of what is returned
suppress_warnings = ["ref.python"]  # two classes are called Method; a type in a docstring may link to either
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
exclude_patterns = ["methods.md", "figures/README.md"]  # the site has pages of its own for these
html_context = {"default_mode": "auto"}  # as the system is set
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_theme_options = {"show_toc_level": 2}
if where := address():  # without one there is nothing to launch
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


def preview(app, page, template, context, doctree):
    """Tags by which a shared link shows title and first sentence and, once the site has an address, a picture."""
    written = (
        doctree.findall(lambda node: isinstance(node, nodes.paragraph | nodes.caption)) if doctree else []
    )
    texts = (node.astext() for node in written)
    said = next((text for text in texts if "minutes" not in text[:12]), about()["abstract"])
    said = html.escape(" ".join(said.split())[:200])
    title = re.sub(r"<[^>]+>", "", context.get("title", project))  # it is HTML already
    tags = {"og:title": title, "og:description": said, "og:type": "website", "og:site_name": project}
    if where := address():
        tags["og:image"] = f"{where.site}/_static/small/{pictured(page)}.png"
        tags["og:url"] = f"{where.site}/{page}.html"
    lines = [f'<meta property="{name}" content="{text}">' for name, text in tags.items()]
    lines.append(f'<meta name="description" content="{said}">')
    there = context.get("metatags", "")  # pages without a source have none yet
    context["metatags"] = "\n".join([there, *lines])


def setup(app):
    app.connect("autodoc-process-docstring", cite_papers)
    app.connect("html-page-context", preview)
