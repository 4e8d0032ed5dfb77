"""What is done with each task of a screening: predictions, filter, rank, and its part."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sklearn_kt.compositions import CompositionBatch, read_rows
from sklearn_kt.estimators.base import UnseenElements, reads_compositions, told_once
from sklearn_kt.estimators.readouts import decide
from sklearn_kt.exceptions import CompositionError, InputError, SklearnKTError, reason_of
from sklearn_kt.properties import PropertyHeads
from sklearn_kt.tables import CompositionColumns, did_you_mean

from .conditions import Conditions, conditions_checked
from .expressions import unknown_column
from .sources import Task

if TYPE_CHECKING:
    from pyarrow.compute import Expression

__all__ = [
    "COUNTS",
    "ELEMENT_COUNTS",
    "KEY",
    "KEY_TYPE",
    "Plan",
    "added_columns",
    "best_rows",
    "check_plan",
    "output_schema",
    "predictions",
    "row_keys",
    "write_part",
]

#: Counts of a part, and their names in those of all.
COUNTS = {
    "rows": "n_rows",
    "rejected": "n_rejected",
    "predicted": "n_predicted",
    "unseen": "n_unseen",
    "unpretrained": "n_unpretrained",
}
#: Rows of a part that hold each element that no training row, or no formula of pretraining, had.
ELEMENT_COUNTS = ("unseen_elements", "unpretrained_elements")
#: Column of each row's composition, while duplicates are looked for.
KEY = "__sklearn_kt_key"
KEY_TYPE = pa.binary(16)


@dataclass(frozen=True)
class Plan:
    """What is done with each task."""

    formula_column: str
    amounts: str | None
    compositions: CompositionColumns
    return_std: bool
    properties: tuple[str, ...]
    where: Expression | None
    compared: tuple[str, ...]
    """Columns of the filter, as far as it is text."""
    top_k: int | None
    sort_by: str
    ascending: bool
    deduplicate: bool
    errors: str
    conditions: Conditions | None
    targets: tuple[str, ...]
    elements: tuple[str, ...] | None
    """Of the training table, as far as the model remembers."""
    batch_rows: int
    format: str
    """Of the output, by the ending of its name."""
    schema: pa.Schema
    """Of the output, without keys."""


def output_schema(source: pa.Schema, probe: dict[str, pa.Array]) -> pa.Schema:
    """Columns of the source, and those that the model adds."""
    clash = sorted(set(source.names) & {*probe, KEY})
    if clash:
        raise InputError(f"The source has a column {clash[0]!r}: rename it, or leave it out.")
    added = [pa.field(name, column.type) for name, column in probe.items()]
    return pa.schema([*(field.remove_metadata() for field in source), *added])


def check_plan(plan: Plan) -> None:
    """Try filter and rank on no rows: better to learn before a long run."""
    empty = plan.schema.empty_table()
    names = ", ".join(plan.schema.names)
    for name in plan.compared:
        if name not in plan.schema.names:
            raise InputError(f"where: {unknown_column(name, plan.schema.names)}")
    if plan.where is not None:
        try:
            empty.filter(plan.where)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InputError(
                f"where={plan.where} cannot be applied to the columns {names}:"
                f" {reason_of(error)}. Of a text file, columns that it compares with numbers are"
                " read as such where it is text; for an expression of pyarrow name them in numbers."
            ) from error
    if plan.top_k is not None:
        if plan.sort_by not in plan.schema.names:
            near = did_you_mean(plan.sort_by, plan.schema.names)
            raise InputError(f"sort_by={plan.sort_by!r} is none of the columns {names}.{near}")
        if pa.types.is_string(plan.schema.field(plan.sort_by).type):
            known = ", ".join(
                field.name for field in plan.schema if pa.types.is_floating(field.type)
            )
            raise InputError(
                f"sort_by={plan.sort_by!r} is a column of text, which does not rank: name one of"
                f" numbers by sort_by (--sort-by), such as {known or 'a probability'}."
            )


def added_columns(
    estimator: Any,
    batch: CompositionBatch,
    formulas: np.ndarray,
    return_std: bool,
    properties: tuple[str, ...],
    conditions: Conditions | None = None,
    rows: pa.Table | None = None,
    *,
    targets: Sequence[str] = (),
    lowest: bool = False,
) -> dict[str, pa.Array]:
    """Predict by the estimator and, in their units, the computed properties of the package."""
    found = predictions(
        estimator, batch, formulas, return_std, conditions, rows, targets=targets, lowest=lowest
    )
    if properties:
        heads = PropertyHeads.load(properties)
        if clash := sorted(found.keys() & heads.heads.keys()):
            raise InputError(f"The model and the properties both give a column {clash[0]!r}.")
        columns = heads.predict(batch)
        found |= {name: pa.array(values, pa.float64()) for name, values in columns.items()}
    return found


def predictions(
    estimator: Any,
    batch: CompositionBatch,
    formulas: np.ndarray,
    return_std: bool,
    conditions: Conditions | None = None,
    rows: pa.Table | None = None,
    *,
    targets: Sequence[str] = (),
    coverage: float | None = None,
    lowest: bool = False,
) -> dict[str, pa.Array]:
    """Predict, as columns of a table.

    ``prediction``, then ``prediction_std``, the bounds of intervals ``prediction_low`` and
    ``prediction_high``, or ``probability_<class>``; of each target ``prediction_<target>`` and so
    on, by its name or, of several without names, its number. Estimators that are not ours get the
    formulas.

    Conditions of the model are columns of `rows` (typical ones without), which
    :meth:`Conditions.check` has seen, or given; of several
    values that are given the one with the highest, or lowest, prediction counts. Those given are
    columns of the result. Of elements that the model has not seen, who counts the rows tells.
    """
    X: Any = batch if reads_compositions(estimator) else formulas
    n_tried = 1
    if conditions is not None:
        X, n_tried = conditions.table(formulas, rows), len(conditions.grid)
    given = {} if conditions is None else conditions.grid.to_dict("list")
    asked: dict[str, Any] = {"return_std": True} if return_std else {}
    asked |= {} if coverage is None else {"coverage": coverage}
    if n_tried > 1 and hasattr(estimator, "classes_"):
        raise InputError(
            "Several values of a condition need a model of numbers, as the highest or lowest "
            "counts; of classes give one value, or a column of the source."
        )
    try:
        with conditions_checked(), told_once():
            if hasattr(estimator, "classes_"):
                classes = _class_predictions(estimator, X, targets)
                return _joined(classes, _chosen(given, np.zeros(len(batch), int)))
            outputs = estimator.predict(X, **asked)
    except SklearnKTError:
        raise
    # a model from elsewhere, perhaps fitted on something else than formulas
    except (AttributeError, TypeError, ValueError) as error:
        std = " with return_std=True (return_std=False, or --no-std, goes without)" * return_std
        raise InputError(f"The model cannot predict from formulas{std}: {error}") from error
    outputs = list(outputs) if asked else [outputs]
    stems = ["prediction", *["prediction_std"] * return_std]
    if coverage is not None:
        bounds = outputs.pop()
        outputs += [bounds[..., 0], bounds[..., 1]]
        stems += ["prediction_low", "prediction_high"]
    chosen = np.zeros(len(batch), dtype=int)
    if n_tried > 1:
        tried = np.asarray(outputs[0], dtype=np.float64)
        if tried.ndim > 1:
            raise InputError(
                "Several values of a condition need a model of one target, as the highest or "
                "lowest counts; give one value, or a column of the source."
            )
        tried = tried.reshape(len(batch), n_tried)
        chosen = tried.argmin(axis=1) if lowest else tried.argmax(axis=1)
    best = np.arange(len(batch)) * n_tried + chosen
    found: dict[str, pa.Array] = {}
    for stem, values in zip(stems, outputs, strict=True):
        columns = np.asarray(values, dtype=np.float64)[best].reshape(len(batch), -1)
        names = _named(stem, columns.shape[1], targets)
        arrays = [pa.array(column, pa.float64()) for column in columns.T]
        found = _joined(found, dict(zip(names, arrays, strict=True)))
    return _joined(found, _chosen(given, chosen))


def _named(stem: str, count: int, targets: Sequence[str]) -> list[str]:
    """Name the columns of the targets."""
    if len(targets) == 1 < count:
        # one name for all, by who saved the model
        targets = [f"{targets[0]}_{number}" for number in range(count)]
    if targets and len(targets) != count:
        raise InputError(
            f"The model predicts {count} targets, and {len(targets)} are named: "
            f"{', '.join(targets)}."
        )
    if not targets and count == 1:
        return [stem]
    return [f"{stem}_{name}" for name in targets or range(count)]


def _joined(found: dict[str, pa.Array], more: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Put columns beside others."""
    if clash := sorted(found.keys() & more.keys()):
        raise InputError(
            f"Two columns would be called {clash[0]!r}: rename the target or the condition."
        )
    return found | more


def _chosen(given: Mapping[str, list], rows: np.ndarray) -> dict[str, pa.Array]:
    """Give the conditions of the rows of a grid."""
    return {name: pa.array(values).take(pa.array(rows)) for name, values in given.items()}


def _class_predictions(estimator: Any, X: Any, targets: Sequence[str]) -> dict[str, pa.Array]:
    """Labels as the model decides, which need not be the most probable, and probabilities."""
    labels, probabilities = decide(estimator, X)
    if labels.ndim > 1:
        raise InputError("The model predicts several columns of classes; one can be written.")
    [name] = _named("prediction", 1, targets)
    found = {name: pa.array(labels.tolist())}
    if probabilities is None:
        return found
    names = [f"probability_{label}" for label in estimator.classes_]
    arrays = [pa.array(column, pa.float64()) for column in probabilities.T]
    return _joined(found, dict(zip(names, arrays, strict=True)))


def write_part(
    task: Task,
    plan: Plan,
    estimator: Any,
    path: Path,
    on_rows: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Run a task, write its part with keys of compositions, and count its rows."""
    counts: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    unseen = {"unseen": UnseenElements(plan.elements)}
    unseen["unpretrained"] = (
        PropertyHeads.load(plan.properties).unseen_elements()
        if plan.properties
        else UnseenElements(None)
    )
    schema = plan.schema.append(pa.field(KEY, KEY_TYPE))
    best = schema.empty_table()
    with pq.ParquetWriter(path, schema) as writer:
        for table in task.tables(plan.batch_rows):
            out = _screened(table, task, plan, estimator, counts, unseen.values()).cast(schema)
            if plan.where is not None:
                out = _filtered(out, plan.where, task, counts["rows"] - len(table))
            if plan.top_k is None:
                writer.write_table(out)
            else:
                best = best_rows(pa.concat_tables([best, out]), plan)
            if on_rows is not None:
                on_rows(len(table))
        if plan.top_k is not None:
            writer.write_table(best)
    for name, counted in unseen.items():
        counts |= {name: counted.n_unseen, f"{name}_elements": dict(counted.elements)}
    return counts


def _filtered(table: pa.Table, where: Expression, task: Task, done: int) -> pa.Table:
    """Keep the rows for which a filter is true."""

    def fails(rows: int) -> bool:
        try:
            table.slice(0, rows).filter(where)
        except pa.ArrowInvalid:
            return True
        return False

    try:
        return table.filter(where)
    # an overflow; of an expression that is no text of ours also a division by zero
    except pa.ArrowInvalid as error:
        row = done + bisect_left(range(1, len(table) + 1), True, key=fails)
        raise InputError(
            f"{task.place_of(row)}: where={where} cannot be computed ({error}). Compute with"
            " decimals (2.0 rather than 2), or leave such rows out of the source."
        ) from error


def _screened(
    table: pa.Table,
    task: Task,
    plan: Plan,
    estimator: Any,
    counts: dict[str, int],
    unseen: Iterable[UnseenElements],
) -> pa.Table:
    """Add predictions and keys to a table."""
    given = plan.compositions.values(table)
    done = counts["rows"]
    batch = _read(given, plan, task, done)
    # in atoms what was read as something else
    formulas = np.array(given if plan.amounts is None else batch.formulas(), dtype=object)
    for counted in unseen:
        counted.add(batch)
    valid = np.flatnonzero(batch.valid)
    keys = row_keys(batch[valid])
    if plan.conditions is not None:
        plan.conditions.check(table, lambda row: task.place_of(done + row))
    if plan.conditions is not None and plan.conditions.columns:
        # rows that differ in a condition are no copies
        keys = _with_conditions(keys, table.select(plan.conditions.columns).take(valid))
    distinct, chosen, copies = np.unique(keys, return_index=True, return_inverse=True)
    counts["rows"] += len(table)
    counts["rejected"] += len(table) - len(valid)
    counts["predicted"] += len(distinct)
    # position of each row's prediction; rows without one are null
    at = np.full(len(table), -1)
    at[valid] = copies
    positions = pa.array(at, mask=at < 0)
    rows = valid[chosen]
    found = (
        added_columns(
            estimator,
            batch[rows],
            formulas[rows],
            plan.return_std,
            plan.properties,
            plan.conditions,
            table.take(rows),
            targets=plan.targets,
            lowest=plan.ascending,
        )
        if len(rows)
        else {
            name: plan.schema.field(name).type
            for name in plan.schema.names
            if name not in table.column_names
        }
    )
    for name, column in found.items():
        values = pa.nulls(len(table), column) if isinstance(column, pa.DataType) else column
        table = table.append_column(name, values if not len(rows) else values.take(positions))
    key = pa.FixedSizeBinaryArray.from_buffers(
        KEY_TYPE, len(distinct), [None, pa.py_buffer(distinct.tobytes())]
    )
    return table.append_column(KEY, key.take(positions))


def _read(given: list[Any], plan: Plan, task: Task, done: int) -> CompositionBatch:
    batch, findings = read_rows(given, amounts=plan.amounts or "atomic")
    if findings.rejected and plan.errors == "raise":
        row, value, reason = findings.rejected[0]
        raise CompositionError(
            f"{findings.rejection(lambda row: task.place_of(done + row))} errors='nan' (--errors"
            " nan) leaves their predictions empty.",
            row=task.first_row + done + row,
            value=value,
            reason=reason,
        )
    findings.warn(lambda row: task.place_of(done + row))
    return batch


def row_keys(batch: CompositionBatch) -> np.ndarray:
    """Hash each row's set of elements and reduced amounts; void of 16 bytes, shape (n_rows,)."""
    keys = np.zeros((len(batch), 2), dtype=np.uint64)
    if len(batch):
        # up to 3,000 atoms, or fractions to eight decimals: whole numbers below 2**40
        amounts = np.round(batch.reduced().amounts * 1e8).astype(np.uint64)
        codes = (batch.atomic_numbers.astype(np.uint64) << np.uint64(40)) | amounts
        for half, salt in enumerate((0, 0x9E3779B97F4A7C15)):
            hashed = pd.util.hash_array(codes ^ np.uint64(salt))
            # a sum does not know the order in which elements were written
            keys[:, half] = np.add.reduceat(hashed, batch.offsets[:-1])
    return keys.view("V16").ravel()


def _with_conditions(keys: np.ndarray, conditions: pa.Table) -> np.ndarray:
    hashed = pd.util.hash_pandas_object(conditions.to_pandas().astype(str), index=False)
    mixed = keys.view(np.uint64).reshape(-1, 2) ^ hashed.to_numpy()[:, None]
    return mixed.view("V16").ravel()


def best_rows(table: pa.Table, plan: Plan) -> pa.Table:
    """Keep the first rows by rank, of equal ones the surest, then the first read."""
    import pyarrow.compute as pc

    assert plan.top_k is not None
    table = table.filter(pc.is_valid(table[plan.sort_by]))
    keys = [(plan.sort_by, "ascending" if plan.ascending else "descending")]
    uncertainty = plan.sort_by.replace("prediction", "prediction_std", 1)
    if uncertainty != plan.sort_by and uncertainty in table.column_names:
        keys.append((uncertainty, "ascending"))
    table = table.take(pc.sort_indices(table, sort_keys=keys))
    if plan.deduplicate:
        compositions = pd.Series(table[KEY].to_pylist(), dtype=object)
        table = table.filter(pa.array(~compositions.duplicated().to_numpy()))
    return table.slice(0, plan.top_k)
