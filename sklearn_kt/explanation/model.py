"""A fitted model as a function of compositions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.utils.validation import check_is_fitted

from sklearn_kt._cells import FORMULA_COLUMN
from sklearn_kt.compositions import CompositionBatch, composition_groups
from sklearn_kt.conditions import typical_values
from sklearn_kt.estimators.base import encoder_of, reads_compositions, told_once
from sklearn_kt.exceptions import ConditionWarning, ExplanationWarning, InputError, reason_of

__all__ = ["Model"]

_SMALLEST_PROBABILITY = 1e-6


class Model:
    """A fitted model as a function from compositions to one number each."""

    def __init__(
        self,
        estimator: Any,
        target: Any,
        response: str,
        *,
        objects: bool,
        conditions: Sequence[str] = (),
    ) -> None:
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
        self.conditions = list(conditions)
        self.column: int | None = None
        # whether check_conditions could read them
        self.checked = False
        names = list(getattr(estimator, "feature_names_in_", [FORMULA_COLUMN, *self.conditions]))
        others = [name for name in names if name not in self.conditions]
        if self.conditions and (len(others) != 1 or len(names) != len(self.conditions) + 1):
            raise InputError(
                f"the model reads the columns {_listed(names)}, but the conditions given are "
                f"{_listed(self.conditions)}; give a value to each but that of compositions."
            )
        if not self.conditions and len(names) > 1:
            raise InputError(
                f"the model reads the columns {_listed(names)}; say what the conditions are by "
                f"conditions={{name: value}}."
            )
        self.names, self.formula_column = names, others[0]

    def check_conditions(self, given: pd.DataFrame) -> None:
        """Say what is wrong with conditions, or new, once for all coalitions."""
        encoder = encoder_of(self.estimator)
        new = {} if encoder is None else encoder.unlike_training(given)
        if new:
            warnings.warn(f"{'; '.join(new.values())}.", ConditionWarning, stacklevel=3)
        self.checked = encoder is not None

    def choose_class(
        self, row: CompositionBatch | None, conditions: pd.DataFrame | None = None
    ) -> None:
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
            self.column = classes.index(self._ask(self.estimator.predict, row, conditions)[0])
        elif self.target in classes:
            self.column = classes.index(self.target)
        else:
            raise InputError(f"target={self.target!r} is none of the classes {_listed(classes)}.")

    def typical(self, background: pd.DataFrame | None) -> dict[str, Any]:
        """Give what conditions typically are: medians, and the most frequent categories."""
        if not self.conditions:
            return {}
        if background is not None:
            return typical_values(background)
        encoder = encoder_of(self.estimator)
        if encoder is None:
            raise InputError(
                "what conditions typically are is not known of this model; pass the training "
                "table, or some hundred rows of it, as background."
            )
        return {name: encoder.typical_[name] for name in self.conditions}

    def groups(self, batch: CompositionBatch, conditions: pd.DataFrame | None = None) -> np.ndarray:
        """Give rows numbers, so that equal ones are predicted only once."""
        # a function may tell Fe2O3 from Fe4O6
        same = composition_groups(batch) if self.predicts else batch.formulas()
        if conditions is None:
            return pd.factorize(np.array(same, dtype=object))[0]
        table = conditions.assign(**{FORMULA_COLUMN: same})
        return table.groupby(list(table), sort=False, dropna=False).ngroup().to_numpy()

    def __call__(
        self, batch: CompositionBatch, conditions: pd.DataFrame | None = None
    ) -> np.ndarray:
        """Predict the number that is explained, of shape (n_rows,)."""
        groups = self.groups(batch, conditions)
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        given = None if conditions is None else conditions.iloc[first]
        values = self.select(self.outputs(batch[first], given))
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            formula = batch[first[bad[:1]]].formulas()[0]
            raise InputError(
                f"the model predicts {values[bad[0]]} for {formula}, a coalition of the elements "
                "to explain; use baseline='background' with compositions like those it was fitted "
                "on."
            )
        return values[inverse]

    def outputs(self, batch: Any, conditions: pd.DataFrame | None = None) -> np.ndarray:
        """Predict all outputs, of shape (n_rows, n_outputs)."""
        if not self.predicts:
            method = self._function
        elif self.classifies:
            method = self.estimator.predict_proba
        else:
            method = self.estimator.predict
        outputs = self._ask(method, batch, conditions, np.float64)
        if outputs.ndim not in (1, 2) or len(outputs) != len(batch):
            raise InputError(
                f"the model gave numbers of shape {outputs.shape} for {len(batch)} formulas; one "
                "row per formula is needed."
            )
        return outputs.reshape(len(batch), -1)

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

    def _function(self, rows: Any) -> Any:
        return self.estimator(rows if self.conditions else rows.tolist())

    def _ask(
        self,
        method: Callable[[Any], Any],
        batch: Any,
        conditions: pd.DataFrame | None,
        dtype: Any = None,
    ) -> np.ndarray:
        rows = self._rows(batch, conditions)
        try:
            # of what the model has not seen, the explanation tells
            with told_once():
                if self.checked:
                    warnings.simplefilter("ignore", ConditionWarning)
                return np.asarray(method(rows), dtype=dtype)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the model cannot predict {batch[:3].formulas()} or others of {len(batch)} "
                f"compositions ({reason_of(error)}). It has to read formulas, and with "
                "baseline='drop' also those of pure elements; baseline='background' asks only "
                "for mixtures with compositions like those it was fitted on."
            ) from error

    def _rows(self, batch: CompositionBatch, conditions: pd.DataFrame | None) -> Any:
        """Give the batch the form that the model was fitted on."""
        if conditions is not None:
            table = conditions.reset_index(drop=True)
            table[self.formula_column] = batch.formulas()
            return table[self.names]
        if reads_compositions(self.estimator):
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


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, np.asarray(values).tolist()))
