"""Predictions beside the truth, and how far their uncertainty can be relied on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binom, norm
from sklearn.metrics import mean_absolute_error, r2_score

from sklearn_kt._settings import own_settings
from sklearn_kt.estimators.readouts import offers_intervals, offers_std
from sklearn_kt.exceptions import InputError

from ._style import COLOURS, GREY, MAX_BARS, MAX_DOTS, figure_of, new_axes, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


__all__ = ["IntervalReliabilityDisplay", "ParityDisplay"]

# levels that are marked, each by itself
_FEW = 20
# coverage of the intervals that a model is asked for
_LEVELS = (*(n / 10 for n in range(1, 10)), 0.95)


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
    IntervalReliabilityDisplay : Whether intervals can be believed.
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
        self.ax_ = ax = new_axes((5.2, 4.4)) if ax is None else ax
        self.figure_ = figure_of(ax)
        parity, label = kind == "parity", plain_text(label)
        x = self.y_true if parity else self.y_pred
        y = self.y_pred if parity else self.y_pred - self.y_true
        everything = np.concatenate([self.y_true, self.y_pred]) if parity else self.y_pred
        low, high = float(everything.min()), float(everything.max())
        margin = 0.05 * (high - low) or 1.0
        limits = (low - margin, high + margin)
        # on axes of other limits, too
        start = (low, low if parity else 0)
        ax.axline(start, slope=int(parity), color=GREY, linewidth=1, zorder=1)
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
    expected, observed : array-like of shape (n_levels,)
        Probability that intervals claim, rising from 0 to 1, and the share of the rows within
        them.
    n_rows : int
        Number of the rows, which says how much chance does.

    Attributes
    ----------
    miscalibration_area_ : float
        Area between the curve, through these levels, and the diagonal: 0 is perfect, 0.5 the
        worst.
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

    def __init__(self, expected: Any, observed: Any, n_rows: int) -> None:
        self.expected = np.asarray(expected, dtype=np.float64)
        self.observed = np.asarray(observed, dtype=np.float64)
        if self.expected.shape != self.observed.shape or (np.diff(self.expected) <= 0).any():
            raise InputError(
                "expected must rise, and observed have a share for each of its levels; make the "
                "display by from_estimator or from_predictions."
            )
        self.n_rows = n_rows
        self.miscalibration_area_ = float(
            np.trapezoid(np.abs(self.observed - self.expected), self.expected)
        )

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, name: str | None = None, ax: Axes | None = None
    ) -> IntervalReliabilityDisplay:
        """Predict intervals and plot how often they hold the truth.

        Parameters
        ----------
        estimator : fitted regressor
            It is asked for intervals of 10, 20, ..., 90 and 95 %, and so predicts ten times. One
            that has none must take ``return_std`` in ``predict``: intervals are then those of
            normal distributions.
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
        if not offers_intervals(estimator):
            if not offers_std(estimator):
                raise InputError(
                    f"{type(estimator).__name__} gives neither intervals nor standard deviations "
                    "with its predictions; of a search, pass best_estimator_."
                )
            mean, std = estimator.predict(X, return_std=True)
            return cls.from_predictions(y, mean, std, name=name, ax=ax)
        shares: list[float] = []
        for level in reversed(_LEVELS):
            with warnings.catch_warnings():
                if shares:
                    # the widest intervals have told what there is to tell
                    warnings.simplefilter("ignore")
                mean, bounds = estimator.predict(X, coverage=level)
            y, _, _ = _checked_predictions(y, mean, None)
            shares.append(float(np.mean((bounds[:, 0] <= y) & (y <= bounds[:, 1]))))
        # nothing holds none of them, and all there is holds all
        observed = [0, *reversed(shares), 1]
        return cls([0, *_LEVELS, 1], observed, len(y)).plot(name=name, ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, std: Any, *, name: str | None = None, ax: Axes | None = None
    ) -> IntervalReliabilityDisplay:
        """Plot the reliability of standard deviations, read as those of normal distributions.

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
        y_true, y_pred, std = _checked_predictions(y_true, y_pred, std)
        if std is None:
            raise InputError("std is needed: the standard deviation of each prediction.")
        expected = np.linspace(0, 1, 101)
        error = np.abs(y_true - y_pred)
        with np.errstate(divide="ignore", invalid="ignore"):
            # a certain prediction that is right lies within every interval
            scores = np.where(error == 0, 0.0, error / std)
        claims = 2 * norm.cdf(scores) - 1
        observed = (claims[:, None] <= expected).mean(axis=0)
        return cls(expected, observed, len(y_true)).plot(name=name, ax=ax)

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
        The grey band holds 95 % of the curves of perfect intervals, point by point, for so many
        rows that are independent, which those of one formula are not. Below the diagonal the
        intervals are too narrow.
        """
        first = ax is None or not ax.lines
        self.ax_ = ax = new_axes((4.6, 4.6)) if ax is None else ax
        self.figure_ = figure_of(ax)
        if first:
            band = [binom.ppf(q, self.n_rows, self.expected) / self.n_rows for q in (0.025, 0.975)]
            ax.fill_between(self.expected, *band, color="0.85", linewidth=0)
            ax.plot([0, 1], [0, 1], color=GREY, linewidth=1)
            ax.text(0.97, 0.06, "intervals too narrow", ha="right", color="0.35", fontsize=9)
            ax.text(0.03, 0.80, "intervals too wide", ha="left", color="0.35", fontsize=9)
        number = (len(ax.lines) - 1) % len(COLOURS)
        ax.plot(
            self.expected,
            self.observed,
            color=COLOURS[number],
            linestyle=("-", "--", "-.", ":")[number % 4],
            # few levels: these were measured, and not what is between them
            marker="o" if len(self.expected) <= _FEW else None,
            markersize=4,
            clip_on=False,
            label=f"{plain_text(name or 'model')} (area {self.miscalibration_area_:.3f})",
        )
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set_xlabel("probability of the interval")
        ax.set_ylabel("share of rows within it")
        ax.legend(loc="upper left", fontsize=9, frameon=False)
        return self


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
    if std is not None and len(x) <= MAX_BARS:
        ax.errorbar(
            x, y, yerr=std, fmt="o", color=COLOURS[0], ecolor="#9CC4DD", markersize=4, zorder=2
        )
    elif std is not None:
        order = np.argsort(std)
        dots = ax.scatter(
            x[order], y[order], c=std[order], s=9, cmap="cividis_r", linewidths=0, zorder=2
        )
        scale = ax.inset_axes((1.03, 0, 0.04, 1))
        figure_of(ax).colorbar(dots, cax=scale, label=f"standard deviation of {label}")
    elif len(x) > MAX_DOTS:
        hexagons = ax.hexbin(x, y, gridsize=50, mincnt=1, bins="log", cmap="cividis_r", zorder=2)
        scale = ax.inset_axes((1.03, 0, 0.04, 1))
        figure_of(ax).colorbar(hexagons, cax=scale, label="rows", format="{x:.0f}")
    else:
        ax.scatter(x, y, s=14, color=COLOURS[0], alpha=0.6, linewidths=0, zorder=2)
