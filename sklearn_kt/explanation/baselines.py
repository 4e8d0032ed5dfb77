"""What a coalition of elements is worth, by what it means to be absent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt.compositions import ELEMENTS, CompositionBatch, read_compositions
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


def read_background(background: Any, baseline: str) -> CompositionBatch | None:
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
    reference = read_compositions(background)
    if len(reference) == 0:
        raise InputError("background is empty: at least one composition is needed.")
    return reference


def worth_of(baseline: str, model: Model, reference: CompositionBatch | None) -> Worth:
    """Choose what it means to be absent."""
    if baseline == "mask":
        return _Mask(model)
    if baseline == "background":
        assert reference is not None
        return _Background(model, reference)
    return _Drop(model, reference)


class _Drop:
    """Absent elements are taken out."""

    def __init__(self, model: Model, reference: CompositionBatch | None) -> None:
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

    def __init__(self, model: Model, reference: CompositionBatch) -> None:
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
            step = max(1, CHUNK // len(self.reference))
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
