"""How every estimator of compositions reads X, and which of its rows belong together."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import InputTags, _safe_indexing, check_array, check_consistent_length
from sklearn.utils.validation import validate_data
from tqdm.auto import tqdm

from sklearn_kt._model_guards import objects_in
from sklearn_kt._targets import of_rows, read_groups, read_weighed, takes_gaps
from sklearn_kt.compositions import (
    ELEMENTS,
    CompositionBatch,
    composition_groups,
    is_composition_input,
    read_compositions,
)
from sklearn_kt.conditions import ConditionEncoder, MeasuredBatch, has_conditions, is_table
from sklearn_kt.encoder.encoder import Data
from sklearn_kt.exceptions import ConditionWarning, InputError, UnseenElementWarning
from sklearn_kt.tokenizer import batch_from_tokens, is_token_matrix

from .grouping import fit_together, row_params
from .html_repr import each
from .readouts import for_targets, last_step

__all__ = [
    "FormulaMixin",
    "FormulaTags",
    "Rows",
    "UnseenElements",
    "elements_of",
    "encoder_of",
    "fit_rows",
    "reads_compositions",
    "told_once",
]

_SHOWN = 3
_SCORES = {
    "mae": "mean absolute error",
    "r2": "R²",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log-loss",
}


@dataclass(frozen=True)
class Rows:
    """What a model is fitted on: as many entries of each.

    Groups are None if no rows repeat, and weights if there are none.
    """

    data: Data
    targets: np.ndarray
    groups: np.ndarray | None
    weights: np.ndarray | None

    def __len__(self) -> int:
        return len(self.data)

    @property
    def together(self) -> np.ndarray:
        """The groups; each row is its own if none repeat."""
        return np.arange(len(self)) if self.groups is None else self.groups

    def __getitem__(self, rows: np.ndarray) -> Rows:
        groups, weights = of_rows(self.groups, rows), of_rows(self.weights, rows)
        return Rows(self.data[rows], self.targets[rows], groups, weights)


@dataclass(slots=True)
class FormulaTags(InputTags):
    """scikit-learn's tags of what X may be, and that it may be a CompositionBatch."""


def reads_compositions(model: Any) -> bool:
    """Tell whether an estimator, or the first step of a pipeline, takes a CompositionBatch.

    Compositions that are parsed already need not be written as formulas for it.
    """
    first = model.steps[0][1] if isinstance(model, Pipeline) else model
    tags = first.__sklearn_tags__() if hasattr(first, "__sklearn_tags__") else None
    return isinstance(getattr(tags, "input_tags", None), FormulaTags)


def encoder_of(model: Any) -> ConditionEncoder | None:
    """Find what reads the conditions in a fitted model, or in one inside it, or None."""
    found = (item for item in objects_in(model) if isinstance(item, ConditionEncoder))
    return next((item for item in found if hasattr(item, "typical_")), None)


def elements_of(model: Any) -> list[str] | None:
    """Give the elements that a fitted model, or one inside it, was trained on, or None."""
    found = (getattr(item, "elements_", None) for item in objects_in(model))
    return next((list(symbols) for symbols in found if symbols is not None), None)


@dataclass
class UnseenElements:
    """Counts the rows with elements that no training row had, to say so once for all.

    Parameters
    ----------
    known : iterable of str or None
        Symbols of the elements of the training table; None if nobody remembers, and so nothing
        is counted.
    pretraining : bool, default=False
        Whether they are those of pretraining instead.
    """

    known: Iterable[str] | None
    n_rows: int = 0
    """Rows looked at."""
    n_unseen: int = 0
    """Those that hold such an element."""
    elements: Counter[str] = field(default_factory=Counter)
    """How many rows hold each."""
    first: list[str] = field(default_factory=list)
    """Where the first of them are."""
    pretraining: bool = False

    def __post_init__(self) -> None:
        self._is_known = np.ones(len(ELEMENTS) + 1, dtype=bool)
        if self.known is not None:
            self._is_known[1:] = np.isin(ELEMENTS, list(self.known))

    def add(
        self, batch: CompositionBatch, place: Callable[[int], str] = "row {}".format
    ) -> np.ndarray:
        """Count some rows more, and remember the place of the first; give those that hold such."""
        self.n_rows += len(batch)
        new = ~self._is_known[batch.atomic_numbers]
        rows = np.unique(np.repeat(np.arange(len(batch)), batch.n_elements)[new])
        self.n_unseen += len(rows)
        self.elements.update(ELEMENTS[z - 1] for z in batch.atomic_numbers[new].tolist())
        shown = rows[: _SHOWN - len(self.first)]
        formulas = batch[shown].formulas()
        self.first += [f"{place(r)}: {f}" for r, f in zip(shown.tolist(), formulas, strict=True)]
        return rows

    def warn(self, stacklevel: int = 2) -> None:
        """Warn of the rows counted, if there are any."""
        if not self.n_unseen:
            return
        named = sorted(self.elements, key=ELEMENTS.index)
        more = self.n_unseen > len(self.first)
        where = "; ".join([*self.first, *["..."] * more]) if self.first else ""
        rows = "training row"
        remedy = "Add rows with them to the training table, or leave such predictions out."
        if self.pretraining:
            rows, remedy = "formula of pretraining", "Leave such predictions out."
        warnings.warn(
            f"{self.n_unseen:,} of {self.n_rows:,} rows hold elements that no {rows} had, "
            f"{', '.join(named)}{f' ({where})' if where else ''}: what is predicted of them is "
            f"guessed from other elements. {remedy}",
            UnseenElementWarning,
            stacklevel=stacklevel + 1,
        )


@contextmanager
def told_once() -> Iterator[None]:
    """While a model predicts inside something that tells of unseen elements by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenElementWarning)
        yield


def fit_rows(
    model: Any,
    X: Any,
    y: Any,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Any:
    """Fit a model, with weights of rows, and tell it which stay together if it splits them."""
    params = row_params(model, weights)
    # around the step of a pipeline that learns, which no longer sees compositions
    if not takes_gaps(last_step(model)):
        model = for_targets(model, y)
    return fit_together(model, X, y, groups, **params)


class FormulaMixin:
    """Reads compositions, with conditions or without, or rows of numbers, as ``fit`` did.

    To the left of :class:`~sklearn.base.BaseEstimator`. Conditions are encoded once, by the
    estimator that is given a table; those inside it are given a MeasuredBatch.
    """

    composition_column: str | None
    input_kind_: str
    condition_encoder_: ConditionEncoder
    condition_names_: np.ndarray
    elements_: np.ndarray
    n_held_out_: int
    n_samples_fit_: int
    repeated_rows_: int
    # whether what is made of X depends on the elements that fit saw
    _learns_elements: ClassVar[bool] = True

    def _read_rows(
        self, X: Any, y: Any, groups: Any, sample_weight: Any
    ) -> tuple[Rows, np.ndarray]:
        """Read what ``fit`` is given, and tell which rows of X are learned from."""
        y, weights, kept = read_weighed(self._read_targets, y, sample_weight)
        with warnings.catch_warnings():
            if not kept.all():
                # the rows that are kept say so below
                warnings.simplefilter("ignore", ConditionWarning)
            data = self._read(X, reset=True)
        check_consistent_length(range(len(data)), kept)
        if not kept.all():
            if groups is not None:
                groups = read_groups(groups, len(kept))[kept]
            # what has a shape may have names of columns too
            data = self._read(
                _safe_indexing(X, kept) if hasattr(X, "shape") else data[kept], reset=True
            )
        return Rows(data, y, self._read_groups(data, groups), weights), kept

    def _read_targets(self, y: Any) -> np.ndarray:
        raise NotImplementedError

    def _read(self, X: Any, *, reset: bool = False, errors: str = "raise") -> Data:
        """Compositions as a batch or rows of numbers; ``reset`` is for ``fit``."""
        data: Data
        expected = None if reset else self.input_kind_
        if self._has_conditions(X, expected):
            data = self._read_table(X, reset=reset, errors=errors)
        elif is_composition_input(X) or (expected == "compositions" and not _is_matrix(X)):
            data = read_compositions(X, errors=errors)
            if hasattr(X, "columns"):
                # remembers and compares the column's name
                validate_data(self, X, skip_check_array=True, reset=reset)
            elif reset:
                self.n_features_in_ = 1
        elif expected in (None, "features"):
            data = validate_data(self, X, reset=reset, dtype=np.float64)
        else:
            data = check_array(X, dtype=np.float64, input_name="X")
        _check_rows(data)
        if isinstance(data, np.ndarray) and is_token_matrix(data):
            data = batch_from_tokens(data)
        kind = "features"
        if isinstance(data, CompositionBatch):
            kind = "measurements" if isinstance(data, MeasuredBatch) else "compositions"
        if not reset and kind != expected:
            raise InputError(
                f"{type(self).__name__} was fitted on {self._kind(expected)}, but X holds "
                f"{self._kind(kind)}; pass the kind of X that fit saw."
            )
        if isinstance(data, MeasuredBatch):
            if reset:
                self.condition_names_ = np.array(data.names, dtype=object)
                if not is_table(X):
                    self.n_features_in_ = 1 + len(data.names)
            elif data.names != tuple(self.condition_names_):
                raise InputError(
                    f"{type(self).__name__} was fitted with the conditions "
                    f"{', '.join(self.condition_names_)}, but X has {', '.join(data.names)}."
                )
        if reset:
            self.input_kind_ = kind
        if reset and isinstance(data, CompositionBatch):
            self.elements_ = np.array(sorted(ELEMENTS[z - 1] for z in set(data.atomic_numbers)))
        elif isinstance(data, CompositionBatch) and self._learns_elements:
            unseen = UnseenElements(self.elements_)
            unseen.add(data)
            unseen.warn(stacklevel=4)
        return data

    def _unseen_part(self, data: Data) -> np.ndarray:
        """Give the part of each row's atoms that are of elements that no training row had."""
        if not isinstance(data, CompositionBatch):
            return np.zeros(len(data))
        return data.fractions()[:, ~np.isin(ELEMENTS, self.elements_)].sum(axis=1)

    def _has_conditions(self, X: Any, expected: str | None) -> bool:
        """Whether X is a table with columns beside its compositions, or ought to be one."""
        if expected is not None:
            return expected == "measurements" and is_table(X)
        if self.composition_column is None:
            return has_conditions(X)
        if not is_table(X) and not isinstance(X, CompositionBatch):
            raise InputError(
                f"composition_column={self.composition_column!r} names a column, but X is a "
                f"{type(X).__name__}; pass a DataFrame of pandas or polars, or leave it out."
            )
        return is_table(X) and list(X.columns) != [self.composition_column]

    def _read_table(self, X: Any, *, reset: bool, errors: str) -> MeasuredBatch:
        _check_rows(X)
        if not reset:
            if not hasattr(self, "condition_encoder_"):
                raise InputError(
                    f"{type(self).__name__} was fitted on compositions with conditions that were "
                    "read already; pass a MeasuredBatch."
                )
            return self.condition_encoder_.read(X, errors=errors)
        # says more of names that are no text, or not told apart, than scikit-learn
        self.condition_encoder_ = ConditionEncoder(self.composition_column).fit(X)
        validate_data(self, X, skip_check_array=True)
        return self.condition_encoder_.read(X)

    def _kind(self, kind: str | None) -> str:
        """Name a kind of X, for messages."""
        if kind != "measurements":
            return str(kind)
        names = [*getattr(self, "feature_names_in_", getattr(self, "condition_names_", ()))]
        return f"a table of compositions and conditions {names if names else ''}".rstrip()

    def _read_groups(self, data: Data, groups: Any) -> np.ndarray | None:
        """Give rows that stay together in every split one number; None if no two of them do.

        Those of one composition, if the user groups nothing. Numeric rows stand alone.
        """
        what = "a composition"
        if groups is not None:
            codes, what = read_groups(groups, len(data)), "a group"
        elif isinstance(data, CompositionBatch):
            codes = composition_groups(data)
        else:
            codes = np.arange(len(data))
        self.n_samples_fit_ = len(data)
        self.repeated_rows_ = len(data) - len(np.unique(codes))
        if not self.repeated_rows_:
            return None
        if getattr(self, "verbose", 0):
            tqdm.write(
                f"{self.repeated_rows_:,} of {len(data):,} rows repeat {what}; rows of one stay "
                "together in every inner split.",
                file=sys.stderr,
            )
        return codes

    def _about_rows(self) -> dict[str, str]:
        """Count rows, and say what held-out ones scored, in the unit of y, and their conditions."""
        about = {"rows": f"{self.n_samples_fit_:,}"}
        if scores := getattr(self, "held_out_scores_", {}):
            spelled = [
                f"{_SCORES[name]} {each(score, '.3g')}{' in the unit of y' * (name == 'mae')}"
                for name, score in scores.items()
            ]
            about["held-out rows"] = f"{self.n_held_out_:,}: {', '.join(spelled)}"
        if self.input_kind_ == "measurements":
            about["conditions"] = ", ".join(self.condition_names_)
        if n := self.repeated_rows_:
            about["repeated rows"] = f"{n:,}, never split from those they repeat"
        return about

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags = FormulaTags(**{**asdict(tags.input_tags), "string": True})
        return tags


def _check_rows(X: Any) -> None:
    if len(X) == 0:
        raise InputError(
            "Found array with 0 sample(s) while a minimum of 1 is required: X is empty."
        )


def _is_matrix(X: Any) -> bool:
    """Whether rows hold several values each, as those of CompositionTokenizer do."""
    shape = X.shape if hasattr(X, "shape") else np.asarray(X, dtype=object).shape
    return len(shape) == 2 and shape[1] > 1
