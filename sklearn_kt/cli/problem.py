"""What ``evaluate`` and ``fit`` learn: formulas of a table, and its column of targets."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sklearn_kt._cells import as_number, is_decimal_comma, names_a_class
from sklearn_kt.exceptions import InputError

from .console import printable
from .formulas import FormulaReader
from .options import BATCH_ROWS, FORMULA_COLUMN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from sklearn_kt.evaluation.scores import TaskKind

__all__ = ["Problem", "table_problem", "with_conditions"]


@dataclass
class Problem:
    """What ``evaluate`` and ``fit`` learn from."""

    # formulas, or with conditions a table of both
    inputs: np.ndarray | pd.DataFrame
    target: np.ndarray
    task: TaskKind
    title: str
    target_name: str
    unit: str
    elements: list[str]
    repeats: int
    """Rows whose composition an earlier row has."""


def table_problem(args: argparse.Namespace, source: str, n_samples: int | None) -> Problem:
    """Read formulas and targets of a whole table, and find out what to predict."""
    import numpy as np

    from sklearn_kt.compositions import ELEMENTS, composition_keys
    from sklearn_kt.tables import open_table

    if args.target is None:
        raise InputError("--target is needed: the column to predict.")
    formulas: list[Any] = []
    conditions: dict[str, list[Any]] = {name: [] for name in args.conditions or ()}
    values: list[Any] = []
    places: list[str] = []
    with open_table(source, BATCH_ROWS) as table:
        target_at = table.column(args.target)
        reader = FormulaReader(table, args, args.target)
        if args.target in conditions:
            raise InputError(f"--conditions: {args.target!r} is the target.")
        conditions_at = {name: table.column(name) for name in conditions}
        for batch in reader.batches:
            formulas += reader.values(batch)
            values += batch.values(target_at)
            for name, at in conditions_at.items():
                conditions[name] += batch.values(at)
            places += map(batch.place, range(len(batch.table)))
    if not formulas:
        raise InputError(f"{table.name} has a header but no rows.")
    compositions = reader.read(formulas, places.__getitem__)
    formulas = reader.formulas(formulas, compositions)
    if n_samples is not None:
        if n_samples > len(formulas):
            raise InputError(f"--n-samples {n_samples}: {table.name} has {len(formulas)} rows.")
        rng = np.random.default_rng(args.random_state)
        rows = np.sort(rng.choice(len(formulas), n_samples, replace=False)).tolist()
        compositions = compositions[rows]
        formulas = [formulas[row] for row in rows]
        values = [values[row] for row in rows]
        conditions = {name: [column[row] for row in rows] for name, column in conditions.items()}
        places = [places[row] for row in rows]
    task, target = _targets(values, places, args, table.name)
    return Problem(
        with_conditions(formulas, conditions, args.decimal),
        target,
        task,
        title=printable(table.name),
        target_name=args.target,
        unit=_unit(args.target) if args.unit is None else args.unit,
        elements=[ELEMENTS[number - 1] for number in sorted(set(compositions.atomic_numbers))],
        repeats=len(formulas) - len(set(composition_keys(compositions).tolist())),
    )


def with_conditions(
    formulas: list[Any], conditions: Mapping[str, list[Any]], decimal: str = "."
) -> np.ndarray | pd.DataFrame:
    """Give formulas and columns of conditions the form that models read.

    A column whose values all are numbers, or empty, is one of numbers.
    """
    import numpy as np
    import pandas as pd

    X = np.array(formulas, dtype=object)
    if not conditions:
        return X
    columns: dict[str, Any] = {FORMULA_COLUMN: X}
    for name, values in conditions.items():
        filled = [None if _is_empty(value) else value for value in values]
        numbers = [np.nan if value is None else as_number(value, decimal) for value in filled]
        text = None in numbers
        columns[name] = pd.Series(filled if text else numbers, dtype=object if text else float)
    return pd.DataFrame(columns)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _unit(column: str) -> str:
    """Read the unit from the name of a column: what stands in brackets at its end."""
    found = re.search(r"[\[(]([^\[\]()]+)[\])]\s*$", column)
    return found.group(1).strip() if found else ""


def _targets(
    values: list[Any], places: list[str], args: argparse.Namespace, name: str
) -> tuple[TaskKind, np.ndarray]:
    """Turn the target column into numbers or labels."""
    import numpy as np

    missing = [place for place, value in zip(places, values, strict=True) if _is_empty(value)]
    if missing:
        raise InputError(
            f"{name}, {missing[0]}: column {args.target!r} is empty ({len(missing)} such rows)."
            " Correct or drop them."
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
