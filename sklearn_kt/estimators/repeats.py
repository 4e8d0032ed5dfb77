"""Compositions that the training table holds, and what to predict of them once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_kt.encoder.pool import find_sorted
from sklearn_kt.fitting import fit_context

__all__ = ["TrainingCompositions"]

# Compositions with several rows that are needed to tell how much one row says of another.
_MIN_REPEATED = 30
# Parts of the way to a single measured value that are tried.
_STEPS = 21
# Standard errors within which parts are as good as the best one. Errors of rows whose composition
# is in the table, on inner splits (forests alone, 5,000 compositions, three splits), as trees say,
# and within 0, 0.5 and 1 of them: 0.231, 0.189, 0.208, 0.227 eV (gaps), 71.9, 80.7, 73.6, 71.9 1/cm
# (highest phonon mode), 0.133, 0.127, 0.127, 0.128 (logarithms of shear moduli): training parts of
# JARVIS' optb88vdw_bandgap and max_mode, and of the first fold of MatBench's log_gvrh.
_DOUBT = 0.5
# Rows are predicted from others that weigh so much at least, in parts of what they weigh: sums of
# weights have sixteen digits.
_LIGHTEST = 1e-6


class TrainingCompositions(BaseEstimator):
    """What models say of compositions they were fitted on, as far as their rows agree.

    Fully grown trees give a composition of the training table the value it has there, as if it
    could have no other. Another row of it, such as a polymorph or a second measurement, has: where
    the table repeats compositions, it tells by how much. A model's output is then ``o + s (m - o)``
    of what it says without these rows, ``o``, and their mean ``m``, with ``s = n / (n + k)`` for
    ``n`` rows: the best linear unbiased prediction with a random effect of the composition [1]_.
    ``k`` is chosen by the error of each repeated row, predicted from the other rows of its
    composition. Of the ``s`` that are as good within half a standard error, the largest is taken,
    which changes least, much as the sizes of trees are chosen [2]_. Rows of weights count as so
    many. A target that fewer than 30 compositions have in several rows is left as it is.

    With ``readout="auto"``, on a quarter of the rows of 2,500 compositions of JARVIS-DFT tables,
    the mean absolute error of those whose composition is in the other three quarters falls from
    0.229 to 0.173 eV (gaps), 16.5 to 14.8 GPa (bulk moduli) and 56.7 to 47.9 1/cm (highest phonon
    mode); networks, which learn less by heart, stay as they are.

    Attributes
    ----------
    keys_ : ndarray of uint64, shape (n_compositions,)
        Sorted :func:`~sklearn_kt.compositions.composition_keys`.
    shares_ : ndarray of shape (n_outputs,)
        The part ``s`` of the way to a composition's only value, for each target.
    outputs_, spreads_ : dict of str to ndarray of float32, shape (n_compositions, n_outputs)
        Of each model; NaN where it is left as it is.

    References
    ----------
    .. [1] G. K. Robinson, "That BLUP is a good thing: the estimation of random effects",
       Statistical Science 6, 15-32 (1991).
    .. [2] L. Breiman, J. Friedman, R. Olshen, C. Stone, "Classification and regression trees"
       (1984), section 3.4.3, for the size of trees.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.estimators.repeats import TrainingCompositions
    >>> rng = np.random.default_rng(0)
    >>> keys = np.repeat(np.arange(100, dtype=np.uint64), 2)
    >>> truth = rng.normal(size=100)[keys][:, None] + rng.normal(size=(200, 1))
    >>> said = {"forest": np.zeros((200, 1))}
    >>> seen = TrainingCompositions().fit(keys, said, said, said["forest"], truth)
    >>> bool(0.4 < seen.shares_[0] < 0.9)
    True
    >>> places = seen.find(np.array([7, 100], np.uint64))
    >>> places
    array([ 7, -1])
    >>> says = {"forest": np.full((2, 1), 9.0)}
    >>> seen.replace(places, np.array([1.0, 0.0]), says, {"forest": np.zeros((2, 1))})
    >>> says["forest"][1], bool(abs(says["forest"][0] - truth[14:16].mean()) < 1)
    (array([9.]), True)
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {}

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        keys: np.ndarray,
        outputs: Mapping[str, np.ndarray],
        spreads: Mapping[str, np.ndarray],
        blend: np.ndarray,
        truth: np.ndarray,
        sample_weight: np.ndarray | None = None,
        *,
        squared: bool = False,
    ) -> Self:
        """Learn from rows of which no model has seen the composition.

        Parameters
        ----------
        keys : ndarray of uint64, shape (n,)
            Of the compositions.
        outputs, spreads : dict of str to ndarray of shape (n, n_outputs)
            What each model says of a row, and how far its parts are apart; alike for all rows of
            a composition.
        blend : ndarray of shape (n, n_outputs)
            What they say together; NaN where they have no say.
        truth : ndarray of shape (n, n_outputs)
            Targets; NaN where a row lacks one of several.
        sample_weight : ndarray of shape (n,), optional
            Weights of the rows, with a mean of 1.
        squared : bool, default=False
            Whether errors are compared by their squares.

        Returns
        -------
        self : TrainingCompositions
            Fitted.
        """
        weights = np.ones(len(keys)) if sample_weight is None else sample_weight
        self.keys_, first, codes = np.unique(keys, return_index=True, return_inverse=True)
        parts, means = np.full((2, len(self.keys_), truth.shape[1]), np.nan)
        self.shares_ = np.ones(truth.shape[1])
        for target, column in enumerate(truth.T):
            rows = np.flatnonzero(~np.isnan(column) & ~np.isnan(blend[:, target]))
            residuals = column[rows] - blend[rows, target]
            share = _share(codes[rows], residuals, weights[rows], 1 + squared)
            self.shares_[target] = share
            if share == 1:
                # the models themselves, which have learned it by heart, say as much
                continue
            held = np.bincount(codes[rows], weights[rows], len(self.keys_))
            total = np.bincount(codes[rows], weights[rows] * column[rows], len(self.keys_))
            has = held > 0
            parts[has, target] = _part(held[has], share)
            means[has, target] = total[has] / held[has]
        self.outputs_ = {
            name: (values[first] + parts * (means - values[first])).astype(np.float32)
            for name, values in outputs.items()
        }
        self.spreads_ = {
            name: np.where(np.isnan(parts), np.nan, values[first]).astype(np.float32)
            for name, values in spreads.items()
        }
        return self

    def replace(
        self,
        places: np.ndarray,
        parts: np.ndarray,
        outputs: dict[str, np.ndarray],
        spreads: dict[str, np.ndarray],
    ) -> None:
        """Put what is known of the compositions of rows in the place of what models say of them.

        Parameters
        ----------
        places : ndarray of int, shape (n,)
            Of :meth:`find`.
        parts : ndarray of shape (n,)
            How far a row is that composition, from 0 to 1 (:func:`~sklearn_kt.traces.find_hosts`).
        outputs, spreads : dict of str to ndarray of shape (n, n_outputs)
            As in :meth:`fit`; those of the fitted models are changed.
        """
        rows = np.flatnonzero(places >= 0)
        part = parts[rows, None]
        for said, learned in ((outputs, self.outputs_), (spreads, self.spreads_)):
            for name, values in learned.items():
                found, own = values[places[rows]], said[name][rows]
                said[name][rows] = np.where(np.isnan(found), own, part * found + (1 - part) * own)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Give the place of each composition, by its key; -1 of one that was not in the table."""
        check_is_fitted(self)
        return find_sorted(self.keys_, keys)


def enough_repeated(codes: np.ndarray) -> bool:
    """Tell whether enough compositions have several rows, of whatever target."""
    return bool((np.bincount(codes) > 1).sum() >= _MIN_REPEATED)


def _part(held: np.ndarray, share: float) -> np.ndarray:
    """Give the part of the way to the mean of rows that weigh so much, by that of one row."""
    return held * share / (1 - share + held * share)


def _share(codes: np.ndarray, residuals: np.ndarray, weights: np.ndarray, power: int) -> float:
    """Choose the part of the way by the error of rows, each predicted from its like.

    It is 1 where too few compositions have several rows.
    """
    held, total = np.bincount(codes, weights), np.bincount(codes, weights * residuals)
    others = held[codes] - weights
    rows = np.flatnonzero(others > _LIGHTEST * weights)
    apart = (total[codes[rows]] - (weights * residuals)[rows]) / others[rows]
    repeated, codes = np.unique(codes[rows], return_inverse=True)
    residuals, weights, others = residuals[rows], weights[rows], others[rows]
    if len(repeated) < _MIN_REPEATED:
        return 1.0
    # a composition with many rows is one of the many that may be asked for
    evenly = weights / np.bincount(codes, weights)[codes]
    tried = np.linspace(0, 1, _STEPS)
    errors = np.array(
        [
            np.bincount(codes, evenly * np.abs(residuals - _part(others, share) * apart) ** power)
            for share in tried
        ]
    )
    worse = errors - errors[errors.mean(axis=1).argmin()]
    doubt = _DOUBT * worse.std(axis=1) / np.sqrt(len(repeated))
    return float(tried[np.flatnonzero(worse.mean(axis=1) <= doubt)[-1]])
