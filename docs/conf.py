"""Settings of Sphinx, which builds the site of the documentation: `make docs-site`.

The source folder is the root of the repository, so that pages link to each other, to notebooks and
to recipes in the same way on the site and in the repository. The site works offline: fonts are
those of the system, and formulas are MathML.
"""

import pathlib
import re
from typing import Any

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx

REPOSITORY = pathlib.Path(__file__).parent.parent

project = "shakespeare_gen"
author = "the authors of shakespeare_gen"
version = re.search(  # as in setup.py, without an import
    r'__version__ = "(.+)"', (REPOSITORY / "shakespeare_gen" / "__init__.py").read_text("utf-8")
)[1]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "benchmarks/*.md",
    "notebooks/*.ipynb",
    "notebooks/*.md",
    "shakespeare_gen/pretrained/*/README.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "build", "dist", "runs", "**/.ipynb_checkpoints"]

nb_execution_mode = "off"  # notebooks are committed with their outputs
nb_ipywidgets_js = {}  # would come from another site
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # those of GitHub

html_theme = "furo"
html_title = "shakespeare_gen"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_extra_path = ["site/index.html"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "none"  # of blocks without a language: commands, verse, tables
pygments_style = "friendly"
pygments_dark_style = "monokai"

default_role = "code"  # backticks of docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    formula = latex2mathml.converter.convert(node.astext(), display="block")
    translator.body.append(f'<div class="math">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Registers formulas as MathML, which needs no script."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


html_math_renderer = "mathml"
