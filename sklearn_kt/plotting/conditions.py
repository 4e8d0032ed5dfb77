"""A property against a condition, such as temperature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_kt.conditions import is_table
from sklearn_kt.estimators.base import encoder_of
from sklearn_kt.estimators.readouts import offers_intervals
from sklearn_kt.exceptions import InputError

from ._style import COLOURS, figure_of, formula_text, new_axes, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ConditionDisplay"]

_POINTS = 41
_MARKER_SIZE = 4


class ConditionDisplay:
    """Predictions for a few compositions against a condition, with their intervals.

    Parameters
    ----------
    values : array-like of shape (n_values,)
        Of the condition.
    predictions : array-like of shape (n_compositions, n_values)
        Of the property.
    formulas : sequence of str
        Name of each composition.
    intervals : array-like of shape (n_compositions, n_values, 2), default=None
        Lower and upper bounds.
    condition : str, default="condition"
        Its name.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        What was drawn on.
    figure_ : matplotlib.figure.Figure
        Its figure.

    See Also
    --------
    sklearn_kt.explain : What the condition adds to one prediction.

    Examples
    --------
    >>> from sklearn_kt.plotting import ConditionDisplay
    >>> display = ConditionDisplay([300, 600], [[150.0, 210.0]], ["PbTe"], condition="temperature")
    >>> display.plot(label="Seebeck coefficient (µV/K)").ax_.get_xlabel()
    'temperature'
    """

    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        values: Any,
        predictions: Any,
        formulas: Any,
        intervals: Any = None,
        *,
        condition: str = "condition",
    ) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        self.predictions = np.asarray(predictions, dtype=np.float64)
        self.formulas = list(formulas)
        self.intervals = None if intervals is None else np.asarray(intervals, dtype=np.float64)
        self.condition = condition
        shape = (len(self.formulas), *self.values.shape)
        if self.values.ndim != 1 or self.predictions.shape != shape:
            raise InputError(
                f"{len(self.formulas)} formulas at {self.values.shape} values need predictions of "
                f"shape {shape}, got {self.predictions.shape}."
            )
        if self.intervals is not None and self.intervals.shape != (*shape, 2):
            raise InputError(
                f"intervals must be of shape {(*shape, 2)}, got {self.intervals.shape}."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        compositions: Any,
        condition: str,
        *,
        values: Any = None,
        others: Mapping[str, Any] | None = None,
        coverage: float | None = 0.9,
        measured: tuple[Any, Any] | None = None,
        label: str = "",
        ax: Axes | None = None,
    ) -> ConditionDisplay:
        """Predict and plot.

        Parameters
        ----------
        estimator : fitted regressor
            Of this package, or around one, fitted on a table of compositions and conditions.
        compositions : sequence of str
            Formulas; a few, each has a line.
        condition : str
            Column of numbers that varies.
        values : array-like of shape (n_values,), default=None
            Of the condition; None covers the training range.
        others : mapping of str to number or str, default=None
            Values of the other conditions; those left out are what they typically are in the
            training table.
        coverage : float or None, default=0.9
            Of the intervals; None draws none, and is all that a search or a pipeline of another
            regressor can give.
        measured, label, ax
            As for :meth:`plot`.

        Returns
        -------
        ConditionDisplay
            Plotted.

        Raises
        ------
        InputError
            If the estimator has no such condition.
        """
        encoder: Any = encoder_of(estimator)
        known = [] if encoder is None else encoder.numbers_
        if condition not in known:
            raise InputError(
                f"{type(estimator).__name__} has no condition {condition!r} that is a number; it "
                f"has {', '.join(map(repr, known)) or 'none'}."
            )
        others = dict(others or {})
        if unknown := [name for name in others if name not in encoder.typical_]:
            raise InputError(f"there is no condition {unknown[0]!r}.")
        if condition in others:
            raise InputError(f"{condition!r} is what varies: give its values as values=.")
        if values is None:
            low, high = encoder.ranges_[:, known.index(condition)].tolist()
            values = np.linspace(low, high, _POINTS)
        values = np.asarray(values, dtype=np.float64)
        formulas = list(compositions)
        if isinstance(compositions, str) or not formulas:
            raise InputError(f"compositions must be a list of formulas, got {compositions!r}.")
        n = len(formulas)
        table = pd.DataFrame({encoder.composition_column_: np.repeat(formulas, len(values))})
        for name in (*encoder.numbers_, *encoder.categories_):
            table[name] = others.get(name, encoder.typical_[name])
        table[condition] = np.tile(values, n)
        intervals = None
        if coverage is None:
            predictions = np.asarray(estimator.predict(table))
        elif offers_intervals(estimator):
            predictions, intervals = estimator.predict(table, coverage=coverage)
        else:
            raise InputError(
                f"{type(estimator).__name__} gives no intervals; pass coverage=None, or of a "
                "search its best_estimator_."
            )
        if predictions.ndim > 1:
            raise InputError("the model predicts several targets; fit one of a single target.")
        if intervals is not None:
            intervals = intervals.reshape(n, -1, 2)
        display = cls(values, predictions.reshape(n, -1), formulas, intervals, condition=condition)
        return display.plot(measured=measured, label=label, ax=ax)

    def plot(
        self,
        *,
        measured: tuple[Any, Any] | None = None,
        label: str = "",
        ax: Axes | None = None,
    ) -> ConditionDisplay:
        """Plot a line for each composition, and bands for its intervals.

        Parameters
        ----------
        measured : tuple of (X, y), default=None
            A table and its targets; rows of the compositions shown are drawn as points. The
            formula must be written alike.
        label : str, default=""
            Name of the property, with its unit.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        ConditionDisplay
            With ``ax_`` and ``figure_``.
        """
        if measured is not None and not is_table(measured[0]):
            raise InputError(
                f"measured must hold a table and its targets, got {type(measured[0]).__name__}."
            )
        ax = new_axes((6.4, 4.2)) if ax is None else ax
        for place, formula in enumerate(self.formulas):
            colour = COLOURS[place % len(COLOURS)]
            line = self.predictions[place]
            ax.plot(self.values, line, color=colour, label=formula_text(formula))
            if self.intervals is not None:
                low, high = self.intervals[place].T
                ax.fill_between(self.values, low, high, color=colour, alpha=0.15, linewidth=0)
            if measured is not None:
                X, y = measured
                rows = np.any([X[name].to_numpy() == formula for name in X.columns], axis=0)
                ax.plot(
                    X[self.condition].to_numpy()[rows],
                    np.asarray(y)[rows],
                    "o",
                    color=colour,
                    markersize=_MARKER_SIZE,
                )
        ax.set_xlabel(plain_text(self.condition))
        ax.set_ylabel(plain_text(label))
        ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, figure_of(ax)
        return self
