"""How Sphinx builds the site: offline, from what the environment holds."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.util.rst import escape

# examples run as tests do: no network, no display, no second thread in small networks
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))
# what processes of the gallery import
sys.path.insert(0, str(Path(__file__).parent))

import sklearn_kt
from benchmarks.site.pages import write_pages
from sklearn_kt.cli import build_parser

HERE = Path(__file__).parent

project = "sklearn_kt"
author = "The sklearn_kt developers"
copyright = author  # noqa: A001
version = release = sklearn_kt.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "auto_examples/*.ipynb"]
default_role = "literal"

autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("sklearn_kt",),
    "backreferences_dir": "api/backreferences",
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", "gallery_warnings.reset"),
    # pictures speak for displays; estimators and tables have HTML
    "capture_repr": ("_repr_html_",),
    "download_all_examples": False,
    # its page loads scripts from elsewhere
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
    "matplotlib_animations": False,
    "parallel": os.cpu_count() or 1,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_kt"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# beside a class there is no room for its name before each method
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "logo": {"image_light": "_static/logo.svg", "image_dark": "_static/logo.svg", "text": project},
    "navigation_with_keys": False,
    "show_toc_level": 2,
    # code of the gallery needs the width
    "secondary_sidebar_items": {
        page: ["page-toc"] for page in ("index", "install", "changelog", "guide/*", "api/**")
    },
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
}
first_steps = "auto_examples/plot_01_first_steps"
html_sidebars = {"index": [], "install": [], first_steps: [], "changelog": []}


def skip_foreign(
    app: Any, what: str, name: str, obj: object, skip: bool, options: Any
) -> bool | None:
    """Leave out methods that scikit-learn, shapiq or torch document."""
    del app, what, name, skip, options
    target = getattr(obj, "fget", None) or getattr(obj, "__func__", obj)
    module = getattr(target, "__module__", None)
    return True if module is not None and not module.startswith("sklearn_kt") else None


def spell_shapes(
    app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Keep an attribute's name in a shape from being read as a link."""
    del app, what, name, obj, options
    lines[:] = [line.replace("(n_features_in_,)", "(``n_features_in_``,)") for line in lines]


def write_commands(app: Any) -> None:
    """Write what every command of the command line says of itself."""
    del app
    # of the lines that are not folded by the browser
    os.environ["COLUMNS"] = "72"
    parser = build_parser()
    (commands,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    parts = [("sklearn-kt", parser), *((f"sklearn-kt {n}", p) for n, p in commands.choices.items())]
    text = "\n".join(line for name, p in parts for line in command_lines(name, p))
    target = HERE / "api" / "commands.inc"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def command_lines(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Spell the help of a command, which terminals show in lines of their width, as a page."""
    formatter = parser._get_formatter()
    yield f"{name}\n{'-' * len(name)}\n\n{spelled(parser.description)}\n"
    examples = [line.strip() for line in parser.epilog.splitlines()[1:]]
    yield from (".. code-block:: console\n", *(f"   $ {line}" for line in examples), "")
    yield ".. code-block:: text\n"
    yield from (f"   {line}" for line in parser.format_usage().splitlines())
    yield ""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action._choices_actions:
                yield f"`sklearn-kt {command.dest}`_"
                yield f"   {spelled(command.help)}\n"
        else:
            yield f"``{formatter._format_action_invocation(action)}``"
            yield f"   {spelled(formatter._expand_help(action))}\n"


def spelled(text: str) -> str:
    """Make text of a terminal that of a page: what is quoted, and options, are code."""
    text, done, end = " ".join(text.split()), "", 0
    for code in re.finditer(r"(?<!\w)'([^']+)'(?!\w)|(?<![\w-])(--[a-z][a-z-]*)", text):
        done += escape(text[end : code.start()]) + rf"\ ``{code[1] or code[2]}``\ "
        end = code.end()
    return done + escape(text[end:])


def write_results(app: Any) -> None:
    """Write what the pages about results include, from the files of the benchmarks."""
    del app
    write_pages(HERE / "results" / "generated")


def setup(app: Any) -> None:
    """Register the functions above."""
    app.connect("autodoc-skip-member", skip_foreign)
    # before numpydoc, which comes at 500
    app.connect("autodoc-process-docstring", spell_shapes, priority=400)
    app.connect("builder-inited", write_commands)
    app.connect("builder-inited", write_results)
