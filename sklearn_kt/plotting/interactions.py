"""Interactions of the elements of one formula."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt._files import image_format, replacing
from sklearn_kt.exceptions import InputError
from sklearn_kt.explanation.explain import explain

from ._style import (
    GREY,
    NEGATIVE,
    POSITIVE,
    figure_of,
    formula_text,
    new_axes,
    number_text,
    plain_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sklearn_kt.explanation import CompositionInteractions

__all__ = ["InteractionDisplay", "draw_explanation", "write_explanation"]

_KINDS = ("network", "waterfall", "force", "upset")
_DPI = 150


class InteractionDisplay:
    """Pictures of the interactions of one composition.

    Parameters
    ----------
    values : CompositionInteractions
        Of :func:`~sklearn_kt.explain`.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        What was drawn on.
    figure_ : matplotlib.figure.Figure
        Its figure.

    See Also
    --------
    sklearn_kt.explain : Computes the values.
    plot_periodic_table : Effects of elements over a data set.
    plot_pair_matrix : Interactions of pairs over a data set.

    Notes
    -----
    The pictures are those of shapiq, drawn on given axes, which shapiq's cannot be, and
    with the same two colours everywhere. shapiq's own take
    ``feature_names=values.player_names``.

    Examples
    --------
    >>> from sklearn_kt.plotting import InteractionDisplay
    >>> def iron_oxide(formulas):
    ...     return [2.0 * ("Fe" in f and "O" in f) for f in formulas]
    >>> display = InteractionDisplay.from_estimator(iron_oxide, "LiFePO4", kind="waterfall")
    >>> display.ax_.get_xlabel()
    'prediction'
    """

    ax_: Axes
    figure_: Figure

    def __init__(self, values: CompositionInteractions) -> None:
        self.values = values

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        composition: Any,
        *,
        kind: str = "network",
        label: str = "prediction",
        max_display: int = 12,
        ax: Axes | None = None,
        **options: Any,
    ) -> InteractionDisplay:
        """Explain a prediction and plot the values.

        Parameters
        ----------
        estimator : fitted estimator or callable
            As for :func:`~sklearn_kt.explain`.
        composition : str, pymatgen Composition or dict
            What is explained.
        kind, label, max_display, ax
            As for :meth:`plot`.
        **options
            Of :func:`~sklearn_kt.explain`, such as ``max_order``.

        Returns
        -------
        InteractionDisplay
            Plotted.
        """
        values = explain(estimator, composition, **options)
        return cls(values).plot(kind, label=label, max_display=max_display, ax=ax)

    def plot(
        self,
        kind: str = "network",
        *,
        label: str = "prediction",
        max_display: int = 12,
        ax: Axes | None = None,
    ) -> InteractionDisplay:
        """Plot the values.

        Parameters
        ----------
        kind : {"network", "waterfall", "force", "upset"}, default="network"
            Elements as nodes and interactions between them; the way from the baseline to
            the prediction, in steps or on one line; or the largest values above
            the elements they belong to.
        label : str, default="prediction"
            What is predicted, with its unit.
        max_display : int, default=12
            Largest values that are shown one by one; a network shows all of orders 1 and 2.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        InteractionDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        InputError
            If there is no such kind, or values that do not add up (SII) are to be stacked.
        """
        if kind not in _KINDS:
            raise InputError(f"kind must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}.")
        if max_display < 1:
            raise InputError(f"max_display must be at least 1, got {max_display}.")
        if kind in ("waterfall", "force") and self.values.index == "SII":
            raise InputError(
                f"values of SII do not add up to the prediction, which a {kind} plot shows; "
                "explain with index='k-SII', or use kind='network' or 'upset'."
            )
        rows = min(max_display, len(self.values.subsets()))
        sizes = {
            "network": (5.2, 5.2),
            "waterfall": (6.4, 1.6 + 0.34 * rows),
            "force": (8.0, 2.2),
            "upset": (max(3.6, 1.8 + 0.5 * rows), 3.0 + 0.27 * self.values.n_players),
        }
        self.ax_ = new_axes(sizes[kind]) if ax is None else ax
        self.figure_ = figure_of(self.ax_)
        getattr(self, f"_plot_{kind}")(self.ax_, plain_text(label), max_display)
        return self

    def _plot_network(self, ax: Axes, label: str, max_display: int) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Circle

        values, n = self.values, self.values.n_players
        angles = np.pi / 2 - 2 * np.pi * np.arange(n) / n
        places = np.column_stack([np.cos(angles), np.sin(angles)]) if n > 1 else np.zeros((1, 2))
        subsets = [subset for subset in values.subsets() if len(subset) <= 2]
        strongest = max(abs(values[subset]) for subset in subsets) or 1.0
        # a node with a label inside must hold two letters, and leave its neighbours alone
        largest = min(0.30, 0.75 * math.sin(math.pi / n)) if n > 1 else 0.30
        for subset in subsets:
            strength = abs(values[subset]) / strongest
            colour = _colour(values[subset])
            ends = places[list(subset)]
            if len(subset) == 2:
                width, alpha = 14 * strength, 0.25 + 0.6 * strength
                ax.plot(*ends.T, color=colour, linewidth=width, alpha=alpha)
            else:
                radius = largest * (0.35 + 0.65 * math.sqrt(strength))
                ax.add_patch(Circle(ends[0], radius, facecolor=colour, edgecolor="white", zorder=3))
        size = 11 if n <= 8 else 9
        for player, (x, y) in enumerate(places):
            name, value = values.player_names[player], values[(player,)]
            away = 1 + (largest + 0.1) / max(math.hypot(x, y), 1e-9) if n > 1 else 0
            ax.text(
                x * away,
                y * away - (0 if n > 1 else largest + 0.15),
                f"{name}\n{_signed(value, strongest)}",
                ha="center" if abs(x) < 0.2 else "left" if x > 0 else "right",
                va="center" if abs(y) < 0.9 else "bottom" if y > 0 else "top",
                fontsize=size,
            )
        reach = 1.75 if n > 1 else 0.9
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        ax.set_axis_off()
        shown = ", orders 1 and 2" if values.max_order > 2 else ""
        ax.set_title(self._title(label, shown), fontsize=11)
        strokes = [
            Line2D([], [], color=colour, linewidth=5, label=text)
            for colour, text in ((POSITIVE, "raises"), (NEGATIVE, "lowers"))
        ]
        ax.legend(
            handles=strokes,
            loc="upper center",
            ncols=2,
            frameon=False,
            bbox_to_anchor=(0.5, 0.03),
        )

    def _plot_waterfall(self, ax: Axes, label: str, max_display: int) -> None:
        steps = self._steps(max_display)
        start = float(self.values.baseline_value)
        places = start + np.cumsum([0.0, *(value for _, value in steps)])
        begins, ends = places[:-1].tolist(), places[1:].tolist()
        low, high = min(start, *ends), max(start, *ends)
        room = (high - low) or 1.0
        for row, ((_, value), left, right) in enumerate(zip(steps, begins, ends, strict=True)):
            ax.barh(row, value, left=left, height=0.65, color=_colour(value))
            if row + 1 < len(steps):
                ax.plot([right, right], [row, row + 1], color=GREY, linewidth=0.8, zorder=0)
            side = 1 if value >= 0 else -1
            ax.text(
                right + side * 0.012 * room,
                row,
                _signed(value, room),
                ha="left" if value >= 0 else "right",
                va="center",
                fontsize=9,
            )
        top = len(steps) - 0.4
        for place, name, align in _marks(start, ends[-1], 0.16 * room):
            ax.plot([place, place], [-0.7, top], color=GREY, linewidth=0.8, ls=":", zorder=0)
            text = f"{name}\n{number_text(place, room)}"
            ax.text(place, top, text, ha=align, va="bottom", fontsize=9)
        ax.set_yticks(range(len(steps)), [name for name, _ in steps])
        ax.set(xlim=(low - 0.14 * room, high + 0.14 * room), ylim=(-0.7, len(steps) + 0.6))
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.set_xlabel(label)
        ax.set_title(self._title(), fontsize=11)

    def _plot_force(self, ax: Axes, label: str, max_display: int) -> None:
        from matplotlib.patches import Polygon

        steps = self._steps(max_display)
        baseline = float(self.values.baseline_value)
        total = baseline + sum(value for _, value in steps)
        spans = [sum(v for _, v in steps if v > 0), -sum(v for _, v in steps if v < 0)]
        room = max(sum(spans), 1e-12)
        tip = 0.012 * room
        # positive values push towards the prediction from the left, negative ones from the right
        for sign in (1, -1):
            edge = total
            for name, value in sorted(steps, key=lambda step: -abs(step[1])):
                if value * sign <= 0:
                    continue
                far = edge - value
                point = min(tip, 0.5 * abs(value)) * sign
                corners = [(far, 0), (edge - point, 0), (edge, 0.5), (edge - point, 1), (far, 1)]
                corners.append((far + point, 0.5))
                ax.add_patch(Polygon(corners, color=_colour(value), linewidth=0))
                if abs(value) > 0.06 * room:
                    middle = (edge + far) / 2
                    ax.text(
                        middle,
                        0.5,
                        f"{name}\n{_signed(value, room)}",
                        ha="center",
                        va="center",
                        color="white",
                        fontsize=9 if abs(value) > 0.09 * room else 7,
                    )
                edge = far
        marks = _marks(baseline, total, 0.25 * room)
        for place, name, align in marks:
            # not across the bars, whose names it would strike out
            for ends in ((1.02, 1.14), (-0.14, -0.02)):
                ax.plot([place, place], ends, color="black", linewidth=1.4)
            text = f"{name} {number_text(place, room)}"
            ax.text(place, 1.18, text, ha=align, va="bottom", fontsize=9)
        reach = [total - spans[0], total + spans[1], *(place for place, *_ in marks)]
        ax.set(xlim=(min(reach) - 0.06 * room, max(reach) + 0.06 * room), ylim=(-0.3, 1.55))
        ax.set_yticks([])
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.set_xlabel(label)
        ax.set_title(self._title(), fontsize=11)

    def _plot_upset(self, ax: Axes, label: str, max_display: int) -> None:
        from matplotlib.ticker import MaxNLocator

        values = self.values
        subsets = sorted(values.subsets(), key=lambda s: -abs(values[s]))[:max_display]
        heights = np.array([values[subset] for subset in subsets])
        room = float(np.ptp([0.0, *heights])) or 1.0
        ax.bar(range(len(subsets)), heights, width=0.7, color=[_colour(v) for v in heights])
        for column, height in enumerate(heights.tolist()):
            ax.annotate(
                _signed(height, room),
                (column, height),
                xytext=(0, 3 if height >= 0 else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if height >= 0 else "top",
                fontsize=8,
            )
        ax.axhline(0, color="black", linewidth=0.8)
        # a table of dots below the bars, one line per player
        low = min(0.0, *heights) - 0.12 * room
        high = max(0.0, *heights) + 0.12 * room
        step = 0.11 * (high - low)
        lines = low - step * (0.6 + np.arange(values.n_players))
        for column, subset in enumerate(subsets):
            ax.plot([column] * len(lines), lines, "o", color="0.88", markersize=6)
            inside = lines[list(subset)]
            ax.plot([column] * len(inside), inside, "o-", color="0.2", markersize=6)
        ticks = MaxNLocator(5).tick_values(min(0.0, *heights), max(0.0, *heights))
        ax.set_yticks([tick for tick in ticks if low <= tick <= high])
        ax.set_yticks(lines, values.player_names, minor=True)
        ax.tick_params(axis="y", which="minor", length=0)
        ax.spines["left"].set_bounds(low, high)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.set_xticks([])
        ax.set(xlim=(-0.6, len(subsets) - 0.4), ylim=(lines[-1] - step, high))
        ax.set_title(self._title(label), fontsize=11)

    def _steps(self, max_display: int) -> list[tuple[str, float]]:
        """Names and values from the smallest to the largest; the rest in one."""
        values = self.values
        ordered = sorted(values.subsets(), key=lambda s: abs(values[s]))
        hidden = len(ordered) - max_display
        # one hidden value would take as much room as its sum
        hidden = hidden + 1 if hidden > 0 else 0
        steps = [(values.name(subset), values[subset]) for subset in ordered[hidden:]]
        if hidden:
            steps.insert(0, (f"{hidden} others", sum(values[s] for s in ordered[:hidden])))
        return steps

    def _title(self, label: str = "", shown: str = "") -> str:
        values = self.values
        kind = f"{values.index}, estimated" if values.estimated else values.index
        title = f"{formula_text(values.formula)} ({kind}{shown})"
        return f"{title}\n{label}" if label else title


def write_explanation(
    values: CompositionInteractions, path: str | os.PathLike[str], *, label: str = "prediction"
) -> Path:
    """Write the network of one composition beside the steps to its prediction.

    Parameters
    ----------
    values : CompositionInteractions
        Of :func:`~sklearn_kt.explain`. Those of SII, which do not add up, are
        shown as bars instead of steps.
    path : path-like
        Image file to write; its suffix gives the format, such as ``.png``.
    label : str, default="prediction"
        What is predicted, with its unit.

    Returns
    -------
    pathlib.Path
        The file written.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn_kt import explain
    >>> from sklearn_kt.plotting import write_explanation
    >>> values = explain(lambda formulas: [1.0 * len(f) for f in formulas], "LiFePO4")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_explanation(values, f"{folder}/LiFePO4.png").name
    'LiFePO4.png'
    """
    kind, figure = image_format(path), draw_explanation(values, label)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format=kind)
    return Path(path)


def draw_explanation(values: CompositionInteractions, label: str = "prediction") -> Figure:
    """Draw the network of one composition beside the steps to its prediction."""
    from matplotlib.figure import Figure

    display = InteractionDisplay(values)
    second = "upset" if values.index == "SII" else "waterfall"
    # no pyplot: it would want a display where there is one
    figure = Figure(figsize=(11.5, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    display.plot("network", label=label, ax=left)
    display.plot(second, label=label, ax=right)
    return figure


def _colour(value: float) -> str:
    return POSITIVE if value >= 0 else NEGATIVE


def _marks(baseline: float, prediction: float, near: float) -> list[tuple[float, str, str]]:
    """Place, name and alignment of two texts, which turn away from each other when near."""
    apart = abs(prediction - baseline) >= near
    sides = ("right", "left") if prediction >= baseline else ("left", "right")
    return [
        (place, name, "center" if apart else side)
        for place, name, side in zip(
            (baseline, prediction), ("baseline", "prediction"), sides, strict=True
        )
    ]


def _signed(value: float, room: float) -> str:
    text = number_text(value, room)
    return text if text.startswith("\N{MINUS SIGN}") or float(text) == 0 else f"+{text}"
