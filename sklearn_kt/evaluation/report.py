"""Figures and a self-contained page of a cross-validation.

Figures are drawn through matplotlib's object interface: no figure of pyplot, no
global state, no display needed. The page is one HTML file that holds its figure and
loads nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, confusion_matrix, roc_curve

from sklearn_kt._cells import with_unit
from sklearn_kt._files import image_format, replacing
from sklearn_kt.exceptions import InputError
from sklearn_kt.plotting import ParityDisplay
from sklearn_kt.plotting._style import (
    COLOURS,
    GREY,
    MAX_DOTS,
    embedded,
    places_in_picture,
    plain_text,
    write_figure,
)

from .by_condition import errors_by_condition, worst_rows
from .page import write_page
from .result import EvaluationResult
from .scores import SCORES, scores_of
from .task import Task
from .text import audit_lines, figure, summary_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "format_sample",
    "prediction_sample",
    "write_html_report",
    "write_plot",
]

_TEMPLATE = "report.html"
_LINES = ("-", "--", "-.", ":")
_PANEL = 3.4
_MAX_COLUMNS = 3
# characters of a class beside its row
_MAX_TICK = 16


def prediction_sample(
    result: EvaluationResult,
    n_rows: int = 5,
    *,
    task: str | None = None,
    model: str | None = None,
    random_state: int = 0,
) -> tuple[str, pd.DataFrame]:
    """Draw a few out-of-fold predictions with their uncertainty, and say of which model.

    None takes the best of the models that give an uncertainty (a standard deviation or class
    probabilities), else the best. The table has ``formula``, ``true``, ``predicted`` and, where
    the model gives it, ``std`` or ``probability`` (of the predicted class).
    """
    about = _task(result, task)
    if model is None:
        losses = _losses(result, about)
        certain = [
            record.model
            for record in result.records
            if record.task == about.name
            and (record.std is not None or record.probabilities is not None)
        ]
        model = min(certain or losses, key=lambda name: losses[name])
    records = result.of(about.name, model)
    positions = np.concatenate([about.folds[record.fold][1] for record in records])
    frame = replace(result, records=records).predictions()
    # drawn by their places in the table
    frame = frame.iloc[np.argsort(positions, kind="stable")]
    count = min(n_rows, len(frame))
    rows = np.sort(np.random.default_rng(random_state).choice(len(frame), count, replace=False))
    columns = list(frame)
    conditions = columns[columns.index("formula") + 1 : columns.index("true")]
    shown = ["formula", *conditions, "true", "predicted"]
    shown += [name for name in ("std", "probability") if frame[name].notna().any()]
    table = frame[shown].iloc[rows].reset_index(drop=True)
    return model, table.infer_objects()


def write_plot(
    result: EvaluationResult, path: str | os.PathLike[str], *, task: str | None = None
) -> Path:
    """Plot the predictions of all models for a task.

    Numbers are drawn against the true ones, one panel a model; of classes there are the ROC
    curves (of two classes), and one confusion matrix a model.

    Parameters
    ----------
    result : EvaluationResult
        Of :func:`~sklearn_kt.evaluation.evaluate`.
    path : path-like
        Image file to write; its suffix gives the format, such as ``.png``.
    task : str or None, default=None
        Name of the task; may be left out when there is one.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    InputError
        If there is no such task, or no such format.

    Examples
    --------
    >>> from sklearn_kt.evaluation import write_plot
    >>> write_plot(result, "parity.png")  # doctest: +SKIP
    """
    kind, figure = image_format(path), _figure(result, _task(result, task))
    with replacing(path) as temporary:
        write_figure(figure, temporary, kind)
    return Path(path)


def write_html_report(
    result: EvaluationResult,
    path: str | os.PathLike[str],
    *,
    title: str = "Cross-validation",
    command: str = "",
) -> Path:
    """Write one HTML file with tables, figures, predictions, audit and provenance.

    Parameters
    ----------
    result : EvaluationResult
        Of :func:`~sklearn_kt.evaluation.evaluate`.
    path : path-like
        File to write.
    title : str
        Heading of the page, such as the name of the data set.
    command : str
        The command that made the result.

    Returns
    -------
    path : Path
        The file written. It needs no other file and no network.

    Examples
    --------
    >>> from sklearn_kt.evaluation import write_html_report
    >>> write_html_report(result, "report.html")  # doctest: +SKIP
    """
    estimators = {record.model: record.estimator for record in result.records}
    date = min(record.date for record in result.records)
    return write_page(
        path,
        _TEMPLATE,
        title=title,
        command=command,
        made=[("date", date), *estimators.items(), *result.records[0].versions.items()],
        sections=[_section(result, task) for task in result.tasks.values()],
        audit=audit_lines(result.audit) if result.audit else [],
        zip=zip,
    )


def _section(result: EvaluationResult, task: Task) -> dict[str, Any]:
    """Gather what the page says of one task."""
    drawn, alt = _figure(result, task), "Predicted against true values"
    if task.kind == "classification":
        alt = "ROC curves and confusion matrices"
    sample_model, sample = prediction_sample(result, task=task.name)
    summary = _summary(result, task)
    tables = errors_by_condition(result, task.name)
    losses = _losses(result, task)
    best_model = min(losses, key=lambda name: losses[name])
    return {
        "task": task,
        "target": with_unit(task.target or "the target", task.unit),
        "rows": sum(len(test) for _, test in task.folds.values()),
        "paragraphs": task.description.strip().split("\n\n") if task.description.strip() else [],
        "table": summary_text(summary).drop(columns="task"),
        "best": _best_rows(summary, task),
        "figure": embedded(drawn),
        "points": _points(result, task, drawn) if task.kind == "regression" else [],
        "alt": alt,
        "width": round(96 * drawn.get_figwidth()),
        "conditions": [_spelled(name, table) for name, table in tables.items()],
        "condition_figure": embedded(_condition_figure(tables, task)) if tables else "",
        "condition_width": round(96 * _PANEL * min(len(tables), _MAX_COLUMNS)),
        "error": _error_label(task),
        "worst_model": best_model,
        "worst": format_sample(worst_rows(result, task.name, best_model)),
        "sample_model": sample_model,
        "sample": format_sample(sample),
    }


def _points(result: EvaluationResult, task: Task, drawn: Figure) -> list[tuple[float, float, str]]:
    """Find rows in the picture that was drawn of them, in percent of it, and say what they are.

    Of many rows of a model those with the largest errors.
    """
    points = []
    for axis, model in zip(drawn.axes, _summary(result, task)["model"], strict=False):
        rows = worst_rows(result, task.name, model, MAX_DOTS)
        places = 100 * places_in_picture(axis, rows[["true", "predicted"]].to_numpy())
        told = format_sample(rows)
        texts = told["formula"].astype(str)
        for name in told.columns.drop("formula"):
            texts += f"\n{name}: " + told[name].astype(str)
        points += [(x, y, text) for (x, y), text in zip(places.tolist(), texts, strict=True)]
    return points


def _error_label(task: Task) -> str:
    if task.kind == "classification":
        return "share of wrong classes"
    return f"mean absolute error ({task.unit})" if task.unit else "mean absolute error"


def _spelled(condition: str, table: pd.DataFrame) -> pd.DataFrame:
    """Turn the numbers of :func:`errors_by_condition` into text."""
    text = table.astype(str)
    for model in table.columns[2:]:
        text[model] = [figure(error) for error in table[model]]
    return text.set_axis([condition, *table.columns[1:]], axis=1)


def _condition_figure(tables: dict[str, pd.DataFrame], task: Task) -> Figure:
    """Draw the errors of each model against each condition."""
    drawn, axes = _panels(len(tables))
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        places = range(len(table))
        for number, model in enumerate(table.columns[2:]):
            colour = COLOURS[number % len(COLOURS)]
            axis.plot(places, table[model], "o-", color=colour, label=plain_text(model))
        labels = [plain_text(value, _MAX_TICK) for value in table["values"]]
        axis.set_xticks(places, labels, rotation=30, ha="right", fontsize=8)
        axis.set(xlabel=plain_text(name), ylabel=plain_text(_error_label(task)))
        axis.set_ylim(0, 1.1 * float(np.nanmax(table.iloc[:, 2:].to_numpy())) or 1)
    axes[0].legend(fontsize=7.5)
    return drawn


def format_sample(table: pd.DataFrame) -> pd.DataFrame:
    """Turn the numbers of :func:`prediction_sample` into text.

    Targets, predictions and standard deviations have the same decimals, so that they can be
    compared by eye.
    """
    numbers = table[[name for name in ("true", "predicted", "std") if name in table]]
    text = table.astype(str)
    # conditions; empty cells stay empty
    for name in table.columns.difference([*numbers, "formula", "probability"], sort=False):
        text[name] = ["" if pd.isna(value) else _short(value) for value in table[name]]
    if all(pd.api.types.is_float_dtype(dtype) for dtype in numbers.dtypes):
        decimals = _decimals(float(numbers.abs().max(axis=None)), 4)
        text[numbers.columns] = numbers.map(lambda number: f"{number:z.{decimals}f}")
    if "probability" in table:
        text["probability"] = table["probability"].map(lambda number: f"{number:.3f}")
    return text


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _decimals(scale: float, figures: int) -> int:
    """Decimals that show a number of this scale with so many significant figures."""
    exponent = math.floor(math.log10(scale)) if scale > 0 else 0
    return min(max(figures - 1 - exponent, 0), 8)


def _task(result: EvaluationResult, name: str | None) -> Task:
    if name is None and len(result.tasks) == 1:
        return next(iter(result.tasks.values()))
    if name not in result.tasks:
        raise InputError(f"task must be one of {', '.join(result.tasks)}; got {name!r}.")
    return result.tasks[name]


def _summary(result: EvaluationResult, task: Task) -> pd.DataFrame:
    """Means of the models that ran on a task."""
    return replace(result, records=[r for r in result.records if r.task == task.name]).summary()


def _losses(result: EvaluationResult, task: Task) -> dict[str, float]:
    """Give what ranks the models: smaller is better."""
    # of classes one that models without probabilities have, too
    score = SCORES["mae" if task.kind == "regression" else "balanced_accuracy"]
    summary = _summary(result, task).set_index("model")[score.name]
    return dict(summary if score.smaller_is_better else -summary)


def _best_rows(summary: pd.DataFrame, task: Task) -> dict[str, int]:
    """Row with the best mean for each score's column; none if there is one model."""
    best: dict[str, int] = {}
    if len(summary) < 2:
        return best
    for name, score in scores_of(task.kind, shown=True).items():
        means = summary[name].to_numpy(float)
        if np.isfinite(means).any():
            chosen = np.nanargmin(means) if score.smaller_is_better else np.nanargmax(means)
            best[score.label] = int(chosen)
    return best


@dataclass
class _Outcome:
    """Truth and predictions of one model."""

    y: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray | None


def _outcomes(result: EvaluationResult, task: Task) -> Iterator[tuple[str, _Outcome]]:
    """Test rows of each model on a task, all folds one after the other."""
    for model in _summary(result, task)["model"]:
        test, predictions = result.test_rows(task.name, model)
        parts = [record.probabilities for record in result.of(task.name, model)]
        yield model, _Outcome(task.y[test], predictions, _joined(parts))


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if len(given) == len(parts) else None


def _figure(result: EvaluationResult, task: Task) -> Figure:
    draw = _parity_figure if task.kind == "regression" else _roc_figure
    return draw(result, task)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    rows = math.ceil(count / _MAX_COLUMNS)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(_PANEL * columns, (_PANEL + 0.25) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def _parity_figure(result: EvaluationResult, task: Task) -> Figure:
    outcomes = dict(_outcomes(result, task))
    means = _summary(result, task).set_index("model")
    label = with_unit(task.target or "target", task.unit)
    figure, axes = _panels(len(outcomes))
    for axis, (model, outcome) in zip(axes, outcomes.items(), strict=True):
        ParityDisplay(outcome.y, outcome.predictions).plot(label=label, ax=axis)
        mae, r2 = means.loc[model, ["mae", "r2"]]
        axis.set_title(f"{plain_text(model)}\nMAE {mae:.3g}, R² {r2:.3f}", fontsize=10)
    # limits and scales of all, so that panels can be compared
    ends = np.array([axis.get_xlim() for axis in axes])
    limits = ends.min(), ends.max()
    counted = [c for axis in axes for c in axis.collections if c.get_array() is not None]
    most = max((float(np.asarray(c.get_array()).max()) for c in counted), default=0)
    for axis in axes:
        axis.set(xlim=limits, ylim=limits)
    for counts in counted:
        counts.set_clim(1, max(2, most))
    return figure


def _roc_figure(result: EvaluationResult, task: Task) -> Figure:
    classes = task.classes
    assert classes is not None
    outcomes = dict(_outcomes(result, task))
    means = _summary(result, task).set_index("model")
    binary = len(classes) == 2
    scored = {m: o for m, o in outcomes.items() if binary and o.probabilities is not None}
    figure, axes = _panels(len(outcomes) + bool(scored))
    if scored:
        _draw_roc(axes.pop(0), classes[1], scored, means["roc_auc"])
    for axis, (model, outcome) in zip(axes, outcomes.items(), strict=True):
        _draw_confusion(axis, classes, outcome)
        accuracy = means.loc[model, "balanced_accuracy"]
        axis.set_title(f"{plain_text(model)}\nbalanced accuracy {accuracy:.3f}", fontsize=10)
    return figure


def _draw_roc(axis: Axes, positive: Any, scored: dict[str, _Outcome], areas: pd.Series) -> None:
    for number, (model, outcome) in enumerate(scored.items()):
        assert outcome.probabilities is not None
        false_rate, true_rate, _ = roc_curve(outcome.y == positive, outcome.probabilities[:, 1])
        RocCurveDisplay(fpr=false_rate, tpr=true_rate).plot(
            axis,
            # the mean over the folds, as in the table; not the area under this curve of all rows
            name=f"{plain_text(model)} ({areas[model]:.3f})",
            curve_kwargs={
                "color": COLOURS[number % len(COLOURS)],
                "linestyle": _LINES[number % len(_LINES)],
            },
        )
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    axis.set_title(f"ROC, positive: {plain_text(positive)}", fontsize=10)
    axis.legend(title="model (AUC)", loc="lower right", fontsize=7.5, title_fontsize=7.5)


def _draw_confusion(axis: Axes, classes: np.ndarray, outcome: _Outcome) -> None:
    counts = confusion_matrix(outcome.y, outcome.predictions, labels=classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [plain_text(label, _MAX_TICK) for label in classes]
    display = ConfusionMatrixDisplay(shares, display_labels=labels).plot(
        ax=axis,
        cmap="cividis",
        colorbar=False,
        include_values=len(labels) <= 8,
        im_kw={"vmin": 0, "vmax": 1},
        text_kw={"fontsize": 8},
    )
    # counts of many classes would not be readable, and are not there
    if display.text_ is not None:
        for place, cell in np.ndenumerate(display.text_):
            cell.set_text(f"{counts[place]}\n{shares[place]:.0%}")
    axis.set_yticks(range(len(labels)), labels, rotation=90, va="center")
    axis.set(xlabel="predicted class", ylabel="true class")
