"""Figures and a self-contained page of a cross-validation.

Figures are drawn through matplotlib's object interface: no pyplot, no global
state, no display needed. The page is one HTML file that holds its figure and
loads nothing.
"""

from __future__ import annotations

import base64
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_curve

from ._files import replacing
from .evaluation import METRICS, EvaluationResult, ModelScores
from .exceptions import InputError
from .plotting import image_format, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "format_sample",
    "prediction_sample",
    "summary_table",
    "write_html_report",
    "write_parity_plot",
    "write_roc_plot",
]

_TEMPLATE = "report.html"
# Okabe and Ito: distinct to readers with any colour vision
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")
_DPI = 150
_PANEL = 3.4
_MAX_COLUMNS = 3
# above this number of rows single dots hide how many they are
_MAX_DOTS = 1500
# characters of a class beside its row
_MAX_TICK = 16
# errors: smaller is better, and their digits follow the scale of the target
_IN_TARGET_UNITS = ("mae", "rmse")


def summary_table(result: EvaluationResult) -> pd.DataFrame:
    """Give the figures that matter, as text, one row per model.

    Parameters
    ----------
    result : EvaluationResult
        Of :func:`~sklearn_kt.evaluation.cross_validate_models`.

    Returns
    -------
    table : DataFrame of str
        Model, metrics (mean over the folds ± standard deviation), seconds of training
        in a fold and rows predicted in a second.

    Examples
    --------
    >>> from sklearn_kt.evaluation import cross_validate_models, make_folds
    >>> from sklearn_kt.report import summary_table
    >>> X, y = ["NaCl", "KCl", "LiF", "NaF"], [5.0, 4.0, 9.0, 8.0]
    >>> folds = make_folds(X, y, task_kind="regression", n_splits=2)
    >>> result = cross_validate_models(["dummy"], X, y, folds, task_kind="regression")
    >>> summary_table(result)[["model", "MAE"]]
       model          MAE
    0  dummy  4.00 ± 0.00
    """
    metrics = METRICS[result.task_kind]
    rows = []
    for scores in result.models.values():
        row = {"model": scores.name}
        for metric, label in metrics.items():
            decimals = None if metric in _IN_TARGET_UNITS else 3
            row[label] = _mean_and_spread(scores.mean(metric), scores.spread(metric), decimals)
        row["fit s"] = f"{scores.fit_seconds:.3g}"
        row["predict rows/s"] = f"{_three_figures(scores.predict_rate):,}"
        rows.append(row)
    return pd.DataFrame(rows)


def prediction_sample(
    result: EvaluationResult, n_rows: int = 5, *, model: str | None = None, random_state: int = 0
) -> tuple[str, pd.DataFrame]:
    """Draw a few out-of-fold predictions with their uncertainty.

    Parameters
    ----------
    result : EvaluationResult
        Of :func:`~sklearn_kt.evaluation.cross_validate_models`.
    n_rows : int, default=5
        Number of rows drawn; fewer if there are fewer.
    model : str or None, default=None
        Name of the model; None takes the best of those that give an uncertainty (a
        standard deviation or class probabilities), else the best.
    random_state : int, default=0
        Seed of the draw.

    Returns
    -------
    model : str
        Name of the model shown.
    table : DataFrame
        ``formula``, ``true``, ``predicted`` and, where the model gives it, ``std`` or
        ``probability`` (of the predicted class).
    """
    if model is None:
        certain = [
            name
            for name, scores in result.models.items()
            if scores.std is not None or scores.probabilities is not None
        ]
        model = min(certain or result.models, key=lambda name: _loss(result, name))
    elif model not in result.models:
        raise InputError(f"No model {model!r}; evaluated were {', '.join(result.models)}.")
    scores = result.models[model]
    count = min(n_rows, len(result.y))
    rows = np.sort(np.random.default_rng(random_state).choice(len(result.y), count, replace=False))
    table = pd.DataFrame(
        {
            "formula": [result.formulas[row] for row in rows],
            "true": result.y[rows],
            "predicted": scores.predictions[rows],
        }
    )
    if scores.std is not None:
        table["std"] = scores.std[rows]
    if scores.probabilities is not None:
        assert result.classes is not None
        columns = np.searchsorted(result.classes, scores.predictions[rows])
        table["probability"] = scores.probabilities[rows, columns]
    return model, table


def write_parity_plot(
    result: EvaluationResult,
    path: str | os.PathLike[str],
    *,
    target_name: str = "target",
    unit: str = "",
) -> Path:
    """Plot predicted against true values, one panel per model.

    Parameters
    ----------
    result : EvaluationResult
        Of a regression.
    path : path-like
        Image file to write; its suffix gives the format, such as ``.png``.
    target_name, unit : str
        For the axes.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    InputError
        If the result is not of a regression.
    """
    if result.task_kind != "regression":
        raise InputError("A parity plot needs a regression; use write_roc_plot.")
    return _save(_parity_figure(result, target_name, unit), path)


def write_roc_plot(result: EvaluationResult, path: str | os.PathLike[str]) -> Path:
    """Plot ROC curves of all models (two classes) and their confusion matrices.

    Parameters
    ----------
    result : EvaluationResult
        Of a classification.
    path : path-like
        Image file to write; its suffix gives the format, such as ``.png``.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    InputError
        If the result is not of a classification.
    """
    if result.task_kind != "classification":
        raise InputError("ROC curves need a classification; use write_parity_plot.")
    return _save(_roc_figure(result), path)


def write_html_report(
    result: EvaluationResult,
    path: str | os.PathLike[str],
    *,
    title: str = "Cross-validation",
    description: str = "",
    target_name: str = "target",
    unit: str = "",
    command: str = "",
) -> Path:
    """Write one HTML file with table, figure, predictions and provenance.

    Parameters
    ----------
    result : EvaluationResult
        Of :func:`~sklearn_kt.evaluation.cross_validate_models`.
    path : path-like
        File to write.
    title : str
        Heading of the page, such as the name of the data set.
    description : str
        What the data are, in plain text.
    target_name, unit : str
        What is predicted.
    command : str
        The command that made the result.

    Returns
    -------
    path : Path
        The file written. It needs no other file and no network.
    """
    import jinja2

    if result.task_kind == "regression":
        figure, alt = _parity_figure(result, target_name, unit), "Predicted against true values"
    else:
        figure, alt = _roc_figure(result), "ROC curves and confusion matrices"
    buffer = io.BytesIO()
    _write_figure(figure, buffer, format="png")
    sample_model, sample = prediction_sample(result)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sklearn_kt"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template(_TEMPLATE).render(
        title=title,
        paragraphs=description.strip().split("\n\n") if description.strip() else [],
        target=f"{target_name} ({unit})" if unit else target_name,
        result=result,
        table=summary_table(result),
        zip=zip,
        best=_best_rows(result),
        figure=base64.b64encode(buffer.getvalue()).decode("ascii"),
        alt=alt,
        width=round(96 * figure.get_figwidth()),
        sample_model=sample_model,
        sample=format_sample(sample),
        command=command,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def format_sample(table: pd.DataFrame) -> pd.DataFrame:
    """Turn the numbers of :func:`prediction_sample` into text.

    Parameters
    ----------
    table : DataFrame
        Of :func:`prediction_sample`.

    Returns
    -------
    text : DataFrame of str
        Same columns; targets, predictions and standard deviations with the same
        decimals, so that they can be compared by eye.
    """
    numbers = table[[name for name in ("true", "predicted", "std") if name in table]]
    text = table.astype(str)
    if all(pd.api.types.is_float_dtype(dtype) for dtype in numbers.dtypes):
        decimals = _decimals(float(numbers.abs().max(axis=None)), 4)
        text[numbers.columns] = numbers.map(lambda number: f"{number:.{decimals}f}")
    if "probability" in table:
        text["probability"] = table["probability"].map(lambda number: f"{number:.3f}")
    return text


def _decimals(scale: float, figures: int) -> int:
    """Decimals that show a number of this scale with so many significant figures."""
    exponent = math.floor(math.log10(scale)) if scale > 0 else 0
    return min(max(figures - 1 - exponent, 0), 8)


def _mean_and_spread(mean: float, spread: float, decimals: int | None) -> str:
    if not math.isfinite(mean):
        return "-"
    if decimals is None:
        decimals = _decimals(abs(mean), 3)
    return f"{mean:.{decimals}f} ± {spread:.{decimals}f}"


def _three_figures(value: float) -> int:
    return int(round(value, 2 - math.floor(math.log10(max(value, 1.0)))))


def _loss(result: EvaluationResult, model: str) -> float:
    """Mean of what ranks models: smaller is better."""
    scores = result.models[model]
    if result.task_kind == "regression":
        return scores.mean("mae")
    return -scores.mean("balanced_accuracy")


def _best_rows(result: EvaluationResult) -> dict[str, int]:
    """Row with the best mean for each metric column; none if there is one model."""
    best: dict[str, int] = {}
    if len(result.models) < 2:
        return best
    for metric, label in METRICS[result.task_kind].items():
        means = np.array([scores.mean(metric) for scores in result.models.values()])
        if np.isfinite(means).any():
            best[label] = int(
                np.nanargmin(means) if metric in _IN_TARGET_UNITS else np.nanargmax(means)
            )
    return best


def _save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    kind = image_format(path)
    with replacing(path) as temporary:
        _write_figure(figure, temporary, kind)
    return Path(path)


def _write_figure(figure: Figure, file: Path | io.BytesIO, format: str) -> None:  # noqa: A002
    # "tight": the layout engine cuts labels of panels with equal axes
    figure.savefig(file, format=format, dpi=_DPI, bbox_inches="tight", pad_inches=0.1)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    rows = math.ceil(count / _MAX_COLUMNS)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(_PANEL * columns, (_PANEL + 0.25) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def _parity_figure(result: EvaluationResult, target_name: str, unit: str) -> Figure:
    from matplotlib.colors import LogNorm

    figure, axes = _panels(len(result.models))
    everything = np.concatenate([result.y, *(m.predictions for m in result.models.values())])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.04 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    suffix = f" ({plain_text(unit)})" if unit else ""
    target_name = plain_text(target_name)
    densities = []
    for axis, scores in zip(axes, result.models.values(), strict=True):
        axis.plot(limits, limits, color="0.45", linewidth=1, zorder=1)
        if len(result.y) > _MAX_DOTS:
            bins = axis.hexbin(
                result.y,
                scores.predictions,
                gridsize=50,
                extent=(*limits, *limits),
                mincnt=1,
                cmap="cividis_r",
                linewidths=0.2,
                zorder=2,
            )
            densities.append(bins)
        else:
            axis.scatter(
                result.y,
                scores.predictions,
                s=9,
                color=_COLOURS[0],
                alpha=0.5,
                linewidths=0,
                zorder=2,
            )
        axis.set(xlim=limits, ylim=limits, aspect="equal")
        axis.set_xlabel(f"true {target_name}{suffix}")
        axis.set_ylabel(f"predicted{suffix}")
        axis.set_title(_parity_title(scores), fontsize=10)
        axis.locator_params(nbins=5)
    if densities:
        # one scale, so that panels can be compared
        norm = LogNorm(1, max(2, *(np.asarray(bins.get_array()).max() for bins in densities)))
        for bins in densities:
            bins.set_norm(norm)
        figure.colorbar(
            densities[0], ax=axes, label="rows", fraction=0.05, aspect=30, format="{x:.0f}"
        )
    return figure


def _parity_title(scores: ModelScores) -> str:
    return f"{plain_text(scores.name)}\nMAE {scores.mean('mae'):.3g}, R² {scores.mean('r2'):.3f}"


def _roc_figure(result: EvaluationResult) -> Figure:
    assert result.classes is not None
    binary = len(result.classes) == 2
    scored = [s for s in result.models.values() if s.probabilities is not None] if binary else []
    figure, axes = _panels(len(result.models) + bool(scored))
    if scored:
        _draw_roc(axes.pop(0), result, scored)
    for axis, scores in zip(axes, result.models.values(), strict=True):
        _draw_confusion(axis, result, scores)
    return figure


def _draw_roc(axis: Axes, result: EvaluationResult, scored: list[ModelScores]) -> None:
    assert result.classes is not None
    positive = result.y == result.classes[1]
    for number, scores in enumerate(scored):
        assert scores.probabilities is not None
        false_rate, true_rate, _ = roc_curve(positive, scores.probabilities[:, 1])
        axis.plot(
            false_rate,
            true_rate,
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_LINES[number % len(_LINES)],
            label=f"{plain_text(scores.name)} ({scores.mean('roc_auc'):.3f})",
        )
    axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set_xlabel("false positive rate")
    axis.set_ylabel("true positive rate")
    axis.set_title(f"ROC, positive: {plain_text(result.classes[1])}", fontsize=10)
    axis.legend(title="model (AUC)", loc="lower right", fontsize=7.5, title_fontsize=7.5)


def _draw_confusion(axis: Axes, result: EvaluationResult, scores: ModelScores) -> None:
    assert result.classes is not None
    counts = confusion_matrix(result.y, scores.predictions, labels=result.classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    labels = [plain_text(label, _MAX_TICK) for label in result.classes]
    ticks = range(len(labels))
    axis.set_xticks(ticks, labels)
    axis.set_yticks(ticks, labels, rotation=90, va="center")
    # numbers of more classes would not be readable
    if len(labels) <= 8:
        for row in ticks:
            for column in ticks:
                axis.text(
                    column,
                    row,
                    f"{counts[row, column]}\n{shares[row, column]:.0%}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="black" if shares[row, column] > 0.5 else "white",
                )
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    accuracy = scores.mean("balanced_accuracy")
    axis.set_title(f"{plain_text(scores.name)}\nbalanced accuracy {accuracy:.3f}", fontsize=10)
