"""What results owe to what pretraining knows: of the quantity asked for, and of the formulas."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.models import MODELS

from .contents import (
    BENCHMARKS,
    FAST,
    MAIN,
    Row,
    audit_of,
    compare,
    known_part,
    leading,
    mean_reduction,
    new_rows,
    ran_everywhere,
)
from .tables import FEW, figure, folded, percent, table

# part of the test rows from which on pretraining is said to know the quantity of a table
KNOWN = 0.2
KNOWN_SAID = "a fifth"
# tables that make a mean
_LEAST_TABLES = 5


def by_knowledge(content: Mapping[str, Any], main: str) -> tuple[list[Row], list[Row]]:
    """Split the tables by whether the pool knows their quantity for more than a fifth of rows."""
    rows = [row for row in compare(content, main=main) if row.score == "mae"]
    known = [row for row in rows if known_part(content, row.task) > KNOWN]
    return known, [row for row in rows if row not in known]


def mean_ratio(rows: Sequence[Row]) -> float:
    """Average our error over the best peer's."""
    return 1 - mean_reduction(rows)


def over_scratch(content: Mapping[str, Any], model: str, *, new: bool) -> list[float]:
    """Give a model's error over that of the same without pretraining, table by table.

    Tables have :data:`~benchmarks.site.tables.FEW` rows whose formula pretraining has not seen;
    with ``new`` errors are those on these rows, or else on all.
    """
    scratch = MODELS[model].scratch
    found = []
    for row in compare(content, "summary_unseen" if new else "summary", model):
        enough = new_rows(content, row.task)[0] >= FEW
        if scratch in row.errors and row.score == "mae" and enough:
            found.append(row.errors[model] / row.errors[scratch])
    return found


def worth(content: Mapping[str, Any], model: str) -> list[list[float]]:
    """Give the ratios on all rows and on new ones, or nothing if there are too few for means."""
    ratios = [over_scratch(content, model, new=new) for new in (False, True)]
    return ratios if min(map(len, ratios)) >= _LEAST_TABLES else []


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Give the mean and its standard error."""
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))


def spread(values: Sequence[float]) -> str:
    """Spell a mean of ratios with its standard error."""
    mean, error = mean_and_error(values)
    return f"{mean:.3f} ± {error:.3f}"


def knowledge_lines(contents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Write both splits: by quantity, and by formula."""
    rows = []
    for name, content in contents.items():
        for model in (m for m in (MAIN, FAST) if m in ran_everywhere(content)):
            parts = by_knowledge(content, model)
            if min(map(len, parts)) >= _LEAST_TABLES:
                cells = [f"{figure(mean_ratio(part))} ({len(part)})" for part in parts]
                rows.append([BENCHMARKS[name], f"`{model}`", *cells])
    if rows:
        yield "## Where pretraining knows the quantity\n"
        yield (
            "Error over that of the best peer: means over the tables, their number in brackets. "
            f"Of the first, pretraining knows the same quantity for more than {KNOWN_SAID} of the "
            "test rows, from other calculations; of a measured one it knows the calculated.\n"
        )
        head = ["benchmark", "model", "quantity known", "not known, or of fewer rows"]
        yield table(head, rows)
    compared = []
    for name, content in contents.items():
        for model in (MAIN, FAST):
            if ratios := worth(content, model):
                cells = [str(len(ratios[1])), *map(spread, ratios)]
                compared.append([BENCHMARKS[name], f"`{model}`", *cells])
    if compared:
        yield "## What pretraining is worth for formulas that it has not seen\n"
        yield (
            "Error over that of the same model without pretraining: means over the tables with "
            f"{FEW} or more such test rows, with standard errors. **Transfer helps mostly with "
            "formulas that pretraining knows**: with new ones the model without pretraining is "
            "nearly as good. Where ours is ahead of other models on them, transfer has little "
            "part in it.\n"
        )
        yield table(["benchmark", "model", "tables", "all test rows", "new formulas"], compared)


def readme_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """Write the same near README's table."""
    known, others = by_knowledge(content, leading(content))
    if min(len(known), len(others)) >= _LEAST_TABLES:
        models = [m for m in (MAIN, FAST) if m in ran_everywhere(content)]
        parts = [by_knowledge(content, model) for model in models]
        said = [
            f"`{model}` {figure(mean_ratio(first))} and {figure(mean_ratio(second))}"
            for model, (first, second) in zip(models, parts, strict=True)
        ]
        yield (
            f"Mean ratio on the {len(known)} tables whose quantity pretraining knows for more than "
            f"{KNOWN_SAID} of the test rows, and on the {len(others)} others: {'; '.join(said)}."
        )
    for model in (MAIN, FAST):
        if ratios := worth(content, model):
            yield (
                f"`{model}` over the same model without pretraining: {spread(ratios[0])} on all "
                f"test rows, {spread(ratios[1])} on formulas new to pretraining "
                f"({len(ratios[1])} tables)."
            )


def audit_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """Write of which test rows the pool knows the quantity, and which are in training too."""
    rows = []
    for task in content["tasks"]:
        found = audit_of(content, task)
        known = found.get("test_rows_with_quantity_in_pool")
        rows.append(
            [
                task,
                f"{found['test_rows']:,}",
                f"{found['test_rows_in_pool']:,}",
                found.get("quantity") or "-",
                "-" if known is None else f"{known:,} ({percent(known_part(content, task))})",
                f"{found['test_rows_in_train']:,}",
            ]
        )
    head = [
        "task",
        "test rows",
        "formula known to pretraining",
        "quantity asked for",
        "known of that quantity",
        "composition also in training",
    ]
    yield folded("What pretraining, and the training part, know of test rows", table(head, rows))
