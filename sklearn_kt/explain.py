"""Explanations: what each element, and each group of elements, adds to a prediction.

The elements of a formula are the players of a cooperative game, the prediction for
those present is what a coalition is worth, and Shapley values and Shapley
interactions of any order share the prediction out among them. shapiq does the
mathematics; this module turns coalitions into compositions and asks the model.

Notes
-----
**What "absent" means** changes what is explained, so it is a choice (`baseline`):

``"drop"``
    The element is taken out and the others are renormalised: LiFePO4 without Li is
    FePO4. It works for every model. Nothing is left of the empty coalition, which is
    worth the mean prediction over `background`; without one, over the pure elements
    hydrogen to plutonium, just as a coalition of one is worth a pure element.
``"background"``
    The element's share of the atoms is filled with a composition of `background`, and
    the predictions are averaged over the whole background: ``x_S + (1 - sum(x_S)) b``.
    The empty coalition is worth the mean over the background. Unlike ``"drop"`` it is
    continuous: an element of which there is next to nothing has next to no effect. It
    costs ``len(background)`` predictions per coalition.
``"mask"``
    The element's token becomes ``[MASK]`` and its amount is hidden, as while the encoder
    was pretrained; the visible amounts stay what they were. Only networks on the element
    encoder can see this (``readout="head"``). Readouts cannot, for they see atomic
    fractions and descriptors too, and a hidden fraction is no number; nor can a text encoder
    or a pipeline. The network's head was trained on whole formulas, so that its answers to
    masked ones are extrapolations.

**Efficiency.** Values of k-SII, STII, FSII and SV add up to the prediction minus
the baseline; those of SII do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from ._settings import own_settings
from .compositions import (
    ELEMENTS,
    CompositionBatch,
    composition_groups,
    composition_keys,
    parse_formula,
    read_compositions,
)
from .estimators.implicit import ImplicitKTClassifier, ImplicitKTRegressor
from .exceptions import ExplanationWarning, InputError
from .randomness import random_state_of
from .tokenizer import CLS_ID, MASK_ID, PAD_ID, token_matrix

if TYPE_CHECKING:
    from .games import Coalitions, CompositionGame, CompositionInteractions, Players, Worth

__all__ = ["INDICES", "explain", "explain_dataset"]

INDICES: tuple[str, ...] = ("k-SII", "SII", "STII", "FSII", "SV")
"""Interaction indices: k-Shapley, Shapley, Shapley-Taylor, faithful Shapley; Shapley values."""

_BASELINES = ("drop", "background", "mask")
_PLAYERS = ("elements", "tokens")
_RESPONSES = ("log-odds", "probability")
# class of shapiq by approximator and index
_APPROXIMATORS: dict[str, dict[str, str]] = {
    "kernel": {
        "k-SII": "KernelSHAPIQ",
        "SII": "KernelSHAPIQ",
        "FSII": "RegressionFSII",
        "SV": "KernelSHAP",
    },
    "svarm": {**dict.fromkeys(INDICES, "SVARMIQ"), "SV": "SVARM"},
    "permutation": {
        "k-SII": "PermutationSamplingSII",
        "SII": "PermutationSamplingSII",
        "STII": "PermutationSamplingSTII",
        "SV": "PermutationSamplingSV",
    },
}
# hydrogen to plutonium: the elements there are tables of
_PURE_ELEMENTS = 94
_BUDGET = 2**12
# shapiq's exact FSII holds a matrix of coalitions squared: 134 MB for 12 players
_MAX_EXACT_FSII = 12
# coalitions of a data set that go through the model together
_CHUNK = 2**16
_SMALLEST_PROBABILITY = 1e-6
# how far a composition of a background may be from the next one, and of how many that is taken
_USUAL = 0.99
_MIN_NEIGHBOURS, _MAX_NEIGHBOURS = 20, 500
# estimators of scikit-learn that hold another
_WRAPPED = ("best_estimator_", "regressor_", "classifier_")


def explain(
    estimator: Any,
    composition: Any,
    *,
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
    """Share a prediction out among the elements of a formula.

    Parameters
    ----------
    estimator : fitted estimator or callable
        One of this package, a Pipeline or any other estimator of scikit-learn that reads
        formulas, or a function that takes a list of formulas and returns numbers.
        A pymatgen ``Composition`` as `composition` makes it get such objects instead.
    composition : str, pymatgen Composition or dict
        What is explained.
    index : {"k-SII", "SII", "STII", "FSII", "SV"}, default="k-SII"
        Interaction index. ``"SV"``, Shapley values, has order 1 whatever `max_order` is.
    max_order : int, default=2
        Most players in an interaction; at most the number of players.
    players : {"elements", "tokens"}, default="elements"
        Elements with their amounts, or symbols and amounts as players of their own:
        an amount that is absent is 1 with ``baseline="drop"``, hidden with ``"mask"``.
    baseline : {"drop", "background", "mask"}, default="drop"
        What it means to be absent; see the notes of :mod:`sklearn_kt.explain`.
    background : array-like of compositions, default=None
        Such as the training data, or some hundred rows of them.
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
    >>> from sklearn_kt.explain import explain
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
    reference = _read_background(background, baseline)
    model = _Model(estimator, target, response, objects=hasattr(composition, "as_dict"))
    model.choose_class(row)
    worth = _worth(baseline, model, reference)
    _warn_unknown(row, estimator, reference)
    game = _game(row, players, baseline, worth)
    if index != "SV" and max_order > game.n_players:
        warnings.warn(
            f"{row.formulas()[0]} has {game.n_players} player(s), so that there is no "
            f"interaction of order {max_order}; max_order={game.n_players} is used.",
            ExplanationWarning,
            stacklevel=2,
        )
    options = _Options(index, max_order, budget, approximator, random_state)
    if options.exact(game.n_players):
        _play([game], worth)
    return options.values(game, row.formulas()[0])


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
    X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
        Rows of one composition are explained once and counted each.
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
    >>> from sklearn_kt.explain import explain_dataset
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
    batch = read_compositions(X)
    if len(batch) == 0:
        raise InputError("X is empty: at least one composition is needed.")
    reference = _read_background(background, baseline)
    model = _Model(estimator, target, response, objects=_holds_objects(X))
    model.choose_class(None)
    worth = _worth(baseline, model, reference)
    _warn_unknown(batch, estimator, reference)
    groups = model.groups(batch)
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    options = _Options(index, max_order, budget, approximator, random_state)

    found: dict[tuple[str, ...], tuple[list[float], list[int]]] = {}
    with tqdm(total=len(first), unit="formula", disable=not verbose) as bar:
        for chunk in _chunks(batch.n_elements[first], options):
            games = [_game(batch[[i]], "elements", baseline, worth) for i in first[chunk]]
            _play([game for game in games if options.exact(game.n_players)], worth)
            for game, count in zip(games, counts[chunk].tolist(), strict=True):
                values = options.values(game, "")
                for subset in values.subsets():
                    key = tuple(sorted(values.player_names[player] for player in subset))
                    numbers, weights = found.setdefault(key, ([], []))
                    numbers.append(values[subset])
                    weights.append(count)
                bar.update()
    return _summary(found, min_support)


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


class _Options:
    """How interaction values are computed from a game."""

    def __init__(
        self,
        index: str,
        max_order: int,
        budget: int | None,
        approximator: str,
        random_state: Any,
    ) -> None:
        # one of shapiq's literals
        self.index: Any = index
        self.max_order = 1 if index == "SV" else max_order
        self.budget = _BUDGET if budget is None else budget
        self.approximator = approximator
        self.random_state = random_state

    def exact(self, n_players: int) -> bool:
        """Tell whether all coalitions of so many players are evaluated."""
        if self.index == "FSII" and self.max_order > 1 and n_players > _MAX_EXACT_FSII:
            return False
        return 2**n_players <= self.budget

    def values(self, game: CompositionGame, formula: str) -> CompositionInteractions:
        from shapiq.game_theory.exact import ExactComputer

        from .games import CompositionInteractions

        order = min(self.max_order, game.n_players)
        if self.exact(game.n_players):
            values = ExactComputer(game)(self.index, order)
        else:
            values = self._approximate(game, order)
        return CompositionInteractions.from_values(values, game.players.names, formula)

    def _approximate(self, game: CompositionGame, order: int) -> Any:
        from shapiq import approximator as shapiq_approximators

        name = self.approximator
        if name == "auto":
            name = "permutation" if self.index == "STII" else "kernel"
        if self.index not in _APPROXIMATORS[name]:
            able = [a for a, indices in _APPROXIMATORS.items() if self.index in indices]
            raise InputError(
                f"approximator={name!r} does not estimate {self.index}; use one of "
                f"{', '.join(map(repr, able))}, or budget={2**game.n_players} for exact values."
            )
        name = _APPROXIMATORS[name][self.index]
        seed = random_state_of(self.random_state).randint(np.iinfo(np.int32).max)
        arguments: dict[str, Any] = {"random_state": int(seed)}
        if self.index != "SV":
            arguments["max_order"] = order
            if name in ("KernelSHAPIQ", "SVARMIQ", "PermutationSamplingSII"):
                arguments["index"] = self.index
        sampler = getattr(shapiq_approximators, name)(game.n_players, **arguments)
        # as many coalitions as there are values to find, the two ends, and one permutation
        permutations = name.startswith("Permutation")
        needed = len(sampler.interaction_lookup) + 2 + permutations * sampler.iteration_cost
        if self.budget < needed:
            raise InputError(
                f"budget={self.budget} is too small for {self.index} up to order {order} of "
                f"{game.n_players} players: {name} needs at least {needed} coalitions, and "
                f"{2**game.n_players} give exact values."
            )
        # permutations come a few at a time unless told otherwise
        batch = {"batch_size": self.budget} if permutations else {}
        return sampler.approximate(self.budget, game, **batch)


class _Model:
    """A fitted model as a function from compositions to one number each."""

    def __init__(self, estimator: Any, target: Any, response: str, *, objects: bool) -> None:
        self.predicts = hasattr(estimator, "predict")
        if not self.predicts and not callable(estimator):
            raise InputError(
                f"a fitted estimator or a function of formulas is needed, got "
                f"{type(estimator).__name__}."
            )
        if hasattr(estimator, "fit"):
            check_is_fitted(estimator)
        self.classifies = self.predicts and hasattr(estimator, "classes_")
        if self.classifies and not hasattr(estimator, "predict_proba"):
            raise InputError(
                f"{type(estimator).__name__} has no predict_proba, but the probability of a class "
                "is what is explained; fit a classifier with probabilities."
            )
        self.estimator = estimator
        self.target = target
        self.response = response
        self.objects = objects
        self.column: int | None = None

    def choose_class(self, row: CompositionBatch | None) -> None:
        """Find the column of the class; without a row, two classes have a default."""
        if not self.classifies:
            if self.target is not None and not isinstance(self.target, Integral):
                raise InputError(
                    f"target must be the number of an output column, got {self.target!r}."
                )
            self.column = None if self.target is None else int(self.target)
            return
        classes = list(self.estimator.classes_)
        if self.target is None and len(classes) == 2:
            self.column = 1
        elif self.target is None and row is None:
            raise InputError(f"target is needed: one of the classes {_listed(classes)}.")
        elif self.target is None:
            self.column = classes.index(self._ask(self.estimator.predict, row)[0])
        elif self.target in classes:
            self.column = classes.index(self.target)
        else:
            raise InputError(f"target={self.target!r} is none of the classes {_listed(classes)}.")

    def groups(self, batch: CompositionBatch) -> np.ndarray:
        """Give rows numbers, so that equal ones are predicted only once."""
        if self.predicts:
            return composition_groups(batch)
        # a function may tell Fe2O3 from Fe4O6
        return pd.factorize(np.array(batch.formulas(), dtype=object))[0]

    def __call__(self, batch: CompositionBatch) -> np.ndarray:
        _, first, inverse = np.unique(self.groups(batch), return_index=True, return_inverse=True)
        values = self.select(self.outputs(batch[first]))
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            formula = batch[first[bad[:1]]].formulas()[0]
            raise InputError(
                f"the model predicts {values[bad[0]]} for {formula}, a coalition of the elements "
                "to explain; use baseline='background' with compositions like those it was fitted "
                "on."
            )
        return values[inverse]

    def outputs(self, batch: Any) -> np.ndarray:
        """Predict all outputs, of shape (n_rows, n_outputs)."""
        if not self.predicts:
            method = lambda rows: self.estimator(rows.tolist())  # noqa: E731
        elif self.classifies:
            method = self.estimator.predict_proba
        else:
            method = self.estimator.predict
        outputs = self._ask(method, batch, np.float64)
        if outputs.ndim not in (1, 2) or len(outputs) != len(batch):
            raise InputError(
                f"the model gave numbers of shape {outputs.shape} for {len(batch)} formulas; one "
                "row per formula is needed."
            )
        return outputs.reshape(len(batch), -1)

    def _ask(self, method: Callable[[Any], Any], batch: Any, dtype: Any = None) -> np.ndarray:
        rows = self._rows(batch)
        try:
            return np.asarray(method(rows), dtype=dtype)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the model cannot predict {batch[:3].formulas()} or others of {len(batch)} "
                f"compositions ({str(error).splitlines()[0]}). It has to read formulas, and with "
                "baseline='drop' also those of pure elements; baseline='background' asks only "
                "for mixtures with compositions like those it was fitted on."
            ) from error

    def select(self, outputs: np.ndarray) -> np.ndarray:
        """Choose the number that is explained, of shape (n_rows,)."""
        n = outputs.shape[1]
        column = self.column
        if column is None:
            if n > 1:
                raise InputError(f"the model has {n} outputs; choose one with target=0 to {n - 1}.")
            column = 0
        elif not 0 <= column < n:
            raise InputError(f"target={column} is none of the model's {n} outputs, 0 to {n - 1}.")
        values = outputs[:, column]
        if not self.classifies or self.response == "probability":
            return values
        clipped = np.clip(values, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
        changed = int((clipped != values).sum())
        if changed:
            warnings.warn(
                f"{changed} of {len(values)} coalitions have a probability of (nearly) 0 or 1, "
                f"whose log-odds are cut off at ±{logit(1 - _SMALLEST_PROBABILITY):.1f}; "
                "response='probability' has no such limit.",
                ExplanationWarning,
                stacklevel=2,
            )
        return logit(clipped)

    def _rows(self, batch: CompositionBatch) -> Any:
        """Give the batch the form that the model was fitted on."""
        if isinstance(self.estimator, ImplicitKTRegressor | ImplicitKTClassifier):
            return batch
        rows = np.empty(len(batch), dtype=object)
        rows[:] = batch.formulas()
        if self.objects:
            from pymatgen.core import Composition

            rows[:] = [Composition(formula) for formula in rows]
        names = getattr(self.estimator, "feature_names_in_", None)
        width = 1 if names is None else len(names)
        width = getattr(self.estimator, "n_features_in_", width)
        if width != 1:
            raise InputError(
                f"{type(self.estimator).__name__} was fitted on {width} columns, but a formula is "
                "one; pass a function of formulas that fills in the others."
            )
        if names is not None:
            return pd.DataFrame({names[0]: rows})
        # who counts features was fitted on a column, and some insist on one
        return rows[:, None] if hasattr(self.estimator, "n_features_in_") else rows


class _Drop:
    """Absent elements are taken out."""

    def __init__(self, model: _Model, reference: CompositionBatch | None) -> None:
        if reference is None:
            reference = read_compositions(list(ELEMENTS[:_PURE_ELEMENTS]))
        self.model = model
        self.reference = reference
        self.empty: float | None = None

    def __call__(self, requests: Sequence[Coalitions]) -> list[np.ndarray]:
        if self.empty is None:
            self.empty = float(self.model(self.reference).mean())
        batch = _joined([_without(coalitions) for coalitions in requests])
        values = np.full(len(batch), self.empty)
        if batch.valid.any():
            values[batch.valid] = self.model(batch[batch.valid])
        return _split(values, requests)


class _Background:
    """Absent elements are replaced by the compositions of a background, in turn."""

    def __init__(self, model: _Model, reference: CompositionBatch) -> None:
        self.model = model
        self.reference = reference.fractions()

    def __call__(self, requests: Sequence[Coalitions]) -> list[np.ndarray]:
        answers = []
        for coalitions in requests:
            present = coalitions.present
            whole = present.all(axis=1)
            values = np.empty(len(coalitions))
            players = coalitions.players
            if whole.any():
                values[whole] = self.model(_without(coalitions)[np.flatnonzero(whole)])
            step = max(1, _CHUNK // len(self.reference))
            partial = np.flatnonzero(~whole)
            for start in range(0, len(partial), step):
                rows = partial[start : start + step]
                mixed = self.model(_from_fractions(self._mixtures(players, present[rows])))
                values[rows] = mixed.reshape(len(rows), -1).mean(axis=1)
            answers.append(values)
        return answers

    def _mixtures(self, players: Players, present: np.ndarray) -> np.ndarray:
        kept = np.zeros((len(present), len(ELEMENTS)))
        shares = players.amounts / players.amounts.sum()
        kept[:, players.atomic_numbers - 1] = present * shares
        rest = 1 - kept.sum(axis=1)
        return (kept[:, None] + rest[:, None, None] * self.reference).reshape(-1, len(ELEMENTS))


class _Mask:
    """Absent tokens are hidden from the element encoder."""

    def __init__(self, model: _Model) -> None:
        estimator = model.estimator
        reason = None
        if not isinstance(estimator, ImplicitKTRegressor | ImplicitKTClassifier):
            reason = f"{type(estimator).__name__} reads whole formulas"
        elif estimator.readouts_:
            names = ", ".join(map(repr, estimator.readouts_))
            reason = f"its readouts {names} see features of whole formulas"
        elif estimator.spec_["kind"] != "composition":
            reason = f"its backbone is of kind {estimator.spec_['kind']!r}"
        if reason is not None:
            raise InputError(
                "baseline='mask' needs an ImplicitKTRegressor or ImplicitKTClassifier with "
                f"readout='head' on the element encoder, but {reason}; use baseline='drop'."
            )
        self.model = model

    def __call__(self, requests: Sequence[Coalitions]) -> list[np.ndarray]:
        from .encoder.training import Inputs

        length = max(coalitions.present.shape[1] for coalitions in requests) + 1
        n_rows = sum(map(len, requests))
        ids = np.full((n_rows, length), PAD_ID, dtype=np.int64)
        fractions = np.zeros((n_rows, length), dtype=np.float32)
        lengths = np.empty(n_rows, dtype=np.int64)
        start = 0
        for coalitions in requests:
            rows = slice(start, start + len(coalitions))
            start = rows.stop
            players = coalitions.players
            # tokens are in the order of atomic numbers
            order = np.argsort(players.atomic_numbers, kind="stable")
            whole = CompositionBatch(
                players.atomic_numbers, players.amounts, np.array([0, len(order)])
            )
            tokens, amounts = token_matrix(whole)
            width = slice(1, len(order) + 1)
            ids[rows, 0], fractions[rows, 0] = CLS_ID, 1.0
            shares = (amounts[:, 1:] / amounts[:, :1]).astype(np.float32)
            ids[rows, width] = np.where(coalitions.present[:, order], tokens[:, 1:], MASK_ID)
            fractions[rows, width] = np.where(coalitions.known[:, order], shares, -1.0)
            lengths[rows] = len(order) + 1
        inputs = Inputs({"input_ids": ids, "fractions": fractions}, lengths)
        return _split(self.model.select(self._outputs(inputs)), requests)

    def _outputs(self, inputs: Any) -> np.ndarray:
        estimator = self.model.estimator
        outputs = estimator._run_nets(inputs)
        if self.model.classifies:
            return estimator._weigh(outputs)
        return estimator.target_scaler_.inverse_transform(outputs)


def _worth(baseline: str, model: _Model, reference: CompositionBatch | None) -> Worth:
    if baseline == "mask":
        return _Mask(model)
    if baseline == "background":
        assert reference is not None
        return _Background(model, reference)
    return _Drop(model, reference)


def _game(row: CompositionBatch, players: str, baseline: str, worth: Worth) -> CompositionGame:
    try:
        from .games import CompositionGame, Players
    except ImportError as error:
        raise InputError(
            "explanations need the package shapiq: pip install 'sklearn_kt[explain]'."
        ) from error
    if players == "elements":
        return CompositionGame(Players.elements(row), worth)
    return CompositionGame(Players.tokens(row, ones=baseline == "mask"), worth)


def _play(games: Sequence[CompositionGame], worth: Callable) -> None:
    """Evaluate every coalition of every game in one batch."""
    from .games import Coalitions, all_coalitions

    requests = [Coalitions(game.players, all_coalitions(game.n_players)) for game in games]
    if requests:
        for game, request, values in zip(games, requests, worth(requests), strict=True):
            game.store(request.members, values)


def _chunks(n_players: np.ndarray, options: _Options) -> list[slice]:
    """Cut games into runs that have so many coalitions together."""
    sizes = [2**n if options.exact(n) else 0 for n in n_players.tolist()]
    parts = np.cumsum(sizes) // _CHUNK
    cuts = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(sizes)]
    return [slice(a, b) for a, b in pairwise(cuts)]


def _without(coalitions: Coalitions) -> CompositionBatch:
    """Take absent elements out; of the empty coalition an empty row is left."""
    players, present = coalitions.players, coalitions.present
    amounts = np.where(coalitions.known, players.amounts, 1.0)
    rows, columns = np.nonzero(present)
    offsets = np.concatenate(([0], np.cumsum(present.sum(axis=1))))
    return CompositionBatch(players.atomic_numbers[columns], amounts[rows, columns], offsets)


def _from_fractions(fractions: np.ndarray) -> CompositionBatch:
    rows, columns = np.nonzero(fractions)
    offsets = np.concatenate(([0], np.cumsum((fractions != 0).sum(axis=1))))
    return CompositionBatch(columns + 1, fractions[rows, columns], offsets)


def _joined(batches: list[CompositionBatch]) -> CompositionBatch:
    lengths = np.concatenate([batch.n_elements for batch in batches])
    return CompositionBatch(
        np.concatenate([batch.atomic_numbers for batch in batches]),
        np.concatenate([batch.amounts for batch in batches]),
        np.concatenate(([0], np.cumsum(lengths))),
    )


def _split(values: np.ndarray, requests: Sequence[Coalitions]) -> list[np.ndarray]:
    return np.split(values, np.cumsum([len(coalitions) for coalitions in requests])[:-1])


def _read_background(background: Any, baseline: str) -> CompositionBatch | None:
    if background is None:
        if baseline == "background":
            raise InputError(
                "baseline='background' needs background=: compositions such as the training data."
            )
        return None
    if baseline == "mask":
        raise InputError(
            "baseline='mask' uses no background; leave it out, or use baseline='drop' or "
            "'background'."
        )
    reference = read_compositions(background)
    if len(reference) == 0:
        raise InputError("background is empty: at least one composition is needed.")
    return reference


def _warn_unknown(
    batch: CompositionBatch, estimator: Any, reference: CompositionBatch | None
) -> None:
    """Warn of elements and formulas that the model, as far as is known, knows nothing of."""
    present = np.unique(batch.atomic_numbers)
    trained = _training_elements(estimator)
    known = present if trained is None else np.intersect1d(present, trained)
    if len(known) < len(present):
        warnings.warn(
            f"{_symbols(np.setdiff1d(present, known))}: in no composition that the model was "
            "fitted on; what it says of such elements is guessed from others.",
            ExplanationWarning,
            stacklevel=3,
        )
    if reference is None:
        return
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


def _training_elements(estimator: Any) -> np.ndarray | None:
    """Atomic numbers in the training table; None if nobody remembers."""
    while not hasattr(estimator, "elements_"):
        inner = next((getattr(estimator, n) for n in _WRAPPED if hasattr(estimator, n)), None)
        if inner is None and hasattr(estimator, "steps"):
            inner = estimator.steps[-1][1]
        if inner is None:
            return None
        estimator = inner
    return np.array([ELEMENTS.index(symbol) + 1 for symbol in estimator.elements_])


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


def _symbols(atomic_numbers: np.ndarray) -> str:
    return ", ".join(ELEMENTS[z - 1] for z in atomic_numbers)


def _holds_objects(X: Any) -> bool:
    """Whether the rows of X are pymatgen compositions."""
    if isinstance(X, pd.DataFrame | pd.Series):
        X = X.to_numpy()
    first = X.ravel()[0] if isinstance(X, np.ndarray) else X[0]
    return hasattr(first, "as_dict")


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, np.asarray(values).tolist()))


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
        ("baseline", baseline, _BASELINES),
        ("approximator", approximator, ("auto", *_APPROXIMATORS)),
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
