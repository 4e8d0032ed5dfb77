"""Pictures of models, explanations and embeddings, on matplotlib.

Everything draws on the axes it is given, or on a new figure of pyplot, and can be changed
afterwards. Displays follow scikit-learn: ``from_estimator`` or ``from_predictions``
compute and plot, ``plot`` draws again, ``ax_`` and ``figure_`` hold the result;
functions return the axes. Orange is positive and blue is negative, which readers with
any colour vision can tell apart. For learning curves, scikit-learn's
:class:`~sklearn.model_selection.LearningCurveDisplay` takes the estimators of this package.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import binom, norm
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.utils import check_consistent_length

from ._files import replacing
from ._settings import own_settings
from .compositions import ELEMENTS
from .exceptions import InputError
from .explanation import explain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from .explanation import CompositionInteractions
    from .structures import Candidate

__all__ = [
    "EmbeddingDisplay",
    "InteractionDisplay",
    "IntervalReliabilityDisplay",
    "ParityDisplay",
    "StructureDisplay",
    "plot_pair_matrix",
    "plot_periodic_table",
    "plot_training_curve",
    "write_explanation",
]

# Okabe and Ito: distinct to readers with any colour vision
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_NEGATIVE, _POSITIVE = _COLOURS[:2]
# in the order of electronegativity; grey instead of black
_ATOM_COLOURS = ("#009E73", "#0072B2", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#999999")
_GREY = "0.55"
_PALE = "#EDEDED"
_MARKERS = "osD^vP*"
_KINDS = ("network", "waterfall", "force", "upset")
# above these numbers of rows bars, then single dots, hide each other
_MAX_BARS = 300
_MAX_DOTS = 1500
_TITLE = 32
# characters of a label beside an axis
_MAX_LABEL = 48
_DPI = 150
# crystals are seen from a little to the right and above, as in most drawings
_TURN, _TILT = np.radians([17.0, 12.0])
_ATOM_SCALE = 0.38
_UNKNOWN_RADIUS, _SMALLEST_RADIUS = 1.5, 0.8
_SYMMETRY = 0.1
# atoms that lie on a face of the cell are drawn on the opposite face too
_ON_FACE = 0.02


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
        self.ax_ = _new_axes(sizes[kind]) if ax is None else ax
        self.figure_ = _figure_of(self.ax_)
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
            for colour, text in ((_POSITIVE, "raises"), (_NEGATIVE, "lowers"))
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
                ax.plot([right, right], [row, row + 1], color=_GREY, linewidth=0.8, zorder=0)
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
            ax.plot([place, place], [-0.7, top], color=_GREY, linewidth=0.8, ls=":", zorder=0)
            text = f"{name}\n{_number(place, room)}"
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
            text = f"{name} {_number(place, room)}"
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
        title = f"{_formula_text(values.formula)} ({kind}{shown})"
        return f"{title}\n{label}" if label else title


class ParityDisplay:
    """Predictions of numbers against the truth, with their uncertainty.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted values.
    std : array-like of shape (n_samples,), default=None
        Standard deviations of the predictions.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        What was drawn on.
    figure_ : matplotlib.figure.Figure
        Its figure.

    See Also
    --------
    IntervalReliabilityDisplay : Whether the standard deviations can be believed.
    sklearn.metrics.PredictionErrorDisplay : Without uncertainty.

    Examples
    --------
    >>> from sklearn_kt.plotting import ParityDisplay
    >>> display = ParityDisplay.from_predictions([1.0, 2.0, 3.0], [1.1, 1.8, 3.0], std=[0.1] * 3)
    >>> display.ax_.get_xlabel()
    'true value'
    """

    ax_: Axes
    figure_: Figure

    def __init__(self, y_true: Any, y_pred: Any, std: Any = None) -> None:
        self.y_true, self.y_pred, self.std = _checked_predictions(y_true, y_pred, std)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        return_std: bool = False,
        kind: str = "parity",
        label: str = "value",
        ax: Axes | None = None,
    ) -> ParityDisplay:
        """Predict and plot.

        Parameters
        ----------
        estimator : fitted regressor
            With ``return_std=True``, its ``predict`` must know that argument.
        X : array-like of compositions or features
            What the regressor takes; rows that it was not fitted on.
        y : array-like of shape (n_samples,)
            True values.
        return_std : bool, default=False
            Also ask for standard deviations.
        kind, label, ax
            As for :meth:`plot`.

        Returns
        -------
        ParityDisplay
            Plotted.
        """
        predictions = estimator.predict(X, return_std=True) if return_std else estimator.predict(X)
        mean, std = predictions if return_std else (predictions, None)
        return cls(y, mean, std).plot(kind, label=label, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        std: Any = None,
        kind: str = "parity",
        label: str = "value",
        ax: Axes | None = None,
    ) -> ParityDisplay:
        """Plot predictions.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,)
            True and predicted values.
        std : array-like of shape (n_samples,), default=None
            Standard deviations of the predictions.
        kind, label, ax
            As for :meth:`plot`.

        Returns
        -------
        ParityDisplay
            Plotted.
        """
        return cls(y_true, y_pred, std).plot(kind, label=label, ax=ax)

    @own_settings()
    def plot(
        self, kind: str = "parity", *, label: str = "value", ax: Axes | None = None
    ) -> ParityDisplay:
        """Plot predictions or residuals against the truth.

        Parameters
        ----------
        kind : {"parity", "residuals"}, default="parity"
            Predicted values, or predicted minus true ones, against predicted ones.
        label : str, default="value"
            Name of the target, with its unit.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        ParityDisplay
            With ``ax_`` and ``figure_``.

        Notes
        -----
        Standard deviations are bars for up to 300 rows and colours for more; without
        them, more than 1500 rows are counted in hexagons.
        """
        if kind not in ("parity", "residuals"):
            raise InputError(f"kind must be 'parity' or 'residuals', got {kind!r}.")
        self.ax_ = ax = _new_axes((5.2, 4.4)) if ax is None else ax
        self.figure_ = _figure_of(ax)
        parity, label = kind == "parity", plain_text(label)
        x = self.y_true if parity else self.y_pred
        y = self.y_pred if parity else self.y_pred - self.y_true
        everything = np.concatenate([self.y_true, self.y_pred]) if parity else self.y_pred
        low, high = float(everything.min()), float(everything.max())
        margin = 0.05 * (high - low) or 1.0
        limits = (low - margin, high + margin)
        ax.plot(limits, limits if parity else (0, 0), color=_GREY, linewidth=1, zorder=1)
        _scatter(ax, x, y, self.std, label)
        ax.set_xlim(limits)
        if parity:
            ax.set(ylim=limits, aspect="equal")
        ax.set_xlabel(f"true {label}" if parity else f"predicted {label}")
        ax.set_ylabel(f"predicted {label}" if parity else f"predicted − true {label}")  # noqa: RUF001
        ax.locator_params(nbins=6)
        mae = mean_absolute_error(self.y_true, self.y_pred)
        title = f"MAE {mae:.3g}"
        # of one row there is no R²
        if len(self.y_true) > 1:
            title += f", R² {r2_score(self.y_true, self.y_pred):.3f}"
        ax.set_title(f"{title}, {len(self.y_true)} rows", fontsize=11)
        return self


class IntervalReliabilityDisplay:
    """How often the truth lies within the intervals of a prediction.

    Parameters
    ----------
    y_true, y_pred, std : array-like of shape (n_samples,)
        True values, predictions and their standard deviations.

    Attributes
    ----------
    expected_ : ndarray of shape (n_levels,)
        Probability that each central interval of a normal distribution claims.
    observed_ : ndarray of shape (n_levels,)
        Share of the rows within it.
    miscalibration_area_ : float
        Area between the curve and the diagonal: 0 is perfect, 0.5 the worst.
    ax_ : matplotlib.axes.Axes
        What was drawn on.
    figure_ : matplotlib.figure.Figure
        Its figure.

    See Also
    --------
    ParityDisplay : The predictions themselves.

    References
    ----------
    K. Tran, W. Neiswanger, J. Yoon, Q. Zhang, E. Xing and Z. W. Ulissi, "Methods for
    comparing uncertainty quantifications for material property predictions", Mach.
    Learn.: Sci. Technol. 1, 025006 (2020). https://doi.org/10.1088/2632-2153/ab7e1a

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.plotting import IntervalReliabilityDisplay
    >>> y = np.random.default_rng(0).normal(size=500)
    >>> display = IntervalReliabilityDisplay.from_predictions(y, np.zeros(500), np.ones(500))
    >>> round(display.miscalibration_area_, 2)
    0.01
    """

    ax_: Axes
    figure_: Figure

    def __init__(self, y_true: Any, y_pred: Any, std: Any) -> None:
        self.y_true, self.y_pred, checked = _checked_predictions(y_true, y_pred, std)
        if checked is None:
            raise InputError("std is needed: the standard deviation of each prediction.")
        self.std = checked
        self.expected_ = np.linspace(0, 1, 101)
        error = np.abs(self.y_true - self.y_pred)
        with np.errstate(divide="ignore", invalid="ignore"):
            # a certain prediction that is right lies within every interval
            scores = np.where(error == 0, 0.0, error / self.std)
        claims = 2 * norm.cdf(scores) - 1
        self.observed_ = (claims[:, None] <= self.expected_).mean(axis=0)
        self.miscalibration_area_ = float(
            np.trapezoid(np.abs(self.observed_ - self.expected_), self.expected_)
        )

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, name: str | None = None, ax: Axes | None = None
    ) -> IntervalReliabilityDisplay:
        """Predict with standard deviations and plot.

        Parameters
        ----------
        estimator : fitted regressor
            Its ``predict`` must take ``return_std``.
        X : array-like of compositions or features
            What the regressor takes; rows that it was not fitted on.
        y : array-like of shape (n_samples,)
            True values.
        name, ax
            As for :meth:`plot`.

        Returns
        -------
        IntervalReliabilityDisplay
            Plotted.
        """
        mean, std = estimator.predict(X, return_std=True)
        return cls(y, mean, std).plot(name=name, ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, std: Any, *, name: str | None = None, ax: Axes | None = None
    ) -> IntervalReliabilityDisplay:
        """Plot the reliability of predictions.

        Parameters
        ----------
        y_true, y_pred, std : array-like of shape (n_samples,)
            True values, predictions and their standard deviations.
        name, ax
            As for :meth:`plot`.

        Returns
        -------
        IntervalReliabilityDisplay
            Plotted.
        """
        return cls(y_true, y_pred, std).plot(name=name, ax=ax)

    def plot(
        self, *, name: str | None = None, ax: Axes | None = None
    ) -> IntervalReliabilityDisplay:
        """Plot the curve; several models share axes.

        Parameters
        ----------
        name : str, default=None
            Of the model, for the legend.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        IntervalReliabilityDisplay
            With ``ax_`` and ``figure_``.

        Notes
        -----
        The grey band holds 95 % of the curves of perfect intervals, point by point, for
        so many rows. Below the diagonal the intervals are too narrow.
        """
        first = ax is None or not ax.lines
        self.ax_ = ax = _new_axes((4.6, 4.6)) if ax is None else ax
        self.figure_ = _figure_of(ax)
        n = len(self.y_true)
        if first:
            band = [binom.ppf(q, n, self.expected_) / n for q in (0.025, 0.975)]
            ax.fill_between(self.expected_, *band, color="0.85", linewidth=0)
            ax.plot([0, 1], [0, 1], color=_GREY, linewidth=1)
            ax.text(0.97, 0.06, "intervals too narrow", ha="right", color="0.35", fontsize=9)
            ax.text(0.03, 0.80, "intervals too wide", ha="left", color="0.35", fontsize=9)
        number = (len(ax.lines) - 1) % len(_COLOURS)
        ax.plot(
            self.expected_,
            self.observed_,
            color=_COLOURS[number],
            linestyle=("-", "--", "-.", ":")[number % 4],
            label=f"{plain_text(name or 'model')} (area {self.miscalibration_area_:.3f})",
        )
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set_xlabel("probability of the interval")
        ax.set_ylabel("share of rows within it")
        ax.legend(loc="upper left", fontsize=9, frameon=False)
        return self


class EmbeddingDisplay:
    """A map of compositions in two dimensions.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        Places on the map.
    y : array-like of shape (n_samples,), default=None
        Property that colours the points: numbers or labels.
    axes_names : tuple of str, default=("", "")
        What the two axes are.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        What was drawn on.
    figure_ : matplotlib.figure.Figure
        Its figure.

    See Also
    --------
    sklearn_kt.CompositionEmbedder : Makes the embeddings.

    Examples
    --------
    >>> from sklearn_kt import CompositionTokenizer
    >>> from sklearn_kt.plotting import EmbeddingDisplay
    >>> X, y = ["NaCl", "KCl", "Fe2O3", "FeO"], ["salt", "salt", "oxide", "oxide"]
    >>> embedder = CompositionTokenizer("fraction").fit(X)
    >>> EmbeddingDisplay.from_estimator(embedder, X, y).points.shape
    (4, 2)
    """

    ax_: Axes
    figure_: Figure

    def __init__(self, points: Any, y: Any = None, axes_names: tuple[str, str] = ("", "")) -> None:
        self.points = np.asarray(points, dtype=np.float64)
        if self.points.ndim != 2 or self.points.shape[1] != 2:
            raise InputError(f"points must be of shape (n_samples, 2), got {self.points.shape}.")
        self.y = None if y is None else np.asarray(y)
        if self.y is not None:
            check_consistent_length(self.points, self.y)
        self.axes_names = axes_names

    @classmethod
    def from_estimator(
        cls,
        transformer: Any,
        X: Any,
        y: Any = None,
        *,
        method: str = "pca",
        random_state: Any = None,
        label: str = "",
        ax: Axes | None = None,
    ) -> EmbeddingDisplay:
        """Embed compositions and plot the map.

        Parameters
        ----------
        transformer : fitted transformer
            Such as :class:`~sklearn_kt.CompositionEmbedder`.
        X : array-like of compositions
            What the transformer takes; at least 3 rows.
        y : array-like of shape (n_samples,), default=None
            Property that colours the points: numbers or labels.
        method : {"pca", "tsne"}, default="pca"
            Principal components, which keep distances between far groups, or t-SNE, which
            keeps neighbours together.
        random_state : int, RandomState instance or None, default=None
            Seeds t-SNE.
        label, ax
            As for :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
            Plotted.
        """
        if method not in ("pca", "tsne"):
            raise InputError(f"method must be 'pca' or 'tsne', got {method!r}.")
        # sums over the columns of a frame, which lie apart in memory, round differently
        embeddings = np.ascontiguousarray(transformer.transform(X), dtype=np.float64)
        if len(embeddings) < 3:
            raise InputError(f"a map needs at least 3 compositions, got {len(embeddings)}.")
        with own_settings():
            if method == "pca":
                pca = PCA(2).fit(embeddings)
                points = pca.transform(embeddings)
                shares = pca.explained_variance_ratio_
                names = tuple(f"component {i + 1} ({s:.0%})" for i, s in enumerate(shares))
            else:
                perplexity = min(30.0, (len(embeddings) - 1) / 3)
                tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=random_state)
                points = tsne.fit_transform(embeddings)
                names = ("t-SNE 1", "t-SNE 2")
        return cls(points, y, (names[0], names[1])).plot(label=label, ax=ax)

    def plot(self, *, label: str = "", ax: Axes | None = None) -> EmbeddingDisplay:
        """Plot the map.

        Parameters
        ----------
        label : str, default=""
            Name of the property, with its unit.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        EmbeddingDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        InputError
            If there are more than seven labels, which colours cannot tell apart.
        """
        self.ax_ = ax = _new_axes((5.6, 4.4)) if ax is None else ax
        self.figure_ = _figure_of(ax)
        size = 24 if len(self.points) <= _MAX_BARS else 9 if len(self.points) <= _MAX_DOTS else 4
        style: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.85}
        if self.y is None:
            ax.scatter(*self.points.T, color=_COLOURS[0], **style)
        elif self.y.dtype.kind in "fiu":
            x, y = self.points.T
            dots = ax.scatter(x, y, c=self.y, cmap="cividis", **style)
            self.figure_.colorbar(dots, ax=ax, label=plain_text(label))
        else:
            labels = np.unique(self.y.astype(str))
            if len(labels) > len(_COLOURS):
                raise InputError(
                    f"y has {len(labels)} labels, but there are {len(_COLOURS)} colours that all "
                    "readers can tell apart; join some labels, or pass numbers."
                )
            for text, colour, marker in zip(labels, _COLOURS, _MARKERS, strict=False):
                chosen = self.points[self.y.astype(str) == text]
                ax.scatter(*chosen.T, color=colour, marker=marker, label=plain_text(text), **style)
            ax.legend(
                title=plain_text(label) or None,
                fontsize=9,
                markerscale=1.5,
                frameon=False,
                loc="upper left",
                bbox_to_anchor=(1.0, 1.0),
            )
        ax.set_xlabel(plain_text(self.axes_names[0]))
        ax.set_ylabel(plain_text(self.axes_names[1]))
        ax.set_xticks([])
        ax.set_yticks([])
        return self


class StructureDisplay:
    """Pictures of the crystals proposed for a composition.

    Parameters
    ----------
    candidates : sequence of Candidate
        Of a generator of :mod:`sklearn_kt.structures`, best first.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        One per crystal drawn.
    figure_ : matplotlib.figure.Figure
        Their figure.

    See Also
    --------
    sklearn_kt.structures.PrototypeGenerator : Proposes crystals.

    Notes
    -----
    Each picture is a parallel projection of the unit cell, with its space group
    (tolerance 0.1 Angstrom), the crystal it was substituted from and the generator's score.
    Discs have atomic radii, scaled down, and at least 0.8 Angstrom before that.

    Examples
    --------
    >>> from sklearn_kt.plotting import StructureDisplay
    >>> from sklearn_kt.structures import PrototypeGenerator
    >>> display = StructureDisplay.from_estimator(PrototypeGenerator(), "CsPbI3", n_candidates=2)
    >>> len(display.axes_)
    2
    """

    axes_: np.ndarray
    figure_: Figure

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = list(candidates)

    @classmethod
    def from_estimator(
        cls,
        generator: Any,
        composition: Any,
        *,
        n_candidates: int = 3,
        axes: Sequence[Axes] | None = None,
    ) -> StructureDisplay:
        """Generate crystals and draw them.

        Parameters
        ----------
        generator : structure generator
            Of :mod:`sklearn_kt.structures`.
        composition : str, pymatgen Composition or dict
            What the crystals are made of.
        n_candidates : int, default=3
            At most so many.
        axes : sequence of matplotlib.axes.Axes, default=None
            As for :meth:`plot`.

        Returns
        -------
        StructureDisplay
            Plotted.
        """
        [candidates] = generator.generate([composition], n_candidates)
        if not candidates:
            raise InputError(
                f"{type(generator).__name__} has no crystal for {composition}; ask another "
                "generator, or raise max_error."
            )
        return cls(candidates).plot(axes=axes)

    def plot(self, *, axes: Sequence[Axes] | None = None) -> StructureDisplay:
        """Draw the crystals side by side.

        Parameters
        ----------
        axes : sequence of matplotlib.axes.Axes, default=None
            One per crystal; None makes a figure.

        Returns
        -------
        StructureDisplay
            With ``axes_`` and ``figure_``.

        Raises
        ------
        InputError
            If there is nothing to draw, or another number of axes.
        """
        n = len(self.candidates)
        if n == 0:
            raise InputError("there are no candidates to draw.")
        if axes is None:
            import matplotlib.pyplot as plt

            _, grid = plt.subplots(
                1, n, figsize=(0.6 + 3.1 * n, 3.9), layout="constrained", squeeze=False
            )
            axes = grid[0]
        self.axes_ = np.array(axes, dtype=object).ravel()
        if len(self.axes_) != n:
            raise InputError(f"{n} crystals need {n} axes, got {len(self.axes_)}.")
        self.figure_ = _figure_of(self.axes_[0])
        numbers = np.unique(np.concatenate([c.numbers for c in self.candidates])).tolist()
        symbols = sorted((ELEMENTS[z - 1] for z in numbers), key=_electronegativity)
        colours = {s: _ATOM_COLOURS[i % len(_ATOM_COLOURS)] for i, s in enumerate(symbols)}
        for candidate, ax in zip(self.candidates, self.axes_, strict=True):
            self._draw(candidate, ax, colours)
        return self

    def _draw(self, candidate: Candidate, ax: Axes, colours: Mapping[str, str]) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Circle

        view = _view(candidate.lattice)
        corners = np.array(list(np.ndindex(2, 2, 2)), float) @ view
        edges = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b).bit_count() == 1]
        furthest = int(corners[:, 2].argmin())
        for a, b in edges:
            ends = corners[[a, b]]
            line = ":" if furthest in (a, b) else "-"
            ax.plot(ends[:, 0], ends[:, 1], color="0.35", linewidth=0.9, linestyle=line, zorder=1)
        sites, coords = _whole_cell(candidate)
        places = coords @ view
        symbols = [ELEMENTS[z - 1] for z in candidate.numbers[sites].tolist()]
        for rank, i in enumerate(np.argsort(places[:, 2], kind="stable").tolist()):
            colour, radius = colours[symbols[i]], _ATOM_SCALE * _radius(symbols[i])
            disc = Circle(places[i, :2], radius, facecolor=colour, edgecolor="white", linewidth=0.8)
            disc.set_zorder(2 + rank)
            ax.add_patch(disc)
        everything = np.vstack([corners, places])[:, :2]
        low, high = everything.min(axis=0) - 1, everything.max(axis=0) + 1
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        ax.set_axis_off()
        ax.set_title(_crystal_title(candidate), fontsize=9.5)
        dots = [
            Line2D([], [], marker="o", linestyle="", markersize=8, color=colours[s], label=s)
            for s in colours
            if s in symbols
        ]
        ax.legend(
            handles=dots,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.02),
            ncols=min(len(dots), 5),
            frameon=False,
            fontsize=9,
            handletextpad=0.0,
            columnspacing=0.8,
        )


def plot_periodic_table(
    values: Mapping[str, float] | pd.Series | pd.DataFrame,
    *,
    column: str = "mean",
    label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Show one number per element on the periodic table.

    Parameters
    ----------
    values : mapping or Series of symbol to number, or DataFrame
        A table of :func:`~sklearn_kt.explanation.explain_dataset` gives its elements.
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

    Examples
    --------
    >>> from sklearn_kt.plotting import plot_periodic_table
    >>> ax = plot_periodic_table({"Fe": 1.0, "O": -0.5}, label="effect (eV)")
    >>> len(ax.patches)
    118
    """
    from matplotlib.patches import Rectangle

    numbers = _numbers_of_elements(values, column)
    if ax is None:
        ax = _new_axes((9.0, 4.9))
    colours, norm_of = _colour_scale(list(numbers.values()))
    room = max(map(abs, numbers.values())) or 1.0
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
                x, y + 0.26, _number(number, room), ha="center", va="center", color=ink, fontsize=6
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
    chosen = sorted(elements, key=_electronegativity)
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
        ax = _new_axes((side + 0.6, side))
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


def plot_training_curve(estimator: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the loss of every network of a fitted estimator over the epochs.

    Parameters
    ----------
    estimator : ImplicitKTRegressor or ImplicitKTClassifier
        Fitted, with networks.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on; None makes a figure.

    Returns
    -------
    matplotlib.axes.Axes
        The loss of training, and that of validation where early stopping held rows out.

    Raises
    ------
    InputError
        If the estimator trained no network.

    Examples
    --------
    >>> from sklearn_kt import ImplicitKTRegressor
    >>> from sklearn_kt.plotting import plot_training_curve
    >>> model = ImplicitKTRegressor(
    ...     None, backbone="tiny", readout="head", n_estimators=2, max_epochs=3, random_state=0
    ... ).fit(["NaCl", "KCl", "MgO", "Si"], [8.5, 8.4, 7.8, 1.1])
    >>> len(plot_training_curve(model).lines)
    2
    """
    histories = getattr(estimator, "history_", None)
    if not histories:
        raise InputError(
            f"{type(estimator).__name__} has no training curve: it is not fitted, or its readout "
            "trained no network; fit with readout='head'."
        )
    if ax is None:
        ax = _new_axes((5.6, 3.6))
    kinds = (
        ("train_loss", "training", _COLOURS[0], "-"),
        ("valid_loss", "validation", _POSITIVE, "--"),
    )
    for key, name, colour, line in kinds:
        for number, history in enumerate(histories):
            points = [(epoch["epoch"], epoch[key]) for epoch in history if key in epoch]
            if points:
                ax.plot(
                    *np.transpose(points),
                    color=colour,
                    linestyle=line,
                    linewidth=1.2,
                    alpha=0.75,
                    label=name if number == 0 else None,
                )
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"{len(histories)} network{'s' if len(histories) > 1 else ''}", fontsize=11)
    ax.legend(frameon=False)
    return ax


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
    from matplotlib.figure import Figure

    kind = image_format(path)
    display = InteractionDisplay(values)
    second = "upset" if values.index == "SII" else "waterfall"
    # no pyplot: it would want a display where there is one
    figure = Figure(figsize=(11.5, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    display.plot("network", label=label, ax=left)
    display.plot(second, label=label, ax=right)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format=kind)
    return Path(path)


def plain_text(text: Any, longest: int = _MAX_LABEL) -> str:
    """Make any text a label: one line of a length that fits, without mathematics.

    ``cost $_{US$`` would be read by matplotlib as a formula, and end the drawing.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(line) > longest:
        line = f"{line[:longest]}…"
    return line.replace("$", r"\$")


def image_format(path: str | os.PathLike[str]) -> str:
    """Tell the format of a picture by its name; without an ending it is PNG."""
    from matplotlib.backend_bases import FigureCanvasBase

    ending = Path(path).suffix[1:].lower() or "png"
    known = FigureCanvasBase.get_supported_filetypes()
    if ending not in known:
        raise InputError(
            f"{path}: pictures cannot be written as .{ending}. The formats are {', '.join(known)}."
        )
    return ending


def _new_axes(size: tuple[float, float]) -> Axes:
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def _figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def _colour(value: float) -> str:
    return _POSITIVE if value >= 0 else _NEGATIVE


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


def _number(value: float, room: float) -> str:
    """Write a number with the digits that matter on a scale of so much room."""
    decimals = int(np.clip(2 - math.floor(math.log10(room)), 0, 6)) if room > 0 else 2
    text = f"{value:.{decimals}f}"
    # no negative zero; a true minus sign, as on matplotlib's axes
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _signed(value: float, room: float) -> str:
    text = _number(value, room)
    return text if text.startswith("\N{MINUS SIGN}") or float(text) == 0 else f"+{text}"


def _formula_text(formula: str) -> str:
    if len(formula) > _TITLE:
        return f"{formula[:_TITLE]}…"
    return re.sub(r"(?<=[A-Za-z])(\d[\d.]*(?:e-?\d+)?)", r"$_{\\mathregular{\1}}$", formula)


def _view(lattice: np.ndarray) -> np.ndarray:
    """Lattice vectors on the page (x, y) and towards the reader (z), one per row."""
    up = lattice[2] / np.linalg.norm(lattice[2])
    # the first vector points to the right, or the second where the first runs along the third
    right = lattice[0] - lattice[0] @ up * up
    right /= np.linalg.norm(right)
    upright = np.column_stack([right, up, np.cross(right, up)])
    turn, tilt = (
        np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in (_TURN, _TILT)
    )
    about_up, about_right = np.eye(3), np.eye(3)
    about_up[np.ix_([0, 2], [0, 2])] = turn
    about_right[1:, 1:] = tilt
    return lattice @ upright @ about_up @ about_right


def _whole_cell(candidate: Candidate) -> tuple[np.ndarray, np.ndarray]:
    """Sites and coordinates of all atoms in and on the cell."""
    coords = candidate.coords - np.floor(candidate.coords + _ON_FACE)
    sites, places = [], []
    for site, place in enumerate(coords):
        near = np.abs(place) <= _ON_FACE
        for shift in np.ndindex(*(1 + near)):
            sites.append(site)
            places.append(place + shift)
    return np.array(sites), np.array(places)


@cache
def _radius(symbol: str) -> float:
    from pymatgen.core import Element

    radius = Element(symbol).atomic_radius
    return _UNKNOWN_RADIUS if radius is None else max(float(radius), _SMALLEST_RADIUS)


def _crystal_title(candidate: Candidate) -> str:
    import warnings

    import spglib

    cell = (candidate.lattice.tolist(), candidate.coords.tolist(), candidate.numbers.tolist())
    with warnings.catch_warnings():
        # spglib 2.7 warns of its own change of error handling
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.get_spacegroup(cell, symprec=_SYMMETRY)
    # "P6_3/m (176)": digits below the line, and bars instead of minus signs
    group = (
        re.sub(r"-(\d)", r"$\\bar{\1}$", str(found).split(" ")[0]) if found else "symmetry unknown"
    )
    group = re.sub(r"_(\d)", r"$_{\1}$", group)
    lines = [f"{_formula_text(candidate.formula)}, {group}"]
    template = candidate.provenance.get("template")
    if template == candidate.formula:
        lines.append("a known crystal")
    elif template is not None:
        lines.append(f"after {_formula_text(str(template))}, score {candidate.score:.2f}")
    elif math.isfinite(candidate.score):
        lines.append(f"score {candidate.score:.2f}")
    return "\n".join(lines)


def _checked_predictions(
    y_true: Any, y_pred: Any, std: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    arrays = [np.asarray(a, dtype=np.float64) for a in (y_true, y_pred, std) if a is not None]
    names = ("y_true", "y_pred", "std")
    for name, array in zip(names, arrays, strict=False):
        if array.ndim != 1 or len(array) == 0 or len(array) != len(arrays[0]):
            raise InputError(
                f"{name} must be one number per row, for as many rows as y_true has; got shape "
                f"{array.shape} beside {arrays[0].shape}."
            )
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array))[0])
            raise InputError(f"row {row} of {name} is {array[row]}; leave such rows out.")
    if std is not None and (arrays[2] < 0).any():
        raise InputError("standard deviations must not be negative.")
    return arrays[0], arrays[1], arrays[2] if std is not None else None


def _scatter(ax: Axes, x: np.ndarray, y: np.ndarray, std: np.ndarray | None, label: str) -> None:
    """Dots with bars, dots with colours, or hexagons, by what is known and how much of it."""
    if std is not None and len(x) <= _MAX_BARS:
        ax.errorbar(
            x, y, yerr=std, fmt="o", color=_COLOURS[0], ecolor="#9CC4DD", markersize=4, zorder=2
        )
    elif std is not None:
        order = np.argsort(std)
        dots = ax.scatter(
            x[order], y[order], c=std[order], s=9, cmap="cividis_r", linewidths=0, zorder=2
        )
        scale = ax.inset_axes((1.03, 0, 0.04, 1))
        _figure_of(ax).colorbar(dots, cax=scale, label=f"standard deviation of {label}")
    elif len(x) > _MAX_DOTS:
        hexagons = ax.hexbin(x, y, gridsize=50, mincnt=1, bins="log", cmap="cividis_r", zorder=2)
        scale = ax.inset_axes((1.03, 0, 0.04, 1))
        _figure_of(ax).colorbar(hexagons, cax=scale, label="rows", format="{x:.0f}")
    else:
        ax.scatter(x, y, s=14, color=_COLOURS[0], alpha=0.6, linewidths=0, zorder=2)


def _check_column(table: pd.DataFrame, column: str) -> None:
    missing = [name for name in ("elements", "order", "count", column) if name not in table]
    if missing:
        raise InputError(
            f"the table has no column {missing[0]!r}; it must be one of explain_dataset, with "
            f"columns {', '.join(map(str, table))}."
        )


def _numbers_of_elements(
    values: Mapping[str, float] | pd.Series | pd.DataFrame, column: str
) -> dict[str, float]:
    if isinstance(values, pd.DataFrame):
        _check_column(values, column)
        single = values[values["order"] == 1]
        values = dict(zip(single["elements"], single[column], strict=True))
    numbers = {str(symbol): float(number) for symbol, number in values.items()}
    unknown = sorted(set(numbers) - set(ELEMENTS))
    if unknown:
        raise InputError(f"{unknown[0]!r} is not an element; use symbols such as 'Fe'.")
    numbers = {symbol: number for symbol, number in numbers.items() if math.isfinite(number)}
    if not numbers:
        raise InputError("there is no number to show.")
    return numbers


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


@cache
def _electronegativity(symbol: str) -> tuple[float, int]:
    """Pauling's, unknown ones last; then the atomic number."""
    import warnings

    from pymatgen.core import Element

    element = Element(symbol)
    with warnings.catch_warnings():
        # pymatgen warns that noble gases have none
        warnings.simplefilter("ignore")
        value = float(element.X)
    return (math.inf if math.isnan(value) else value), element.Z


def _colour_scale(numbers: list[float]) -> tuple[Colormap, Any]:
    """Diverging about 0 if both signs occur or may occur; else one colour getting deeper."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    top = max(map(abs, numbers)) or 1.0
    colours = [_NEGATIVE, "#F7F7F7", _POSITIVE]
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
    bar = _figure_of(ax).colorbar(mappable, cax=inset, orientation="horizontal")
    bar.outline.set_visible(False)
    inset.tick_params(labelsize=8, length=2)
    inset.set_title(plain_text(label), fontsize=9)
