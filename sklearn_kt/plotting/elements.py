"""What elements and pairs of elements add to predictions, over a data set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_kt.compositions import ELEMENTS, is_composition_input, read_compositions
from sklearn_kt.exceptions import InputError
from sklearn_kt.structures.elements import electronegativity

from ._style import NEGATIVE, POSITIVE, figure_of, new_axes, number_text, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


__all__ = ["by_electronegativity", "plot_pair_matrix", "plot_periodic_table"]

_PALE = "#EDEDED"


def plot_periodic_table(
    values: Mapping[str, float] | pd.Series | pd.DataFrame | Sequence[Any] | np.ndarray,
    *,
    column: str = "mean",
    label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Show one number per element on the periodic table.

    Parameters
    ----------
    values : mapping or Series of symbol to number, DataFrame, or array-like of compositions
        A table of :func:`~sklearn_kt.explanation.explain_dataset` gives its elements. Of
        compositions, as of :func:`~sklearn_kt.read_compositions`, it is counted how many have each
        element.
    column : str, default="mean"
        Column of a DataFrame.
    label : str, default=""
        What the numbers are, with their unit.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on; None makes a figure.

    Returns
    -------
    matplotlib.axes.Axes
        Elements without a number are pale.

    Raises
    ------
    InputError
        If there are no numbers, or one belongs to something that is not an element.
    CompositionError
        If a row is not a composition.

    Examples
    --------
    >>> from sklearn_kt.plotting import plot_periodic_table
    >>> ax = plot_periodic_table({"Fe": 1.0, "O": -0.5}, label="effect (eV)")
    >>> len(ax.patches)
    118
    >>> ax = plot_periodic_table(["Fe2O3", "MgO"], label="compounds")
    """
    from matplotlib.patches import Rectangle

    numbers = _numbers_of_elements(values, column)
    if ax is None:
        ax = new_axes((9.0, 4.9))
    colours, norm_of = _colour_scale(list(numbers.values()))
    room = max(map(abs, numbers.values())) or 1.0
    if all(number.is_integer() for number in numbers.values()):
        # counts need no decimals
        room = max(room, 100.0)
    for symbol in ELEMENTS:
        x, y = _place(symbol)
        number = numbers.get(symbol)
        face = _PALE if number is None else colours(norm_of(number))
        ink = "0.6" if number is None else _ink(face)
        ax.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, facecolor=face, linewidth=0))
        ax.text(
            x,
            y if number is None else y - 0.12,
            symbol,
            ha="center",
            va="center",
            color=ink,
            fontsize=9,
            fontweight="normal" if number is None else "bold",
        )
        if number is not None:
            ax.text(
                x,
                y + 0.26,
                number_text(number, room),
                ha="center",
                va="center",
                color=ink,
                fontsize=6,
            )
    for y, text in ((6, "57–71"), (7, "89–103")):  # noqa: RUF001
        ax.text(3, y, text, ha="center", va="center", color="0.6", fontsize=6)
    ax.set(xlim=(0.4, 18.6), ylim=(10.05, 0.4), aspect="equal")
    ax.set_axis_off()
    _add_colour_bar(ax, colours, norm_of, label, (0.17, 0.90, 0.46, 0.035))
    return ax


def plot_pair_matrix(
    table: pd.DataFrame,
    *,
    column: str = "mean",
    elements: Sequence[str] | None = None,
    max_elements: int = 20,
    label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Show one number per pair of elements as a triangle.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`~sklearn_kt.explanation.explain_dataset`, with pairs.
    column : str, default="mean"
        What is shown.
    elements : sequence of str, default=None
        Which elements; None takes those whose pairs occur most often.
    max_elements : int, default=20
        How many, if `elements` is None.
    label : str, default=""
        What the numbers are, with their unit.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on; None makes a figure.

    Returns
    -------
    matplotlib.axes.Axes
        From the most electropositive element to the most electronegative; pairs that are
        not in the table are pale.

    Raises
    ------
    InputError
        If the table has no pairs of these elements, or no such column.

    Examples
    --------
    >>> from sklearn_kt.explanation import explain_dataset
    >>> from sklearn_kt.plotting import plot_pair_matrix
    >>> def iron_oxide(formulas):
    ...     return [2.0 * ("Fe" in f and "O" in f) for f in formulas]
    >>> table = explain_dataset(iron_oxide, ["Fe2O3", "NaCl", "LiFeO2"])
    >>> ax = plot_pair_matrix(table, label="interaction")
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['Li', 'Fe', 'Cl', 'O']
    """
    _check_column(table, column)
    pairs = table[table["order"] == 2]
    split = pairs["elements"].str.split("-")
    if elements is None:
        both = pd.DataFrame({"element": split, "count": pairs["count"]}).explode("element")
        counts = both.groupby("element")["count"].sum().sort_values(ascending=False, kind="stable")
        elements = counts.index[:max_elements].tolist()
    chosen = by_electronegativity(elements)
    position = {symbol: i for i, symbol in enumerate(chosen)}
    matrix = np.full((len(chosen), len(chosen)), np.nan)
    for (a, b), number in zip(split, pairs[column], strict=True):
        if a in position and b in position:
            row, col = sorted((position[a], position[b]), reverse=True)
            matrix[row, col] = number
    if np.isnan(matrix).all():
        raise InputError(
            "the table holds no pairs of these elements; explain_dataset makes them with "
            "max_order=2 or more, from min_support rows on."
        )
    matrix = matrix[1:, :-1]
    if ax is None:
        side = 1.8 + 0.27 * len(matrix)
        ax = new_axes((side + 0.6, side))
    colours, norm_of = _colour_scale(matrix[np.isfinite(matrix)].tolist())
    pale = np.where(np.tri(len(matrix), dtype=bool), 0.0, np.nan)
    grid = np.arange(len(matrix) + 1) - 0.5
    edge: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.0}
    ax.pcolormesh(grid, grid, pale, cmap=_flat(_PALE), **edge)
    ax.pcolormesh(grid, grid, matrix, cmap=colours, norm=norm_of, **edge)
    ax.set_xticks(range(len(matrix)), chosen[:-1])
    ax.set_yticks(range(len(matrix)), chosen[1:])
    ax.set(xlim=(-0.5, len(matrix) - 0.5), ylim=(len(matrix) - 0.5, -0.5), aspect="equal")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    _add_colour_bar(ax, colours, norm_of, label, (0.52, 0.93, 0.45, 0.03))
    return ax


def _check_column(table: pd.DataFrame, column: str) -> None:
    missing = [name for name in ("elements", "order", "count", column) if name not in table]
    if missing:
        raise InputError(
            f"the table has no column {missing[0]!r}; it must be one of explain_dataset, with "
            f"columns {', '.join(map(str, table))}."
        )


def _numbers_of_elements(values: Any, column: str) -> dict[str, float]:
    if isinstance(values, pd.DataFrame):
        _check_column(values, column)
        single = values[values["order"] == 1]
        values = dict(zip(single["elements"], single[column], strict=True))
    elif not isinstance(values, Mapping) and is_composition_input(values):
        numbers, counts = np.unique(read_compositions(values).atomic_numbers, return_counts=True)
        values = {ELEMENTS[z - 1]: n for z, n in zip(numbers, counts, strict=True)}
    given = {str(symbol): float(number) for symbol, number in values.items()}
    unknown = sorted(set(given) - set(ELEMENTS))
    if unknown:
        raise InputError(f"{unknown[0]!r} is not an element; use symbols such as 'Fe'.")
    found = {symbol: number for symbol, number in given.items() if math.isfinite(number)}
    if not found:
        raise InputError("there is no number to show.")
    return found


@cache
def _place(symbol: str) -> tuple[int, float]:
    """Column and row on the periodic table; the f block stands below."""
    from pymatgen.core import Element

    element = Element(symbol)
    if element.is_lanthanoid:
        return element.Z - 54, 8.5
    if element.is_actinoid:
        return element.Z - 86, 9.5
    return element.group, element.row


def by_electronegativity(symbols: Iterable[str]) -> list[str]:
    """Sort elements; those of the same, or without any, by atomic number."""
    return sorted(symbols, key=lambda symbol: (electronegativity(symbol), ELEMENTS.index(symbol)))


def _colour_scale(numbers: list[float]) -> tuple[Colormap, Any]:
    """Diverging about 0 if both signs occur or may occur; else one colour getting deeper."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    top = max(map(abs, numbers)) or 1.0
    colours = [NEGATIVE, "#F7F7F7", POSITIVE]
    if min(numbers) >= 0:
        return LinearSegmentedColormap.from_list("positive", colours[1:]), Normalize(0, top)
    return LinearSegmentedColormap.from_list("diverging", colours), Normalize(-top, top)


def _flat(colour: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([colour])


def _ink(face: Any) -> str:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(face)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def _add_colour_bar(
    ax: Axes, colours: Colormap, norm_of: Any, label: str, place: tuple[float, float, float, float]
) -> None:
    """Lay a scale into an empty corner of the axes."""
    from matplotlib.cm import ScalarMappable

    inset = ax.inset_axes(place)
    mappable = ScalarMappable(norm_of, colours)
    bar = figure_of(ax).colorbar(mappable, cax=inset, orientation="horizontal")
    bar.outline.set_visible(False)
    inset.tick_params(labelsize=8, length=2)
    inset.set_title(plain_text(label), fontsize=9)
