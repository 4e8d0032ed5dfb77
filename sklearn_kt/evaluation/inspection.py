"""A look at a table before anything is fitted to it.

:func:`inspect_table` counts what a fit would stumble over or learn nothing from: rows that are no
compositions, repeats whose targets disagree, elements with few rows, a target that is skewed or
mostly one number, and what pretraining has seen. It changes nothing and recommends nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sklearn_kt._cells import (
    aligned,
    as_number,
    is_empty,
    marks_missing,
    names_a_class,
    names_a_condition,
    unit_of_name,
    with_unit,
)
from sklearn_kt._formula import shorten
from sklearn_kt.compositions import ELEMENTS, composition_keys, read_rows
from sklearn_kt.conditions import composition_column as find_composition_column
from sklearn_kt.encoder.pool import POOL_FILE, find_keys, pool_keys
from sklearn_kt.exceptions import InputError
from sklearn_kt.plotting import plot_periodic_table
from sklearn_kt.plotting._style import COLOURS, embedded, plain_text
from sklearn_kt.tables import only_column

from .page import write_page
from .runner import library_versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sklearn_kt.compositions import CompositionBatch

__all__ = ["TableInspection", "inspect_table"]

_TEMPLATE = "inspection.html"
# rows below which little can be learned of an element
_FEW_ROWS = 5
# share of the values from which one number is a part of the target by itself
_SPIKE = 0.05
# share of the rows from which repeats tell conditions from other columns
_REPEATED = 0.1
# interquartile ranges from the quartiles, and values needed for these (Tukey's far outliers)
_FAR, _MIN_VALUES = 3.0, 10
# rows of a list in text, and on a page
_SHOWN, _SHOWN_ON_PAGE = 5, 30
_BINS = 40


def inspect_table(
    table: Any,
    target: str | Sequence[str] | None = None,
    *,
    composition_column: str | None = None,
    conditions: Sequence[str] = (),
    units: Sequence[str] | None = None,
    task: str = "auto",
    amounts: str = "atomic",
    decimal: str = ".",
    checkpoint: str | Path | None = "default",
    name: str = "table",
) -> TableInspection:
    """Look at a table of compositions, and its targets, before a fit.

    Parameters
    ----------
    table : DataFrame
        Of pandas or polars, or a table of pyarrow, with a column of compositions. Cells may be
        text, as from a file that was read without guesses. Rows are named by the index.
    target : str, sequence of str or None, default=None
        Column to predict, or several.
    composition_column : str or None, default=None
        Column of compositions; None finds it, as
        :func:`~sklearn_kt.conditions.composition_column` does.
    conditions : sequence of str, default=()
        Columns beside the composition that a model is to see: rows repeat each other only if these
        are equal, too.
    units : sequence of str or None, default=None
        Unit of each target; None takes what stands in brackets at the end of its name.
    task : {"auto", "regression", "classification"}, default="auto"
        What targets are; ``"auto"`` takes them for numbers where any of theirs is one.
    amounts : {"atomic", "weight"}, default="atomic"
        What amounts count, as of :func:`~sklearn_kt.read_compositions`.
    decimal : {".", ","}, default="."
        Mark before the decimals of numbers that are text.
    checkpoint : str, Path or None, default="default"
        Whose pretraining may have seen the compositions; None does not ask.
    name : str, default="table"
        What the table is called.

    Returns
    -------
    inspection : TableInspection
        What was found; it prints as text.

    Raises
    ------
    InputError
        If the table has no rows, lacks a column or has it twice, or has no one column of
        compositions; or if it is not known what the checkpoint has seen.

    See Also
    --------
    audit_tasks : What test rows share with training rows and pretraining.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.evaluation import inspect_table
    >>> table = pd.DataFrame(
    ...     {"formula": ["ZnO", "Zn2O2", "GaAs", "water"], "gap (eV)": [3.4, 3.1, 1.4, 7.0]}
    ... )
    >>> found = inspect_table(table, "gap (eV)")
    >>> found.n_rows, found.n_compositions, found.n_seen
    (4, 2, 3)
    >>> found.conflicts[["composition", "values"]].loc[0].tolist()
    ['ZnO', '3.1 to 3.4']
    >>> found.rejected["reason"].tolist()
    ["element symbols begin with a capital letter, for example 'Fe2O3'"]
    """
    if amounts not in ("atomic", "weight"):
        raise InputError(f"amounts must be 'atomic' or 'weight', got {amounts!r}.")
    if task not in ("auto", "regression", "classification"):
        raise InputError(f"task must be 'auto', 'regression' or 'classification', got {task!r}.")
    frame = table.to_pandas() if hasattr(table, "to_pandas") else table
    if not isinstance(frame, pd.DataFrame):
        raise InputError(
            f"a table is needed, as a DataFrame of pandas or polars, got {type(table).__name__}."
        )
    if not len(frame):
        raise InputError(f"{name} has no rows.")
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    targets = [target] if isinstance(target, str) else [*(target or ())]
    given = [] if composition_column is None else [composition_column]
    schema = pa.schema([(column, pa.null()) for column in frame.columns])
    for column in (*targets, *conditions, *given, *frame.columns):
        only_column(schema, column, name)
    named = [*targets, *conditions, *given]
    if repeated := [column for column in named if named.count(column) > 1]:
        raise InputError(
            f"{repeated[0]!r} is named twice among targets, conditions and the column of"
            " compositions."
        )
    if units is not None and len(units) != len(targets):
        raise InputError(f"units must be one for each of {len(targets)} targets, got {units!r}.")
    beside = frame.drop(columns=[*targets, *conditions])
    compositions = find_composition_column(beside, composition_column)

    batch, findings = read_rows(frame[compositions].tolist(), amounts=amounts)
    places = [label if isinstance(label, str) else f"row {label}" for label in frame.index]
    valid = np.flatnonzero(batch.valid)
    batch, rows = batch[valid], frame.iloc[valid]
    keys = composition_keys(batch)
    read = [
        _read_target(column, unit, frame[column], places, task, decimal)
        for column, unit in zip(
            targets, units or [unit_of_name(column) for column in targets], strict=True
        )
    ]
    same = pd.DataFrame({"composition": keys})
    for condition in conditions:
        same[condition] = _normalised(rows[condition], decimal)
    groups = same.groupby(list(same), sort=False, dropna=False).ngroup().to_numpy()
    return TableInspection(
        name=name,
        n_rows=len(frame),
        n_compositions=len(np.unique(keys)),
        n_seen=_seen(batch, checkpoint),
        conditions=list(conditions),
        rejected=pd.DataFrame(
            [(places[row], value, reason) for row, value, reason in findings.rejected],
            columns=["row", "value", "reason"],
        ),
        doubts=list(findings.doubts(places.__getitem__)),
        repeats=_repeats(batch, groups, same[list(conditions)]),
        conflicts=_conflicts(batch, groups, same[list(conditions)], valid, read),
        elements=_elements(batch),
        targets=read,
        columns=_columns(rows.drop(columns=[compositions, *targets]), keys, conditions, decimal),
    )


@dataclass(frozen=True, eq=False)
class TargetColumn:
    """A column of targets.

    Parameters
    ----------
    name, unit : str
        Of the column.
    task : {"regression", "classification"}
        What its values are.
    known : Series
        Values that can be read, numbers or labels, by the position of the row.
    places : list of str
        Name of each row of the table.
    n_empty : int
        Cells without a value.
    spoiled : DataFrame
        ``row`` and ``value`` of cells that hold neither.
    """

    name: str
    unit: str
    task: str
    known: pd.Series
    places: list[str]
    n_empty: int
    spoiled: pd.DataFrame

    @property
    def label(self) -> str:
        """Name with its unit."""
        return with_unit(self.name, self.unit)

    @property
    def spikes(self) -> pd.Series:
        """Shares of numbers that are a part by themselves, the largest first."""
        counts = self.known.value_counts()
        shares = counts / counts.sum()
        return shares[(shares >= _SPIKE) & (counts > 2)].iloc[:3]

    @property
    def outliers(self) -> pd.Series:
        """Numbers far outside the middle half of those that are in no spike, farthest first."""
        values = self.known[~self.known.isin(self.spikes.index)]
        if len(values) < _MIN_VALUES:
            return values.iloc[:0]
        low, high = map(float, values.quantile([0.25, 0.75]))
        beyond = np.maximum(low - self.known, self.known - high)
        far = beyond[beyond > _FAR * (high - low)] if high > low else beyond.iloc[:0]
        return self.known[far.sort_values(ascending=False, kind="stable").index]


@dataclass(frozen=True, eq=False, repr=False)
class TableInspection:
    """What :func:`inspect_table` found.

    Parameters
    ----------
    name : str
        What the table is called.
    n_rows : int
        Rows of the table.
    n_compositions : int
        Different compositions.
    n_seen : int or None
        Rows whose composition pretraining has seen; None where nobody asked.
    conditions : list of str
        Columns that tell rows of a composition apart.
    rejected : DataFrame
        ``row``, ``value`` and ``reason`` of each that is no composition.
    doubts : list of str
        Formulas that may mean something else: a sentence for each kind.
    repeats : DataFrame
        Each ``composition`` of several rows, at its conditions, and their ``count``.
    conflicts : DataFrame
        Those of which a ``target`` differs: the ``values`` and their ``spread`` (nan of classes),
        the largest first.
    elements : DataFrame
        Each ``element``, the number of ``rows`` that have it, the most frequent first, and their
        ``share``.
    targets : list of TargetColumn
        Values of each target, and what was wrong with others.
    columns : DataFrame
        Each other ``column``: what it ``holds``, how many ``different`` values, how many are
        ``empty``, in how many repeated compositions they ``vary``, and ``condition``: ``"given"``
        if it is one, else what it looks like one by: its name, or values that recur, and that
        vary within compositions.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.evaluation import inspect_table
    >>> table = pd.DataFrame({"formula": ["PbTe", "PbTe", "SnSe"], "T": [300, 400, 300]})
    >>> print(inspect_table(table, checkpoint=None))
    table: 3 rows
    <BLANKLINE>
    Compositions
    2 different compositions of 4 elements.
    1 composition is in several rows, 2 rows in all.
    <BLANKLINE>
    Elements
    Most frequent: Te in 2 rows (67 %), Pb in 2 rows (67 %), Se in 1 row (33 %), Sn in 1 row (33 %).
    4 elements are in fewer than 5 rows: Te (2), Pb (2), Se (1), Sn (1).
    <BLANKLINE>
    Other columns
    column    holds  different  empty  vary in repeats  looks like a condition
    T       numbers          2      0                1             by its name
    """

    name: str
    n_rows: int
    n_compositions: int
    n_seen: int | None
    conditions: list[str]
    rejected: pd.DataFrame
    doubts: list[str]
    repeats: pd.DataFrame
    conflicts: pd.DataFrame
    elements: pd.DataFrame
    targets: list[TargetColumn]
    columns: pd.DataFrame

    def __str__(self) -> str:
        parts = [f"{self.name}: {_count(self.n_rows, 'row')}"]
        for section in self._sections(_SHOWN):
            lines = [section.title, *section.lines]
            if len(section.table):
                columns = [[name, *section.table[name]] for name in section.table]
                lines += aligned(columns)
            parts.append("\n".join(lines))
        return "\n\n".join(parts)

    __repr__ = __str__

    def write_html(
        self, path: str | os.PathLike[str], *, title: str = "", command: str = ""
    ) -> Path:
        """Write what was found as one HTML file, with pictures of elements and targets.

        Parameters
        ----------
        path : path-like
            File to write.
        title : str, default=""
            Heading of the page; the name of the table unless given.
        command : str, default=""
            The command that made it.

        Returns
        -------
        path : Path
            The file written. It needs no other file and no network.
        """
        return write_page(
            path,
            _TEMPLATE,
            title=title or self.name,
            command=command,
            made=[
                ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
                *library_versions().items(),
            ],
            n_rows=self.n_rows,
            sections=[section.on_page() for section in self._sections(_SHOWN_ON_PAGE)],
        )

    def _sections(self, shown: int) -> Iterator[_Section]:
        """Say what was found, part by part, with so many rows of each list."""
        yield _Section("Compositions", list(self._compositions()))
        if len(self.rejected):
            yield _Section(
                "Rows that are no compositions",
                [f"{_count(len(self.rejected), 'row')}{_first(len(self.rejected), shown)}"],
                self.rejected.head(shown).assign(value=self.rejected["value"].map(shorten)),
            )
        for target in self.targets:
            yield _target_section(target, shown)
            found = self.conflicts[self.conflicts["target"] == target.name]
            if len(found):
                table = found.head(shown).drop(columns="target")
                yield _Section(
                    f"Repeats that disagree about {target.name}",
                    [
                        f"{_count(len(found), 'repeated composition')} of {len(self.repeats):,}"
                        f" with different values{_first(len(found), shown)}"
                    ],
                    table.map(_spelled),
                )
        if len(self.elements):
            yield _Section("Elements", list(self._element_lines()), figure=self._periodic_table)
        if len(self.columns):
            named = {"vary": "vary in repeats", "condition": "looks like a condition"}
            table = self.columns.astype(str).rename(columns=named)
            yield _Section("Other columns", [], table)

    def _compositions(self) -> Iterator[str]:
        n_elements = _count(len(self.elements), "element")
        yield f"{_count(self.n_compositions, 'different composition')} of {n_elements}."
        if len(self.repeats):
            at = f" at the same {', '.join(self.conditions)}" if self.conditions else ""
            count, rows = len(self.repeats), int(self.repeats["count"].sum())
            yield (
                f"{_count(count, 'composition')} {'is' if count == 1 else 'are'} in several"
                f" rows{at}, {rows:,} rows in all."
            )
        if self.n_seen is not None:
            share = self.n_seen / max(self.n_rows - len(self.rejected), 1)
            yield (
                f"Pretraining has seen the composition of {_count(self.n_seen, 'row')}"
                f" ({100 * share:.0f} %)."
            )
        for text in self.doubts:
            yield f"In {text}"

    def _element_lines(self) -> Iterator[str]:
        most = [
            f"{row.element} in {_count(row.rows, 'row')} ({100 * row.share:.0f} %)"
            for row in self.elements.head(_SHOWN).itertuples()
        ]
        yield f"Most frequent: {', '.join(most)}."
        few = self.elements[self.elements["rows"] < _FEW_ROWS]
        if len(few):
            listed = ", ".join(f"{row.element} ({row.rows})" for row in few.itertuples())
            yield (
                f"{_count(len(few), 'element')} {'is' if len(few) == 1 else 'are'} in fewer than"
                f" {_FEW_ROWS} rows: {listed}."
            )

    def _periodic_table(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.0, 4.9), layout="constrained")
        counts = dict(zip(self.elements["element"], self.elements["rows"], strict=True))
        plot_periodic_table(counts, label="rows", ax=figure.subplots())
        return figure


@dataclass
class _Section:
    """A part of what was found: sentences, a list of rows as text, a picture."""

    title: str
    lines: list[str]
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    figure: Any = None

    def on_page(self) -> dict[str, Any]:
        drawn = None if self.figure is None else self.figure()
        return {
            "title": self.title,
            "lines": self.lines,
            "table": self.table,
            "figure": "" if drawn is None else embedded(drawn),
            "width": 0 if drawn is None else round(96 * drawn.get_figwidth()),
        }


def _read_target(
    name: str, unit: str, column: pd.Series, places: list[str], task: str, decimal: str
) -> TargetColumn:
    """Sort the cells of a column into values, empty ones and spoiled ones."""
    cells = pd.Series(_cells(column), dtype=object)
    filled = cells[cells.notna()]
    numbers = pd.Series([as_number(cell, decimal) for cell in filled], filled.index, dtype=float)
    good = np.isfinite(numbers)
    if task == "auto":
        task = "regression" if good.any() else "classification"
        labels = pd.Series([names_a_class(cell) for cell in filled], filled.index, dtype=bool)
    else:
        labels = pd.Series(True, filled.index)
    if task == "regression":
        # what fit drops as empty
        marked = filled.map(marks_missing).astype(bool)
        filled, numbers, good = filled[~marked], numbers[~marked], good[~marked]
    values = numbers[good] if task == "regression" else filled[labels].astype(str)
    spoiled = filled.drop(values.index)
    return TargetColumn(
        name,
        unit,
        task,
        values,
        places,
        n_empty=len(cells) - len(filled),
        spoiled=pd.DataFrame({"row": [places[row] for row in spoiled.index], "value": [*spoiled]}),
    )


def _cells(column: pd.Series) -> list[Any]:
    """Give the cells as Python objects, None where there is no value."""
    missing = column.isna()
    return [
        None if no_value or is_empty(cell) else cell
        for cell, no_value in zip(column.tolist(), missing, strict=True)
    ]


def _normalised(column: pd.Series, decimal: str) -> list[Any]:
    """Give what makes cells equal: the number that they are, or the text."""
    found = []
    for cell in _cells(column):
        number = None if cell is None else as_number(cell, decimal)
        found.append(str(cell).strip() if number is None and cell is not None else number)
    return found


def _seen(batch: CompositionBatch, checkpoint: str | Path | None) -> int | None:
    """Count compositions that are in the pool of a checkpoint."""
    if checkpoint is None:
        return None
    keys = pool_keys(checkpoint)
    if keys is None:
        raise InputError(
            f"the checkpoint {str(checkpoint)!r} has no {POOL_FILE}, so that what its pretraining"
            " has seen is not known; say checkpoint=None."
        )
    return int((find_keys(keys, batch) >= 0).sum())


def _repeats(batch: CompositionBatch, groups: np.ndarray, conditions: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of each composition that has several."""
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    several = counts > 1
    table = pd.DataFrame({"composition": batch[first[several]].formulas()})
    for name in conditions:
        table[name] = conditions[name].to_numpy()[first[several]]
    table["count"] = counts[several]
    return table


def _conflicts(
    batch: CompositionBatch,
    groups: np.ndarray,
    conditions: pd.DataFrame,
    rows: np.ndarray,
    targets: list[TargetColumn],
) -> pd.DataFrame:
    """Find the repeats of which a target differs."""
    columns = ["target", "composition", *conditions, "count", "values", "spread"]
    parts = [pd.DataFrame(columns=columns)]
    for target in targets:
        # targets know all rows of the table, groups only those with a composition
        inside = target.known.index.intersection(rows)
        values = target.known.loc[inside].groupby(groups[np.searchsorted(rows, inside)])
        counts, different = values.size(), values.nunique().gt(1)
        found = different.index[different].to_numpy(int)
        first = np.unique(groups, return_index=True)[1][found]
        part = pd.DataFrame({"target": target.name, "composition": batch[first].formulas()})
        for name in conditions:
            part[name] = conditions[name].to_numpy()[first]
        part["count"] = counts[found].to_numpy()
        if target.task == "regression":
            low, high = values.min()[found], values.max()[found]
            part["values"] = [f"{a:.4g} to {b:.4g}" for a, b in zip(low, high, strict=True)]
            part["spread"] = (high - low).to_numpy()
        else:
            labels = values.unique()[found]
            part["values"] = [", ".join(sorted(found)) for found in labels]
            part["spread"] = np.nan
        parts.append(part.sort_values(["spread", "count"], ascending=False, kind="stable"))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _elements(batch: CompositionBatch) -> pd.DataFrame:
    numbers, counts = np.unique(batch.atomic_numbers, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return pd.DataFrame(
        {
            "element": [ELEMENTS[number - 1] for number in numbers[order]],
            "rows": counts[order],
            "share": counts[order] / max(len(batch), 1),
        }
    )


def _columns(
    frame: pd.DataFrame, keys: np.ndarray, conditions: Sequence[str], decimal: str
) -> pd.DataFrame:
    """Say what columns beside compositions and targets hold, and which look like conditions."""
    counts = pd.Series(keys).value_counts()
    repeated = counts[counts > 1]
    has_repeats = repeated.sum() >= _REPEATED * len(keys)
    rows = []
    for name in frame:
        cells = pd.Series(_normalised(frame[name], decimal), dtype=object)
        filled = cells[cells.notna()]
        are_numbers = filled.map(lambda cell: isinstance(cell, float))
        different = filled.nunique()
        within = filled.groupby(keys[filled.index]).nunique()
        vary = int((within > 1).sum())
        looks = ""
        if different > 1 and names_a_condition(name):
            looks = "by its name"
        # measured numbers vary, too, but hardly any comes again
        elif has_repeats and 2 * vary >= len(repeated) and 2 * different <= len(filled):
            looks = "by its values"
        rows.append(
            {
                "column": name,
                "holds": _kind(are_numbers),
                "different": different,
                "empty": len(cells) - len(filled),
                "vary": vary,
                "condition": "given" if name in conditions else looks,
            }
        )
    return pd.DataFrame(rows)


def _kind(are_numbers: pd.Series) -> str:
    if not len(are_numbers):
        return "nothing"
    if are_numbers.all():
        return "numbers"
    return f"text, and {are_numbers.sum():,} numbers" if are_numbers.any() else "text"


def _target_section(target: TargetColumn, shown: int) -> _Section:
    spoiled = len(target.spoiled)
    section = _Section(f"Target {target.label}", [])
    what = "number" if target.task == "regression" else "label"
    said = f"{_count(len(target.known), what)}, {_count(target.n_empty, 'empty cell')}"
    if spoiled:
        section.table = target.spoiled.head(shown).assign(value=target.spoiled["value"].map(repr))
        said += f", {_count(spoiled, 'cell')} with something else{_first(spoiled, shown)}"
    else:
        said += "."
    if len(target.known):
        tell = _tell_numbers if target.task == "regression" else _tell_classes
        section.lines += tell(target)
        section.figure = lambda: _histogram(target)
    section.lines.append(said)
    return section


def _tell_numbers(target: TargetColumn) -> Iterator[str]:
    values = target.known
    unit = f" {target.unit}" if target.unit else ""
    # no overflow of the largest floats
    scale = float(values.abs().max()) or 1.0
    low, quarter, half, three, high = values.quantile([0, 0.25, 0.5, 0.75, 1])
    yield (
        f"{low:.4g} to {high:.4g}{unit}; median {half:.4g}, middle half {quarter:.4g} to"
        f" {three:.4g}, mean {scale * (values / scale).mean():.4g}."
    )
    if low == high:
        yield "All values are the same: there is nothing to learn."
        return
    if len(values.unique()) == 2:
        yield "There are two different numbers only: are they classes?"
    skew = float((values / scale).skew()) if len(values) > 2 else 0.0
    tail = "" if abs(skew) < 1 else f", a long tail of {'large' if skew > 0 else 'small'} values"
    yield f"Skew {skew:.2f}{tail}."
    if low > 0 and high / low >= 100:
        yield f"All are positive, over {np.log10(high / low):.1f} powers of ten."
    for value, share in target.spikes.items():
        yield f"{value:.4g} makes up {100 * share:.1f} % of the values."
    outliers = target.outliers
    if len(outliers):
        listed = ", ".join(
            f"{value:.4g} ({target.places[row]})" for row, value in outliers.iloc[:_SHOWN].items()
        )
        yield (
            f"{_count(len(outliers), 'value')} more than {_FAR:.0f} interquartile ranges outside"
            f" the middle half{_first(len(outliers), _SHOWN)} {listed}."
        )


def _tell_classes(target: TargetColumn) -> Iterator[str]:
    counts = target.known.value_counts()
    listed = ", ".join(
        f"{label} {count:,} ({100 * count / len(target.known):.1f} %)"
        for label, count in counts.iloc[:_SHOWN].items()
    )
    number = f"{len(counts)} classes" if len(counts) > 1 else "1 class"
    yield f"{number}{_first(len(counts), _SHOWN)} {listed}."
    if len(counts) == 1:
        yield "All values are the same: there is nothing to learn."


def _histogram(target: TargetColumn) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    ax = figure.subplots()
    label = plain_text(target.label)
    if target.task == "regression":
        ax.hist(target.known, bins=_BINS, color=COLOURS[0])
        ax.set(xlabel=label, ylabel="rows")
    else:
        counts = target.known.value_counts().iloc[:_BINS][::-1]
        figure.set_figheight(1.0 + 0.25 * len(counts))
        ax.barh([plain_text(name) for name in counts.index], counts, color=COLOURS[0])
        ax.set(xlabel="rows", ylabel=label)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def _spelled(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _first(number: int, shown: int) -> str:
    """End a sentence that a list follows."""
    return f"; the first {shown}:" if number > shown else ":"
