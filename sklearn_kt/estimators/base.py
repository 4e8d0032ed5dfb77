"""How every estimator of compositions reads X, and which of its rows belong together."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import InputTags, check_array
from sklearn.utils.validation import has_fit_parameter, validate_data
from tqdm.auto import tqdm

from sklearn_kt._targets import read_groups
from sklearn_kt.compositions import (
    ELEMENTS,
    CompositionBatch,
    composition_groups,
    is_composition_input,
    read_compositions,
)
from sklearn_kt.encoder.encoder import Data
from sklearn_kt.exceptions import InputError
from sklearn_kt.tokenizer import batch_from_tokens, is_token_matrix

__all__ = ["FormulaMixin", "FormulaTags", "fit_in_groups", "reads_compositions"]


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


def fit_in_groups(model: Any, X: Any, y: Any, groups: np.ndarray | None) -> Any:
    """Fit a model, and tell it which rows stay together if it splits them, as ours do.

    In a pipeline it is the last step that splits, which no longer sees compositions.
    """
    last, prefix = model, ""
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        prefix = f"{name}__"
    if groups is None or not has_fit_parameter(last, "groups"):
        return model.fit(X, y)
    return model.fit(X, y, **{f"{prefix}groups": groups})


class FormulaMixin:
    """Reads compositions, or rows of numbers, and compares them with those of ``fit``.

    To the left of :class:`~sklearn.base.BaseEstimator`.
    """

    input_kind_: str
    repeated_rows_: int

    def _read(self, X: Any, *, reset: bool = False, errors: str = "raise") -> Data:
        """Compositions as a batch or rows of numbers; ``reset`` is for ``fit``."""
        data: Data
        expected = None if reset else self.input_kind_
        if is_composition_input(X) or (expected == "compositions" and not _is_matrix(X)):
            data = read_compositions(X, errors=errors)
            if hasattr(X, "columns"):
                # remembers and compares the column's name
                validate_data(self, X, skip_check_array=True, reset=reset)
            elif reset:
                self.n_features_in_ = 1
            if len(data) == 0:
                raise InputError(
                    "Found array with 0 sample(s) while a minimum of 1 is required: X is empty."
                )
        elif expected != "compositions":
            data = validate_data(self, X, reset=reset, dtype=np.float64)
        else:
            data = check_array(X, dtype=np.float64, input_name="X")
        if isinstance(data, np.ndarray) and is_token_matrix(data):
            data = batch_from_tokens(data)
        kind = "compositions" if isinstance(data, CompositionBatch) else "features"
        if not reset and kind != expected:
            raise InputError(
                f"{type(self).__name__} was fitted on {expected}, but X holds {kind}; "
                "pass the kind of X that fit saw."
            )
        if reset:
            self.input_kind_ = kind
        if reset and isinstance(data, CompositionBatch):
            self.elements_ = np.array(sorted(ELEMENTS[z - 1] for z in set(data.atomic_numbers)))
        return data

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
        """Say how many training rows repeat another's composition or group, if any do."""
        n = self.repeated_rows_
        return {"repeated rows": f"{n:,}, never split from those they repeat"} if n else {}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags = FormulaTags(**{**asdict(tags.input_tags), "string": True})
        return tags


def _is_matrix(X: Any) -> bool:
    """Whether rows hold several values each, as those of CompositionTokenizer do."""
    shape = X.shape if hasattr(X, "shape") else np.asarray(X, dtype=object).shape
    return len(shape) == 2 and shape[1] > 1
