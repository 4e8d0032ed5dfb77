"""What a coalition of elements is worth, by what it means to be absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_kt.compositions import ELEMENTS, CompositionBatch, read_compositions
from sklearn_kt.conditions import composition_column, is_table
from sklearn_kt.encoder.encoder import element_inputs
from sklearn_kt.estimators.implicit import ImplicitKTClassifier, ImplicitKTRegressor
from sklearn_kt.exceptions import InputError
from sklearn_kt.tokenizer import CLS_ID, MASK_ID, PAD_ID

from .model import Model
from .values import CHUNK

if TYPE_CHECKING:
    from .games import Coalitions, Players, Worth

__all__ = ["BASELINES", "read_background", "worth_of"]

BASELINES = ("drop", "background", "mask")
# hydrogen to plutonium: the elements there are tables of
_PURE_ELEMENTS = 94


@dataclass(frozen=True)
class Background:
    """Compositions of a background, and their conditions if there are any."""

    compositions: CompositionBatch
    conditions: pd.DataFrame | None = None


def read_background(background: Any, baseline: str, model: Model) -> Background | None:
    """Read the background that goes with a baseline."""
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
    conditions = None
    if model.conditions:
        if not is_table(background):
            raise InputError(
                "background must be a table: conditions in columns beside the compositions."
            )
        missing = [name for name in model.conditions if name not in background.columns]
        if missing:
            raise InputError(f"background has no column {missing[0]!r}, which is a condition.")
        conditions = pd.DataFrame({n: background[n].to_list() for n in model.conditions})
        held = set(background.columns) - set(model.conditions)
        column = model.formula_column if model.formula_column in held else None
        background = background[column or composition_column(background)]
    reference = read_compositions(background)
    if len(reference) == 0:
        raise InputError("background is empty: at least one composition is needed.")
    return Background(reference, conditions)


def worth_of(baseline: str, model: Model, reference: Background | None) -> Worth:
    """Choose what it means to be absent."""
    if baseline == "mask":
        if model.conditions:
            raise InputError(
                "baseline='mask' hides tokens, and cannot hide conditions; use baseline='drop'."
            )
        return _Mask(model)
    if baseline == "background":
        assert reference is not None
        return _Background(model, reference)
    return _Drop(model, reference)


class _Drop:
    """Absent elements are taken out, absent conditions are what they typically are."""

    def __init__(self, model: Model, reference: Background | None) -> None:
        if reference is None:
            reference = Background(read_compositions(list(ELEMENTS[:_PURE_ELEMENTS])))
        self.reference = reference.compositions
        self.model = model
        self.typical = model.typical(reference.conditions)
        # of a coalition without elements, by its conditions
        self.empty: dict[tuple, float] = {}

    def __call__(self, requests: Sequence[Coalitions]) -> list[np.ndarray]:
        batch = _joined([_without(coalitions) for coalitions in requests])
        given = None
        if self.typical:
            parts = [_filled(coalitions, self.typical) for coalitions in requests]
            given = pd.concat(parts, ignore_index=True)
        values = np.empty(len(batch))
        for row in np.flatnonzero(~batch.valid):
            values[row] = self._without_elements(None if given is None else given.iloc[[row]])
        rows = np.flatnonzero(batch.valid)
        if len(rows):
            values[rows] = self.model(batch[rows], None if given is None else given.iloc[rows])
        return _split(values, requests)

    def _without_elements(self, given: pd.DataFrame | None) -> float:
        key = () if given is None else tuple(given.iloc[0])
        if key not in self.empty:
            many = None
            if given is not None:
                many = given.loc[given.index.repeat(len(self.reference))]
            self.empty[key] = float(self.model(self.reference, many).mean())
        return self.empty[key]


class _Background:
    """Absent elements and conditions are replaced by those of a background's rows, in turn."""

    def __init__(self, model: Model, reference: Background) -> None:
        self.model = model
        self.reference = reference.compositions.fractions()
        self.conditions = reference.conditions

    def __call__(self, requests: Sequence[Coalitions]) -> list[np.ndarray]:
        answers = []
        for coalitions in requests:
            present = coalitions.present
            whole = coalitions.members.all(axis=1)
            values = np.empty(len(coalitions))
            players = coalitions.players
            if whole.any():
                rows = np.flatnonzero(whole)
                values[rows] = self.model(
                    _without(coalitions)[rows], self._conditions(players, coalitions.given[rows], 1)
                )
            step = max(1, CHUNK // len(self.reference))
            partial = np.flatnonzero(~whole)
            for start in range(0, len(partial), step):
                rows = partial[start : start + step]
                mixed = self.model(
                    _from_fractions(self._mixtures(players, present[rows])),
                    self._conditions(players, coalitions.given[rows], len(self.reference)),
                )
                values[rows] = mixed.reshape(len(rows), -1).mean(axis=1)
            answers.append(values)
        return answers

    def _conditions(self, players: Players, given: np.ndarray, n: int) -> pd.DataFrame | None:
        """Give the conditions of coalitions, each beside so many rows of the background."""
        if self.conditions is None:
            return None
        columns = {}
        for place, (name, value) in enumerate(players.conditions.items()):
            others = self.conditions[name].iloc[:n].to_list() * len(given)
            kept = np.repeat(given[:, place], n)
            columns[name] = [value if k else o for k, o in zip(kept, others, strict=True)]
        return pd.DataFrame(columns)

    def _mixtures(self, players: Players, present: np.ndarray) -> np.ndarray:
        kept = np.zeros((len(present), len(ELEMENTS)))
        shares = players.amounts / players.amounts.sum()
        kept[:, players.atomic_numbers - 1] = present * shares
        rest = 1 - kept.sum(axis=1)
        return (kept[:, None] + rest[:, None, None] * self.reference).reshape(-1, len(ELEMENTS))


class _Mask:
    """Absent tokens are hidden from the element encoder."""

    def __init__(self, model: Model) -> None:
        estimator = model.estimator
        reason = None
        if not isinstance(estimator, ImplicitKTRegressor | ImplicitKTClassifier):
            reason = f"{type(estimator).__name__} reads whole formulas"
        elif estimator.readouts_:
            names = ", ".join(map(repr, estimator.readouts_))
            reason = f"its readouts {names} see features of whole formulas"
        elif (kind := estimator.encoder_.spec["kind"]) != "composition":
            reason = f"its backbone is of kind {kind!r}"
        elif estimator.encoder_.n_conditions:
            reason = f"it reads the conditions {', '.join(estimator.condition_names_)}"
        if reason is not None:
            raise InputError(
                "baseline='mask' needs an ImplicitKTRegressor or ImplicitKTClassifier with "
                f"readout='head' on the element encoder, but {reason}; use baseline='drop'."
            )
        self.model = model

    def __call__(self, requests: Sequence[Coalitions]) -> list[np.ndarray]:
        from sklearn_kt.encoder.training import Inputs

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
            tokens, shares = element_inputs(whole).values()
            width = slice(1, len(order) + 1)
            ids[rows, 0], fractions[rows, 0] = CLS_ID, 1.0
            ids[rows, width] = np.where(coalitions.present[:, order], tokens[:, 1:], MASK_ID)
            fractions[rows, width] = np.where(coalitions.known[:, order], shares[:, 1:], -1.0)
            lengths[rows] = len(order) + 1
        inputs = Inputs({"input_ids": ids, "fractions": fractions}, lengths)
        outputs = self.model.estimator.network_outputs(inputs)
        return _split(self.model.select(outputs.reshape(n_rows, -1)), requests)


def _without(coalitions: Coalitions) -> CompositionBatch:
    """Take absent elements out; of the empty coalition an empty row is left."""
    players, present = coalitions.players, coalitions.present
    amounts = np.where(coalitions.known, players.amounts, 1.0)
    rows, columns = np.nonzero(present)
    offsets = np.concatenate(([0], np.cumsum(present.sum(axis=1))))
    return CompositionBatch(players.atomic_numbers[columns], amounts[rows, columns], offsets)


def _filled(coalitions: Coalitions, typical: Mapping[str, Any]) -> pd.DataFrame:
    """Give the conditions of coalitions: those that take part, and typical ones."""
    columns = {}
    for place, (name, value) in enumerate(coalitions.players.conditions.items()):
        given = coalitions.given[:, place]
        columns[name] = [value if part else typical[name] for part in given]
    return pd.DataFrame(columns)


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
