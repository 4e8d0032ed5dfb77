"""What ``evaluate`` and ``fit`` learn: formulas of a table, and its column of targets."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sklearn_kt._cells import (
    FORMULA_COLUMN,
    as_number,
    is_decimal_comma,
    is_empty,
    marks_missing,
    names_a_class,
    names_a_condition,
    unit_of_name,
)
from sklearn_kt._formula import SHOWN_ROWS
from sklearn_kt.exceptions import InputError

from .console import printable, tell
from .formulas import FormulaReader
from .options import BATCH_ROWS, listed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from sklearn_kt.evaluation.scores import TaskKind
    from sklearn_kt.tables import Table

__all__ = ["Problem", "table_problem", "target_names", "units_of", "with_conditions"]


@dataclass
class Problem:
    """What ``evaluate`` and ``fit`` learn from."""

    # formulas, or with conditions a table of both
    inputs: np.ndarray | pd.DataFrame
    # of several targets, one column each, NaN where a cell is empty
    target: np.ndarray
    task: TaskKind
    title: str
    target_names: list[str]
    units: list[str]
    # of the rows that are learned from
    elements: list[str]
    # of these, rows whose composition an earlier row has
    repeats: int
    # rows without a target that were left out
    n_dropped: int = 0
    # rows that are no compositions that were left out
    n_rejected: int = 0
    # conditions that are not numbers
    categories: Sequence[str] = ()
    # rows of weight 0, which are not learned from
    n_weightless: int = 0
    # how much each row counts, if a column says so
    weights: np.ndarray | None = None


@dataclass
class _Rows:
    """Cells of a table, as they were read."""

    formulas: list[Any]
    targets: dict[str, list[Any]]
    conditions: dict[str, list[Any]]
    weights: list[Any]
    places: list[str]

    def take(self, rows: Sequence[int]) -> _Rows:
        """Keep some rows."""

        def some(column: list[Any]) -> list[Any]:
            return [column[row] for row in rows] if column else []

        return _Rows(
            some(self.formulas),
            {name: some(column) for name, column in self.targets.items()},
            {name: some(column) for name, column in self.conditions.items()},
            some(self.weights),
            some(self.places),
        )


def table_problem(args: argparse.Namespace, source: str, n_samples: int | None = None) -> Problem:
    """Read formulas and targets of a whole table, and find out what to predict.

    Several targets are named with commas between them.
    """
    import numpy as np

    from sklearn_kt.compositions import ELEMENTS, composition_keys
    from sklearn_kt.tables import open_table

    if args.target is None:
        raise InputError("--target is needed: the column to predict.")
    conditions = args.conditions or []
    # of fit alone: errors are of rows that count alike
    weights_column = getattr(args, "weights", None)
    with open_table(source, BATCH_ROWS) as table:
        names = target_names(args.target, table)
        targets_at = {name: table.column(name) for name in names}
        weights_at = None if weights_column is None else table.column(weights_column)
        if weights_column in {*names, *conditions}:
            raise InputError(f"--weights: {weights_column!r} is a target or a condition.")
        reader = FormulaReader(table, args, names)
        if both := sorted({*names} & {*conditions}):
            raise InputError(f"--conditions: {both[0]!r} is the target.")
        for name in {reader.column, FORMULA_COLUMN} & {*conditions}:
            raise InputError(
                f"--conditions: {name!r} is the column of compositions; leave it out, or rename it."
            )
        conditions_at = {name: table.column(name) for name in conditions}
        rows = _Rows([], {name: [] for name in names}, {name: [] for name in conditions}, [], [])
        for batch in reader.batches:
            rows.formulas += reader.values(batch)
            for name, at in targets_at.items():
                rows.targets[name] += batch.values(at)
            for name, at in conditions_at.items():
                rows.conditions[name] += batch.values(at)
            if weights_at is not None:
                rows.weights += batch.values(weights_at)
            rows.places += map(batch.place, range(len(batch.table)))
    if not rows.formulas:
        raise InputError(f"{table.name} has a header but no rows.")
    used = {*reader.names, *names, *conditions, weights_column}
    _tell_unused([name for name in table.schema.names if name not in used], table.name)
    n_given = len(rows.formulas)
    rows.targets = {name: _without_marks(cells, args) for name, cells in rows.targets.items()}
    if args.missing == "drop":
        rows = _with_target(rows, table.name)
    n_dropped = n_given - len(rows.formulas)
    compositions = reader.read(
        rows.formulas, rows.places.__getitem__, "raise" if args.errors == "raise" else "nan"
    )
    n_rejected = int((~compositions.valid).sum())
    if n_rejected:
        kept = np.flatnonzero(compositions.valid).tolist()
        left = np.flatnonzero(~compositions.valid).tolist()
        found = [f"{rows.places[row]} ({rows.formulas[row]!r})" for row in left]
        _tell_dropped(found, len(rows.formulas), table.name, "that are no compositions")
        if not kept:
            raise InputError(f"{table.name} has no composition: there is nothing to learn.")
        compositions, rows = compositions[kept], rows.take(kept)
    rows.formulas = reader.formulas(rows.formulas, compositions)
    if n_samples is not None:
        if n_samples > len(rows.formulas):
            raise InputError(
                f"--n-samples {n_samples}: {table.name} has {len(rows.formulas)} rows."
            )
        rng = np.random.default_rng(args.random_state)
        drawn = np.sort(rng.choice(len(rows.formulas), n_samples, replace=False)).tolist()
        compositions, rows = compositions[drawn], rows.take(drawn)
    if len(names) > 1:
        task, target = _several_targets(rows.targets, rows.places, args, table.name)
    else:
        task, target = _targets(rows.targets[args.target], rows.places, args, table.name)
    weights = _weights(rows.weights, rows.places, args, table.name) if rows.weights else None
    units = units_of(names, args.unit)
    _warn_constant(target, names, table.name)
    inputs = with_conditions(
        rows.formulas,
        rows.conditions,
        lambda row: f"{table.name}, {rows.places[row]}",
        args.decimal,
    )
    # rows of weight 0 are not learned from
    learned = compositions if weights is None else compositions[weights > 0]
    return Problem(
        inputs,
        target,
        task,
        title=printable(table.name),
        target_names=names,
        units=units,
        elements=[ELEMENTS[number - 1] for number in sorted(set(learned.atomic_numbers))],
        repeats=len(learned) - len(set(composition_keys(learned).tolist())),
        n_dropped=n_dropped,
        n_rejected=n_rejected,
        categories=[name for name in conditions if inputs[name].dtype == object],
        n_weightless=len(compositions) - len(learned),
        weights=weights,
    )


def _tell_unused(columns: list[str], table: str) -> None:
    """Tell of columns that are not read, though models could learn from them."""
    if found := [name for name in columns if names_a_condition(name)]:
        what = "a condition" if len(found) == 1 else "conditions"
        tell(
            "not read",
            f"of {table}, {', '.join(map(repr, found))}: to learn from {what}, say --conditions"
            f" {','.join(found)}",
        )


def _warn_constant(target: np.ndarray, names: list[str], table: str) -> None:
    """Warn of targets of one value, which any model predicts without an error."""
    import pandas as pd

    for name, cells in zip(names, target.reshape(len(target), -1).T, strict=True):
        values = pd.unique(pd.Series(cells).dropna())
        if len(values) == 1:
            tell(
                "warning",
                f"all values of column {name!r} of {table} are {values[0]}: there is nothing to"
                " learn, and scores say nothing.",
            )


def _with_target(rows: _Rows, table: str) -> _Rows:
    """Leave out rows without any target, and say how many and which."""
    columns = rows.targets.values()
    empty = [all(map(is_empty, cells)) for cells in zip(*columns, strict=True)]
    kept = [row for row, is_dropped in enumerate(empty) if not is_dropped]
    dropped = [place for place, is_dropped in zip(rows.places, empty, strict=True) if is_dropped]
    names = ", ".join(rows.targets)
    if not kept:
        raise InputError(f"{table} has no row with {names}: there is nothing to learn.")
    if dropped:
        _tell_dropped(dropped, len(empty), table, f"without {names}")
    return rows.take(kept)


def _tell_dropped(dropped: Sequence[str], n_rows: int, table: str, why: str) -> None:
    more = ", ..." if len(dropped) > SHOWN_ROWS else ""
    tell(
        "dropped",
        f"{len(dropped):,} of {n_rows:,} rows of {table}, {why}:"
        f" {', '.join(dropped[:SHOWN_ROWS])}{more}",
    )


def _without_marks(cells: list[Any], args: argparse.Namespace) -> list[Any]:
    """Empty cells that say that there is no number; a class may be called like them."""
    if args.task == "classification":
        return cells
    numbers = (as_number(cell, args.decimal) for cell in cells)
    if not any(number is not None and math.isfinite(number) for number in numbers):
        return cells
    return [None if marks_missing(cell) else cell for cell in cells]


def target_names(given: str, table: Table) -> list[str]:
    """Read the names of targets: a column, or several with commas between them."""
    if given in table.schema.names:
        return [given]
    names = listed(given)
    if len(set(names)) < len(names):
        raise InputError(f"A column is named twice in --target {given}.")
    return names


def with_conditions(
    formulas: list[Any],
    conditions: Mapping[str, list[Any]],
    place: Callable[[int], str],
    decimal: str = ".",
) -> np.ndarray | pd.DataFrame:
    """Give formulas and columns of conditions the form that models read.

    A column whose values all are numbers, or empty, is one of numbers; one of which none is a
    number is one of categories.
    """
    import numpy as np
    import pandas as pd

    X = np.array(formulas, dtype=object)
    if not conditions:
        return X
    columns: dict[str, Any] = {FORMULA_COLUMN: X}
    for name, values in conditions.items():
        filled = [None if is_empty(value) else value for value in values]
        numbers = [np.nan if value is None else as_number(value, decimal) for value in filled]
        bad = [row for row, number in enumerate(numbers) if number is None]
        text = bool(bad)
        if text and len(bad) < sum(value is not None for value in filled):
            raise InputError(
                f"{place(bad[0])}: {filled[bad[0]]!r} in the column of conditions {name!r} is not a"
                f" number, as others of it are ({len(bad)} such rows of {len(values)}). Correct or"
                " empty such cells; names of categories must not be numbers."
            )
        columns[name] = pd.Series(filled if text else numbers, dtype=object if text else float)
    return pd.DataFrame(columns)


def _weights(
    values: list[Any], places: list[str], args: argparse.Namespace, name: str
) -> np.ndarray:
    """Turn a column of weights into numbers."""
    import numpy as np

    numbers = [as_number(value, args.decimal) for value in values]
    for value, number, place in zip(values, numbers, places, strict=True):
        if number is None or not 0 <= number < np.inf:
            raise InputError(
                f"{name}, {place}: {value!r} in column {args.weights!r} is no weight. Weights are "
                "finite numbers, and none is negative; 0 leaves a row out."
            )
    return np.array(numbers, dtype=np.float64)


def units_of(names: list[str], given: str | None) -> list[str]:
    """Give each target its unit."""
    if given is None:
        return [unit_of_name(name) for name in names]
    units = listed(given) if len(names) > 1 else [given]
    if len(units) != len(names):
        raise InputError(
            f"--unit {given!r} names {len(units)} units for {len(names)} targets: give each its"
            " own, with commas between them, such as 'uV/K,,W/(m K)'."
        )
    return units


def _several_targets(
    columns: dict[str, list[Any]], places: list[str], args: argparse.Namespace, table: str
) -> tuple[TaskKind, np.ndarray]:
    """Turn several target columns into numbers, NaN where a cell is empty."""
    import numpy as np

    if args.task == "classification":
        raise InputError("--target names several columns, which are numbers, not classes.")
    target = np.full((len(places), len(columns)), np.nan)
    for at, (name, values) in enumerate(columns.items()):
        rows = [row for row, value in enumerate(values) if not is_empty(value)]
        if not rows:
            raise InputError(f"Column {name!r} of {table} is empty in all rows: leave it out.")
        one = argparse.Namespace(target=name, task="regression", decimal=args.decimal)
        known = [values[row] for row in rows], [places[row] for row in rows]
        target[rows, at] = _targets(*known, one, table)[1]
    empty = np.flatnonzero(np.isnan(target).all(axis=1))
    if len(empty):
        raise InputError(
            f"{table}, {places[empty[0]]}: the columns {', '.join(columns)} are all empty"
            f" ({len(empty)} such rows). Say --missing drop."
        )
    return "regression", target


def _targets(
    values: list[Any], places: list[str], args: argparse.Namespace, name: str
) -> tuple[TaskKind, np.ndarray]:
    """Turn the target column into numbers or labels."""
    import numpy as np

    missing = [place for place, value in zip(places, values, strict=True) if is_empty(value)]
    if missing:
        raise InputError(
            f"{name}, {missing[0]}: column {args.target!r} is empty ({len(missing)} such rows)."
            " Correct them, or say --missing drop."
        )
    numbers = [as_number(value, args.decimal) for value in values]
    finite = {number for number in numbers if number is not None and np.isfinite(number)}
    task = args.task
    bad: list[int] = []
    if task == "auto":
        task = "regression" if finite else "classification"
        if len(finite) == 2 and finite == set(numbers):
            raise InputError(
                f"Column {args.target!r} of {name} holds two different numbers only: say --task"
                " classification or --task regression."
            )
        if task == "classification":
            bad = [row for row, value in enumerate(values) if not names_a_class(value)]
            distinct = len(set(map(str, values)))
            if not bad and distinct > max(2, len(values) / 2):
                raise InputError(
                    f"Column {args.target!r} of {name} holds {distinct} different texts in"
                    f" {len(values)} rows, such as {values[0]!r}. If they are numbers, correct"
                    " them; if they are class labels, say --task classification."
                )
    if task == "regression":
        bad = [
            row for row, number in enumerate(numbers) if number is None or not np.isfinite(number)
        ]
    if bad:
        value = values[bad[0]]
        count = f" ({len(bad)} such rows of {len(values)})" if len(bad) > 1 else ""
        decimal = (
            " for a decimal comma say --decimal ,;"
            if args.decimal == "." and all(is_decimal_comma(values[row]) for row in bad)
            else ""
        )
        raise InputError(
            f"{name}, {places[bad[0]]}: {value!r} in column {args.target!r} is not a finite"
            f" number{count}. Correct or drop such rows;{decimal} for class labels say --task"
            " classification."
        )
    if task == "classification":
        return task, np.array([str(value) for value in values], dtype=object)
    return task, np.array(numbers, dtype=np.float64)
