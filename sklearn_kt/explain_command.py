"""What ``sklearn-kt explain`` asks of a model and says about it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.exceptions import NotFittedError

from .exceptions import InputError
from .explain import explain

if TYPE_CHECKING:
    from .games import CompositionInteractions

__all__ = ["explanation_of", "explanation_table"]


def explanation_of(
    model: Any, args: argparse.Namespace, background: list[Any] | None
) -> CompositionInteractions:
    """Explain one formula as the command line asks for.

    Parameters
    ----------
    model : fitted estimator
        Loaded from a file.
    args : argparse.Namespace
        ``formula``, ``index``, ``max_order``, ``players``, ``baseline``, ``budget``,
        ``target``, ``response`` and ``random_state``.
    background : list of formulas or None
        Read from a file.

    Returns
    -------
    CompositionInteractions
        Of :func:`~sklearn_kt.explain.explain`.

    Raises
    ------
    InputError
        Also where the model is not fitted.
    """
    try:
        return explain(
            model,
            args.formula,
            index=args.index,
            max_order=args.max_order,
            players=args.players,
            baseline=args.baseline,
            background=background,
            budget=args.budget,
            target=_target(model, args.target),
            response=args.response,
            random_state=args.random_state,
        )
    except NotFittedError as error:
        raise InputError(f"The model is not fitted: {error}") from error


def explanation_table(values: CompositionInteractions) -> tuple[str, pd.DataFrame]:
    """Spell interaction values.

    Parameters
    ----------
    values : CompositionInteractions
        Of one formula.

    Returns
    -------
    title : str
        The formula, the index, and from where to where the values lead.
    table : pandas.DataFrame of str
        ``interaction``, ``order`` and ``value``, the strongest first.
    """
    table = values.to_frame()
    start = values.baseline_value
    kind = "estimated" if values.estimated else "exact"
    title = f"{values.formula}: {values.index} up to order {values.max_order}, {kind}"
    title += f"; baseline {start:.6g}"
    # the other indices share out the whole difference
    if values.index != "SII":
        title += f", prediction {start + table['value'].sum():.6g}"
    table["order"] = table["order"].astype(str)
    table["value"] = table["value"].map("{:+.4g}".format)
    return title, table


def _target(model: Any, text: str | None) -> Any:
    """Find a class by its spelling, or the number of an output."""
    if text is None:
        return None
    for label in getattr(model, "classes_", ()):
        if str(label) == text:
            return label
    return int(text) if text.isdecimal() and not hasattr(model, "classes_") else text
