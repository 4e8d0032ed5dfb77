"""Weights of several models in one prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from sklearn_kt._targets import ClassTargets, NumberTargets

__all__ = ["TRUSTED", "count_judged", "disagreement", "select_weights", "weigh"]

# Judged compositions from which on weights are trusted. The best guess alone errs by 12 % less than
# a blend that was chosen on 12 (five samples of 30 rows of JARVIS' tables), on 48 by 2 % (ten of
# 120 rows); in proportion by 10 % and 1 %.
TRUSTED = 100
_ROUNDS = 20


def select_weights(
    outputs: Mapping[str, np.ndarray], score: Callable[[np.ndarray], float]
) -> dict[str, float]:
    """Weigh models by greedy selection on rows that none of them has seen.

    Parameters
    ----------
    outputs : dict of str to ndarray of shape (n, k)
        Out-of-fold outputs of each model.
    score : callable
        Loss of blended outputs; lower is better.

    Returns
    -------
    dict of str to float
        Weights of the models chosen; they sum to 1.

    Notes
    -----
    Starting from nothing, the model that lowers the blend's loss most is added, again and
    again with replacement; the best round counts [1]_. Unlike a regression on the outputs
    this cannot run away on a few hundred rows.

    References
    ----------
    .. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from
       libraries of models", ICML 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.estimators.selection import select_weights
    >>> truth = np.array([[0.0], [1.0], [2.0]])
    >>> outputs = {"high": truth + 1, "low": truth - 1, "far": truth + 9}
    >>> select_weights(outputs, lambda blend: float(np.abs(blend - truth).mean()))
    {'high': 0.5, 'low': 0.5}
    """
    names = list(outputs)
    counts = dict.fromkeys(names, 0)
    total: Any = 0.0
    best, best_counts = np.inf, counts
    for rounds in range(1, _ROUNDS + 1):
        losses = [score((total + outputs[name]) / rounds) for name in names]
        winner = int(np.argmin(losses))
        total = total + outputs[names[winner]]
        counts = {**counts, names[winner]: counts[names[winner]] + 1}
        if losses[winner] < best:
            best, best_counts = losses[winner], counts
    chosen = sum(best_counts.values())
    return {name: count / chosen for name, count in best_counts.items() if count}


def weigh(
    targets: NumberTargets | ClassTargets,
    outputs: Mapping[str, np.ndarray],
    truth: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    groups: np.ndarray | None = None,
    guess: str | None = None,
) -> dict[str, Any]:
    """Weigh models by their scores, for each of several targets by itself.

    Parameters
    ----------
    targets : NumberTargets or ClassTargets
        What scores outputs.
    outputs : dict of str to ndarray of shape (n, n_outputs)
        Out-of-fold outputs of each model.
    truth : ndarray
        Encoded; NaN where a row lacks one of several targets.
    sample_weight : ndarray of shape (n,), optional
        Weights of the rows in the scores.
    groups : ndarray of shape (n,), optional
        Of rows that count once.
    guess : str, optional
        The model to trust where nothing can be compared. Rows, or groups, fewer than a hundred say
        little of which model is best: what they say counts in proportion, and this one for the
        rest.

    Returns
    -------
    dict of str to float, or to ndarray of shape (n_targets,)
        Weights of the models that were chosen, for any target; those of a target sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn_kt._targets import NumberTargets
    >>> from sklearn_kt.estimators.selection import weigh
    >>> truth = np.arange(50.0)[:, None]
    >>> outputs = {"near": truth + 1, "far": truth + 9}
    >>> targets = NumberTargets()
    >>> _ = targets.read(DummyRegressor(), truth.ravel())
    >>> weigh(targets, outputs, truth)
    {'near': 1.0}
    >>> weigh(targets, outputs, truth, guess="far")
    {'near': 0.5, 'far': 0.5}
    """
    weights = _weights(targets, outputs, truth, sample_weight)
    if guess is None:
        return weights
    trust: Any = np.minimum(count_judged(targets, truth, groups) / TRUSTED, 1)
    if targets.n_targets == 1:
        trust = float(trust[0])
    found = {name: trust * weight for name, weight in weights.items()}
    found[guess] = found.get(guess, 0) + (1 - trust)
    return {name: weight for name, weight in found.items() if np.any(weight)}


def count_judged(
    targets: NumberTargets | ClassTargets, truth: np.ndarray, groups: np.ndarray | None
) -> np.ndarray:
    """Count the rows that models are judged on, those of one group once, of each target."""
    counts = targets.counts(truth, groups)
    return counts.sum(keepdims=True) if isinstance(targets, ClassTargets) else counts


def disagreement(
    outputs: Mapping[str, np.ndarray], weights: Mapping[str, Any], blend: np.ndarray
) -> np.ndarray:
    """Tell how far models are from what they say together.

    Parameters
    ----------
    outputs : dict of str to ndarray
        Of each model.
    weights : dict of str to float or ndarray
        Share of each in the blend; 0 of one that is not there.
    blend : ndarray
        What they say together.

    Returns
    -------
    ndarray
        Weighted standard deviation of the outputs, of the shape of the blend.
    """
    squares = [weights.get(name, 0.0) * (out - blend) ** 2 for name, out in outputs.items()]
    return np.sqrt(np.sum(squares, axis=0))


def _weights(
    targets: NumberTargets | ClassTargets,
    outputs: Mapping[str, np.ndarray],
    truth: np.ndarray,
    sample_weight: np.ndarray | None,
) -> dict[str, Any]:
    """Weigh models by their scores alone."""
    if targets.n_targets == 1:
        return select_weights(outputs, partial(targets.score, truth, weights=sample_weight))
    weights = {name: np.zeros(targets.n_targets) for name in outputs}
    for at in range(targets.n_targets):
        of_target = {name: values[:, [at]] for name, values in outputs.items()}
        score = partial(targets.score, truth[:, [at]], weights=sample_weight)
        chosen = select_weights(of_target, score)
        for name, weight in chosen.items():
            weights[name][at] = weight
    return {name: weight for name, weight in weights.items() if weight.any()}
