"""Pages: one HTML file that holds its pictures and loads nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn_kt._files import replacing

__all__ = ["write_page"]


def write_page(
    path: str | os.PathLike[str],
    template: str,
    *,
    title: str,
    command: str,
    made: Sequence[tuple[str, str]],
    **content: Any,
) -> Path:
    """Write a page of the look that all share.

    Parameters
    ----------
    path : path-like
        File to write.
    template : str
        Name of a file that extends ``page.html``.
    title : str
        Heading of the page.
    command : str
        The command that made it; may be empty.
    made : sequence of (str, str)
        How it was made otherwise: names and values, such as dates and versions.
    **content
        What the template asks for.

    Returns
    -------
    path : Path
        The file written.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sklearn_kt"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template(template).render(
        title=title, command=command, made=made, **content
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)
