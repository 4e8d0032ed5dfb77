"""What the pictures share: colours, axes, text."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "GREY",
    "MAX_BARS",
    "MAX_DOTS",
    "NEGATIVE",
    "POSITIVE",
    "embedded",
    "figure_of",
    "formula_text",
    "new_axes",
    "number_text",
    "places_in_picture",
    "plain_text",
    "write_figure",
]

# Okabe and Ito: distinct to readers with any colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
NEGATIVE, POSITIVE = COLOURS[:2]
GREY = "0.55"
# above these numbers of rows bars, then single dots, hide each other
MAX_BARS = 300
MAX_DOTS = 1500
_DPI = 150
# inches around what is drawn
_PAD = 0.1
_TITLE = 32
# characters of a label beside an axis
_MAX_LABEL = 48


def new_axes(size: tuple[float, float]) -> Axes:
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def plain_text(text: Any, longest: int = _MAX_LABEL) -> str:
    """Make any text a label: one line of a length that fits, without mathematics.

    ``cost $_{US$`` would be read by matplotlib as a formula, and end the drawing.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(line) > longest:
        line = f"{line[:longest]}…"
    return line.replace("$", r"\$")


def formula_text(formula: str) -> str:
    if len(formula) > _TITLE:
        return f"{formula[:_TITLE]}…"
    return re.sub(r"(?<=[A-Za-z])(\d[\d.]*(?:e-?\d+)?)", r"$_{\\mathregular{\1}}$", formula)


def number_text(value: float, room: float) -> str:
    """Write a number with the digits that matter on a scale of so much room."""
    decimals = int(np.clip(2 - math.floor(math.log10(room)), 0, 6)) if room > 0 else 2
    text = f"{value:.{decimals}f}"
    # no negative zero; a true minus sign, as on matplotlib's axes
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def write_figure(figure: Figure, file: Path | io.BytesIO, kind: str) -> None:
    """Write a picture without cutting it."""
    # "tight": the layout engine cuts labels of panels with equal axes
    figure.savefig(file, format=kind, dpi=_DPI, bbox_inches="tight", pad_inches=_PAD)


def embedded(figure: Figure) -> str:
    """Spell a picture for a page that needs no other file: what an image has as its source."""
    buffer = io.BytesIO()
    write_figure(figure, buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def places_in_picture(ax: Axes, points: np.ndarray) -> np.ndarray:
    """Find points of axes in a picture that was written: shares of its width and height.

    They count from the upper left, as on pages.
    """
    figure = figure_of(ax)
    box = figure.get_tightbbox().padded(_PAD)
    across, up = ((ax.transData.transform(points) / figure.dpi - box.min) / box.size).T
    return np.column_stack([across, 1 - up])
