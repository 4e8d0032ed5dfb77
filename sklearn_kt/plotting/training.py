"""The loss of networks over the epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt.exceptions import InputError

from ._style import COLOURS, POSITIVE, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__ = ["plot_training_curve"]


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
        ax = new_axes((5.6, 3.6))
    kinds = (
        ("train_loss", "training", COLOURS[0], "-"),
        ("valid_loss", "validation", POSITIVE, "--"),
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
