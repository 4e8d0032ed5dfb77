"""The one reader of numeric targets, and how labels and probabilities of classes translate."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from .exceptions import InputError

__all__ = ["as_numbers", "most_probable", "read_labels", "read_numbers", "votes"]

# Targets are standardised; double precision holds no squares beyond these.
_LARGEST, _NARROWEST = 1e150, 1e-150


def read_numbers(estimator: Any, y: Any, *, multi_output: bool) -> np.ndarray:
    """Targets of a regression: float64, finite, neither too large nor too close together."""
    if y is not None:
        y = as_numbers(y)
    y = validate_data(estimator, y=y, multi_output=multi_output, y_numeric=True)
    largest = np.unravel_index(np.abs(y).argmax(), y.shape)
    if abs(y[largest]) > _LARGEST:
        raise InputError(
            f"row {largest[0]} of y holds {y[largest]:g}, whose square is beyond double precision; "
            "pass targets in another unit."
        )
    narrow = np.ptp(y, axis=0)
    if ((narrow > 0) & (narrow < _NARROWEST)).any():
        raise InputError(
            f"the targets differ by {narrow[narrow > 0].min():g} at most, whose square is below "
            "double precision; pass targets in another unit."
        )
    return y


def read_labels(estimator: Any, y: Any) -> np.ndarray:
    """Targets as class labels."""
    y = column_or_1d(validate_data(estimator, y=y), warn=True)
    check_classification_targets(y)
    return y


def as_numbers(y: Any) -> np.ndarray:
    """Targets as float64; dates, which NumPy would count in some unit, are none."""
    array = np.asarray(y)
    if array.dtype.kind in "biufc":
        # scikit-learn refuses complex ones
        return array if array.dtype.kind == "c" else array.astype(np.float64)
    numbers = np.empty(array.shape)
    for place, value in np.ndenumerate(array):
        try:
            if isinstance(value, np.datetime64 | np.timedelta64):
                raise TypeError
            numbers[place] = np.nan if value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            row = f"row {place[0]} of y holds" if place else "y is"
            raise InputError(
                f"the targets of a regression must be numbers, but {row} {value!r}, of type "
                f"{type(value).__name__}."
            ) from None
    return numbers


def most_probable(classes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Name the most probable class of each row; None, in an object array, for rows of NaN."""
    missing = np.isnan(probabilities).any(axis=1)
    labels = classes[np.where(missing[:, None], 0, probabilities).argmax(axis=1)]
    if missing.any():
        labels = labels.astype(object)
        labels[missing] = None
    return labels


def votes(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Undo :func:`most_probable`: 1 for the class of each row, else 0; rows of None are NaN."""
    named = np.array([label is not None for label in labels], dtype=bool)
    out = np.full((len(labels), len(classes)), np.nan)
    chosen = np.asarray(labels)[named].astype(classes.dtype)
    out[named] = np.eye(len(classes))[np.searchsorted(classes, chosen)]
    return out
