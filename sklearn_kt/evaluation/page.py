"""Pages: one HTML file that holds its pictures and loads nothing."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["embedded", "write_figure", "write_page"]

_DPI = 150


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


def embedded(figure: Figure) -> str:
    """Spell a picture for a page that needs no other file."""
    buffer = io.BytesIO()
    write_figure(figure, buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def write_figure(figure: Figure, file: Path | io.BytesIO, kind: str) -> None:
    """Write a picture without cutting it."""
    # "tight": the layout engine cuts labels of panels with equal axes
    figure.savefig(file, format=kind, dpi=_DPI, bbox_inches="tight", pad_inches=0.1)
