"""Explain one formula, or average over many."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from tqdm.auto import tqdm

from sklearn_kt._settings import own_settings
from sklearn_kt.compositions import (
    ELEMENTS,
    CompositionBatch,
    composition_keys,
    parse_formula,
    read_compositions,
)
from sklearn_kt.conditions import composition_column, has_conditions
from sklearn_kt.estimators.base import elements_of, encoder_of
from sklearn_kt.exceptions import ExplanationWarning, InputError

from .baselines import BASELINES, Background, read_background, worth_of
from .model import Model
from .values import APPROXIMATORS, INDICES, Options, chunks, game_of, play

if TYPE_CHECKING:
    from .games import CompositionInteractions

__all__ = ["explain", "explain_dataset"]

_PLAYERS = ("elements", "tokens")
_RESPONSES = ("log-odds", "probability")
# how far a composition of a background may be from the next one, and of how many that is taken
_USUAL = 0.99
_MIN_NEIGHBOURS, _MAX_NEIGHBOURS = 20, 500


def explain(
    estimator: Any,
    composition: Any,
    *,
    conditions: Mapping[str, Any] | None = None,
    index: str = "k-SII",
    max_order: int = 2,
    players: str = "elements",
    baseline: str = "drop",
    background: Any = None,
    budget: int | None = None,
    approximator: str = "auto",
    target: Any = None,
    response: str = "log-odds",
    random_state: Any = None,
) -> CompositionInteractions:
    """Share a prediction out among the elements of a formula, and conditions beside it.

    Parameters
    ----------
    estimator : fitted estimator or callable
        One of this package, a Pipeline or any other estimator of scikit-learn that reads
        formulas, or a function that takes a list of formulas and returns numbers.
        A pymatgen ``Composition`` as `composition` makes it get such objects instead.
    composition : str, pymatgen Composition or dict
        What is explained.
    conditions : mapping of str to number or str, default=None
        For a model of a table: the value of each column beside that of compositions, such as
        ``{"temperature": 600}``. Each is a player. A function as `estimator` gets a DataFrame
        with them and the column ``"formula"``.
    index : {"k-SII", "SII", "STII", "FSII", "SV"}, default="k-SII"
        Interaction index. ``"SV"``, Shapley values, has order 1 whatever `max_order` is.
    max_order : int, default=2
        Most players in an interaction; at most the number of players.
    players : {"elements", "tokens"}, default="elements"
        Elements with their amounts, or symbols and amounts as players of their own:
        an amount that is absent is 1 with ``baseline="drop"``, hidden with ``"mask"``.
    baseline : {"drop", "background", "mask"}, default="drop"
        What it means to be absent; see the notes of :mod:`sklearn_kt.explanation`.
    background : array-like of compositions, or DataFrame, default=None
        Such as the training data, or some hundred rows of them; with `conditions` a table.
    budget : int or None, default=None
        Most coalitions to evaluate; None is 4096. All ``2**n_players`` are evaluated
        if they fit, else an approximator samples so many; ``estimated`` of the result
        tells. Each costs one prediction, with ``"background"`` one per row of it.
    approximator : {"auto", "kernel", "svarm", "permutation"}, default="auto"
        KernelSHAP-IQ (for FSII its faithful regression), SVARM-IQ or permutation
        sampling. ``"auto"`` is permutation sampling for STII, else the kernel.
    target : class label or int, default=None
        Class of a classifier: None is the second of two, or the predicted one of more.
        Column of several outputs.
    response : {"log-odds", "probability"}, default="log-odds"
        What is explained of a classifier. Probabilities are kept 1e-6 away from 0
        and 1 for log-odds, with a warning where that changes one.
    random_state : int, RandomState instance or None, default=None
        Seeds the approximator.

    Returns
    -------
    CompositionInteractions
        A :class:`shapiq.InteractionValues` with ``player_names``, ``formula`` and
        ``to_frame()``; in the units of the prediction, or in log-odds.

    Raises
    ------
    CompositionError
        If `composition` is not a composition.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    InputError
        If an option does not exist or does not suit the estimator, the budget is too
        small, or a coalition has no finite prediction.

    Warns
    -----
    ExplanationWarning
        If `max_order` is more than there are players, an element is nowhere in the
        training table (as far as the estimator remembers it in ``elements_``) or in
        `background`, the formula is farther from every composition of `background` than
        99 % of these are from each other, or probabilities were clipped.

    See Also
    --------
    explain_dataset : Averages over many formulas.
    sklearn_kt.plotting.InteractionDisplay : Pictures of the result.

    References
    ----------
    M. Muschalik, H. Baniecki, F. Fumagalli, P. Kolpaczki, B. Hammer and E. Hüllermeier,
    "shapiq: Shapley interactions for machine learning", NeurIPS 2024.
    https://arxiv.org/abs/2410.01649

    Examples
    --------
    >>> from sklearn_kt import explain
    >>> def oxide_of_iron(formulas):
    ...     return [2.0 * ("Fe" in f and "O" in f) for f in formulas]
    >>> values = explain(oxide_of_iron, "LiFePO4")
    >>> values.to_frame().head(1)
      interaction  order  value
    0        Fe-O      2    2.0
    """
    _check_options(index, max_order, players, baseline, approximator, response, budget)
    if players == "tokens" and baseline == "background":
        raise InputError(
            "players='tokens' has no meaning with baseline='background', which replaces atoms; "
            "use baseline='drop' or 'mask'."
        )
    if isinstance(composition, str):
        # its error speaks of a formula, that of the gate of rows
        row = read_compositions([parse_formula(composition)])
    else:
        row = read_compositions([composition])
    given = dict(conditions or {})
    beside = pd.DataFrame([given])
    model = Model(
        estimator, target, response, objects=hasattr(composition, "as_dict"), conditions=[*given]
    )
    model.check_conditions(beside)
    reference = read_background(background, baseline, model)
    model.choose_class(row, beside if given else None)
    worth = worth_of(baseline, model, reference)
    _warn_unknown(row, estimator, reference)
    game = game_of(row, players, baseline, worth, given)
    if index != "SV" and max_order > game.n_players:
        warnings.warn(
            f"{row.formulas()[0]} has {game.n_players} player{'s' * (game.n_players > 1)}, so that"
            f" there is no interaction of order {max_order}; max_order={game.n_players} is used.",
            ExplanationWarning,
            stacklevel=2,
        )
    options = Options(index, max_order, budget, approximator, random_state)
    if options.exact(game.n_players):
        play([game], worth)
    said = [row.formulas()[0], *(f"{name} = {_spelled(value)}" for name, value in given.items())]
    return options.values(game, ", ".join(said))


def explain_dataset(
    estimator: Any,
    X: Any,
    *,
    index: str = "k-SII",
    max_order: int = 2,
    baseline: str = "drop",
    background: Any = None,
    budget: int | None = None,
    approximator: str = "auto",
    target: Any = None,
    response: str = "log-odds",
    min_support: int = 1,
    random_state: Any = None,
    verbose: int = 0,
) -> pd.DataFrame:
    """Average the interactions of elements over many formulas.

    Parameters
    ----------
    estimator : fitted estimator or callable
        As for :func:`explain`.
    X : array-like of compositions, shape (n_samples,) or (n_samples, 1), or DataFrame
        Equal rows are explained once and counted each. A table of compositions and conditions
        for a model of such tables; conditions play too.
    index : {"k-SII", "SII", "STII", "FSII", "SV"}, default="k-SII"
        As for :func:`explain`, like the next ones.
    max_order : int, default=2
        Most elements in an interaction; a formula of fewer has only the orders it has.
    baseline : {"drop", "background", "mask"}, default="drop"
        What it means to be absent.
    background : array-like of compositions, default=None
        Such as the training data.
    budget : int or None, default=None
        Most coalitions to evaluate of one formula.
    approximator : {"auto", "kernel", "svarm", "permutation"}, default="auto"
        For formulas with more coalitions than the budget.
    target : class label or int, default=None
        As for :func:`explain`, but needed for more than two classes.
    response : {"log-odds", "probability"}, default="log-odds"
        What is explained of a classifier.
    min_support : int, default=1
        Rows that must hold all elements of an interaction for it to be listed.
    random_state : int, RandomState instance or None, default=None
        Seeds the approximator.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per element, pair, ... that occurs: ``elements`` (such as ``"Fe-O"``,
        alphabetical), ``order``, ``count`` (rows that hold them), ``mean``,
        ``mean_abs`` and ``std`` of the interaction over those rows; by order, then by
        ``mean_abs``, the largest first.

    Raises
    ------
    CompositionError
        If a row is not a composition.
    InputError
        As from :func:`explain`.

    Warns
    -----
    ExplanationWarning
        As from :func:`explain`, once for all formulas.

    See Also
    --------
    explain : One formula.
    sklearn_kt.plotting.plot_periodic_table : Shows the effects of elements.
    sklearn_kt.plotting.plot_pair_matrix : Shows the interactions of pairs.

    Notes
    -----
    All coalitions of the formulas go through the model together, some ten thousand at a
    time, and each composition among them only once. Formulas with more
    coalitions than the budget are sampled one by one.

    Examples
    --------
    >>> from sklearn_kt.explanation import explain_dataset
    >>> def oxide_of_iron(formulas):
    ...     return [2.0 * ("Fe" in f and "O" in f) for f in formulas]
    >>> table = explain_dataset(oxide_of_iron, ["Fe2O3", "FeO", "Fe", "NaCl"])
    >>> table[table["mean_abs"] > 0]
      elements  order  count  mean  mean_abs  std
    4     Fe-O      2      2   2.0       2.0  0.0
    """
    _check_options(index, max_order, "elements", baseline, approximator, response, budget)
    if not isinstance(min_support, Integral) or min_support < 1:
        raise InputError(f"min_support must be an integer of at least 1, got {min_support!r}.")
    conditions = None
    if has_conditions(X):
        encoder = encoder_of(estimator)
        column = composition_column(X, None if encoder is None else encoder.composition_column_)
        conditions = pd.DataFrame({n: X[n].to_list() for n in X.columns if n != column})
        X = X[column]
    batch = read_compositions(X)
    if len(batch) == 0:
        raise InputError("X is empty: at least one composition is needed.")
    named = [] if conditions is None else list(conditions)
    model = Model(estimator, target, response, objects=_holds_objects(X), conditions=named)
    if conditions is not None:
        model.check_conditions(conditions)
    reference = read_background(background, baseline, model)
    model.choose_class(None)
    worth = worth_of(baseline, model, reference)
    _warn_unknown(batch, estimator, reference)
    groups = model.groups(batch, conditions)
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    options = Options(index, max_order, budget, approximator, random_state)

    found: dict[tuple[str, ...], tuple[list[float], list[int]]] = {}
    with tqdm(total=len(first), unit="formula", disable=not verbose) as bar:
        for chunk in chunks(batch.n_elements[first] + len(named), options):
            games = [
                game_of(batch[[i]], "elements", baseline, worth, _given(conditions, i))
                for i in first[chunk]
            ]
            play([game for game in games if options.exact(game.n_players)], worth)
            for game, count in zip(games, counts[chunk].tolist(), strict=True):
                values = options.values(game, "")
                for subset in values.subsets():
                    key = tuple(sorted(values.player_names[player] for player in subset))
                    numbers, weights = found.setdefault(key, ([], []))
                    numbers.append(values[subset])
                    weights.append(count)
                bar.update()
    return _summary(found, min_support)


def _given(conditions: pd.DataFrame | None, row: int) -> dict[str, Any]:
    return {} if conditions is None else {n: c.iloc[row] for n, c in conditions.items()}


def _summary(
    found: dict[tuple[str, ...], tuple[list[float], list[int]]], min_support: int
) -> pd.DataFrame:
    rows = []
    for elements, (values, weights) in found.items():
        count = sum(weights)
        if count >= min_support:
            numbers = np.array(values)
            mean = float(np.average(numbers, weights=weights))
            size = float(np.average(np.abs(numbers), weights=weights))
            std = float(np.sqrt(np.average((numbers - mean) ** 2, weights=weights)))
            rows.append(("-".join(elements), len(elements), count, mean, size, std))
    columns = ["elements", "order", "count", "mean", "mean_abs", "std"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(
        ["order", "mean_abs", "elements"], ascending=[True, False, True], ignore_index=True
    )


def _check_options(
    index: str,
    max_order: int,
    players: str,
    baseline: str,
    approximator: str,
    response: str,
    budget: int | None,
) -> None:
    for name, value, choices in (
        ("index", index, INDICES),
        ("players", players, _PLAYERS),
        ("baseline", baseline, BASELINES),
        ("approximator", approximator, ("auto", *APPROXIMATORS)),
        ("response", response, _RESPONSES),
    ):
        if value not in choices:
            raise InputError(
                f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}."
            )
    if not isinstance(max_order, Integral) or isinstance(max_order, bool) or max_order < 1:
        raise InputError(f"max_order must be an integer of at least 1, got {max_order!r}.")
    if budget is not None and (not isinstance(budget, Integral) or budget < 1):
        raise InputError(f"budget must be None or an integer of at least 1, got {budget!r}.")


def _warn_unknown(batch: CompositionBatch, estimator: Any, background: Background | None) -> None:
    """Warn of elements and formulas that the model, as far as is known, knows nothing of."""
    present = np.unique(batch.atomic_numbers)
    symbols = elements_of(estimator)
    trained = None if symbols is None else [ELEMENTS.index(s) + 1 for s in symbols]
    known = present if trained is None else np.intersect1d(present, trained)
    if len(known) < len(present):
        warnings.warn(
            f"{_symbols(np.setdiff1d(present, known))}: in no composition that the model was "
            "fitted on; what it says of such elements is guessed from others.",
            ExplanationWarning,
            stacklevel=3,
        )
    if background is None:
        return
    reference = background.compositions
    unseen = np.setdiff1d(known, reference.atomic_numbers)
    if len(unseen):
        warnings.warn(
            f"{_symbols(unseen)}: in no composition of the background; if the model never saw such "
            "elements, what it says of them means little.",
            ExplanationWarning,
            stacklevel=3,
        )
    if message := _far_from(batch, reference):
        warnings.warn(message, ExplanationWarning, stacklevel=3)


@own_settings()
def _far_from(batch: CompositionBatch, reference: CompositionBatch) -> str | None:
    """Say which formulas of known elements are unlike all compositions of a background."""
    _, first = np.unique(composition_keys(reference), return_index=True)
    first.sort()
    known = reference[first].fractions()
    if len(known) < _MIN_NEIGHBOURS:
        return None
    shares = batch.fractions()
    rows = np.flatnonzero((shares[:, ~known.any(axis=0)] == 0).all(axis=1))
    if not len(rows):
        return None
    nearest = NearestNeighbors(metric="manhattan", algorithm="brute").fit(known)
    some = known[:: -(-len(known) // _MAX_NEIGHBOURS)]
    # half the difference of shares is the part of the atoms to replace; the first is itself
    usual = np.quantile(nearest.kneighbors(some, 2)[0][:, 1] / 2, _USUAL)
    distances, places = nearest.kneighbors(shares[rows], 1)
    part = distances[:, 0] / 2
    far = np.flatnonzero(part > usual + 1e-6)
    if not len(far):
        return None
    worst = far[part[far].argmax()]
    formula, other = (
        group[[int(row)]].formulas()[0]
        for group, row in ((batch, rows[worst]), (reference, first[places[worst, 0]]))
    )
    many = "" if len(batch) == 1 else f"{len(far)} of {len(batch)} formulas, such as "
    return (
        f"{many}{formula}: unlike the compositions of the background, so that the model "
        f"extrapolates. The nearest one, {other}, differs in {part[worst]:.0%} of the atoms; "
        f"{_USUAL:.0%} of them have one that differs in at most {usual:.0%}."
    )


def _spelled(value: Any) -> str:
    return f"{value:g}" if isinstance(value, Real) and not isinstance(value, bool) else str(value)


def _symbols(atomic_numbers: np.ndarray) -> str:
    return ", ".join(ELEMENTS[z - 1] for z in atomic_numbers)


def _holds_objects(X: Any) -> bool:
    """Whether the rows of X are pymatgen compositions."""
    if isinstance(X, pd.DataFrame | pd.Series):
        X = X.to_numpy()
    first = X.ravel()[0] if isinstance(X, np.ndarray) else X[0]
    return hasattr(first, "as_dict")
