"""How fitted estimators look in notebooks: what was trained, from what, and how it went."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted

__all__ = ["FittedReprMixin", "LossCurve", "each", "fitted_html", "shares"]

_WIDTH, _HEIGHT, _EDGE = 260, 90, 4
# as in sklearn_kt.plotting, but visible on light and on dark pages
_LINES = (("train_loss", "training", "#2b8cc4", ""), ("valid_loss", "validation", "#e0722b", "4 3"))
_STYLE = "border-collapse:collapse;font-size:0.9em;margin:0"
# pages and phones may be narrow
_CELL = (
    "text-align:left;padding:1px 10px 1px 0;border:none;background:none;vertical-align:top;"
    "white-space:normal;overflow-wrap:anywhere;min-width:5em"
)


@dataclass(frozen=True)
class LossCurve:
    """Training curves of networks, to be drawn."""

    histories: list[list[dict[str, float]]]


Value = str | list[str] | LossCurve


class FittedReprMixin:
    """Adds what :func:`fitted_html` says to scikit-learn's picture of an estimator.

    To the left of :class:`~sklearn.base.BaseEstimator`.
    """

    def _learned(self) -> dict[str, Value]:
        """Rows of the table, of a fitted estimator."""
        raise NotImplementedError

    def _html_repr(self) -> str:
        return estimator_html_repr(self) + fitted_html(self)


def fitted_html(estimator: Any) -> str:
    """Describe what an estimator learned, as HTML that needs no other file.

    Parameters
    ----------
    estimator : estimator of this package
        Fitted or not.

    Returns
    -------
    str
        Rows, and errors on held-out ones in the unit of the target; encoder, checkpoint,
        networks, readouts with their shares, device and training curve of implicit transfer; rows
        with and without structures of explicit transfer; shares and errors of blended models;
        ``""`` before ``fit``.

    Examples
    --------
    >>> from sklearn_kt import ImplicitKTRegressor
    >>> from sklearn_kt.estimators.html_repr import fitted_html
    >>> model = ImplicitKTRegressor(
    ...     None, backbone="tiny", readout="head", n_estimators=1, max_epochs=2, random_state=0
    ... )
    >>> fitted_html(model)
    ''
    >>> "training curve" in fitted_html(model.fit(["NaCl", "MgO", "Si"], [8.5, 7.8, 1.1]))
    True
    """
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return ""
    cells = "".join(
        f'<tr><th style="{_CELL};font-weight:600">{name}</th>'
        f'<td style="{_CELL}">{_cell(value)}</td></tr>'
        for name, value in estimator._learned().items()
    )
    return (
        '<details open style="margin-top:0.5em"><summary>What was learned</summary>'
        f'<table style="{_STYLE}">{cells}</table></details>'
    )


def shares(
    weights: Mapping[str, Any], scores: Mapping[str, Any] | None = None, what: str = ""
) -> list[str]:
    """Say what each model has a share of, and what it scored on held-out rows, if anything."""
    scores = scores or {}
    lines = []
    for name, share in weights.items():
        score = f" (held-out {what} {each(scores[name], '.3g')})" if name in scores else ""
        lines.append(f"{each(share, '.0%')} {name}{score}")
    if "blend" in scores and len(lines) > 1:
        lines.append(f"together: held-out {what} {each(scores['blend'], '.3g')}")
    return lines


def each(value: Any, form: str) -> str:
    """Spell a number, or those of several targets."""
    return ", ".join(format(number, form) for number in np.ravel(value))


def _cell(value: Value) -> str:
    if isinstance(value, LossCurve):
        return _curve(value.histories)
    return "<br>".join(map(html.escape, [value] if isinstance(value, str) else value))


def _curve(histories: list[list[dict[str, float]]]) -> str:
    """Losses over the epochs as an SVG, with the range that they span."""
    curves = [
        (name, colour, dashes, [(epoch["epoch"], epoch[key]) for epoch in history if key in epoch])
        for key, name, colour, dashes in _LINES
        for history in histories
    ]
    curves = [curve for curve in curves if curve[-1]]
    losses = [loss for *_, points in curves for _, loss in points]
    low, high = min(losses), max(losses)
    last = max(len(history) for history in histories)
    lines = []
    for _, colour, dashes, points in curves:
        places = " ".join(
            f"{_scale(x, 1, last, _WIDTH):.1f},{_HEIGHT - _scale(y, low, high, _HEIGHT):.1f}"
            for x, y in points
        )
        lines.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.2"'
            f' stroke-dasharray="{dashes}"/>'
        )
    names = [
        f'<span style="color:{colour}">{name}</span>'
        for name, colour in dict.fromkeys((name, colour) for name, colour, *_ in curves)
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img"'
        f' aria-label="loss over {last} epochs"'
        ' style="border:1px solid #8884;max-width:100%;height:auto">'
        f"{''.join(lines)}</svg><br>loss of {' and '.join(names)}: from {high:.3g} to {low:.3g}"
    )


def _scale(value: float, low: float, high: float, size: int) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return float(np.clip(_EDGE + share * (size - 2 * _EDGE), 0, size))
