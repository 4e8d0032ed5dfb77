"""The pictures of the pages about results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.models import is_ours
from sklearn_kt.plotting._style import COLOURS

from .contents import BENCHMARKS, FAST, REFERENCE, Row, front, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICTS = {"win": "better", "tie": "tied", "loss": "worse"}
# shapes say the same as the colours
MARKS = {"win": (COLOURS[0], "o"), "tie": ("#777777", "D"), "loss": (COLOURS[1], "s")}
# a value and its interval
Mark = tuple[float, float, float]
# models of the learning curve, with their colours
LEARNERS = {
    "imkt": ("imKT, default", COLOURS[0]),
    "imkt-fast": ("imKT, fast", COLOURS[5]),
    "imkt-scratch": ("imKT from scratch", COLOURS[1]),
    "rf-magpie": ("Magpie + random forest", COLOURS[2]),
    "et-fractions": ("extra-trees on fractions", "#999999"),
}
# points beside a mark, the nearest first; the far ones get a line
LABEL_PLACES = (
    *((7, 7), (-7, 7), (7, -7), (-7, -7), (7, 0), (-7, 0)),
    *((dx, dy) for dy in (15, -15, 25, -25, 35, -35, 45, -45) for dx in (7, -7, 20, -20)),
)


def draw_ratios(rows: Sequence[Row], path: Path) -> None:
    """Draw one row a task; narrow and in large letters, for telephones."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    order = [*BENCHMARKS]
    rows = sorted(rows, key=lambda row: (order.index(row.benchmark), row.ratio))
    names = list(dict.fromkeys(row.benchmark for row in rows))
    # a line above each benchmark for its name
    places = [place + 1 + names.index(row.benchmark) for place, row in enumerate(rows)]
    drawn = Figure(figsize=(4.2, 0.9 + 0.22 * (len(rows) + len(names))), layout="constrained")
    ax = drawn.subplots()
    for name in names:
        place = places[next(i for i, row in enumerate(rows) if row.benchmark == name)] - 1
        ax.text(0, place, BENCHMARKS[name], transform=ax.get_yaxis_transform(), fontsize=9,
                fontweight="bold", va="center",
                bbox={"fc": "white", "ec": "none", "pad": 1})  # fmt: skip
    shown = [0.9, 1.05]
    for place, row in zip(places, rows, strict=True):
        colour, shape = MARKS[verdict(row)]
        if not math.isnan(row.low):
            ax.plot([row.low, row.high], [place, place], color=colour, lw=1.5, alpha=0.6)
            # wide intervals of small test parts may run out of the picture
            shown += [max(row.low, row.ratio - 0.3), min(row.high, row.ratio + 0.3)]
        if has_ring(row):
            shown.append(row.errors[FAST] / row.errors[row.peer])
            ax.plot(shown[-1], place, "o", mfc="none", mec="black", ms=6, mew=0.8, zorder=2)
        shown.append(row.ratio)
        ax.plot(row.ratio, place, shape, color=colour, ms=5, zorder=3)
    ax.axvline(1, color="black", lw=1, zorder=1)
    ax.set_xlim(min(shown) - 0.03, max(shown) + 0.03)
    ax.set_yticks(places, [row.task for row in rows], fontsize=8)
    ax.set_ylim(max(places) + 0.6, -0.6)
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("error / best peer's error", fontsize=9)
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right", "left"]].set_visible(False)
    kinds = {verdict(row) for row in rows}
    handles = [
        Line2D([], [], color=colour, marker=shape, lw=1.5, ms=5, label=VERDICTS[kind])
        for kind, (colour, shape) in MARKS.items()
        if kind in kinds
    ]
    if any(map(has_ring, rows)):
        handles.append(
            Line2D([], [], marker="o", mfc="none", mec="black", lw=0, ms=6, mew=0.8, label=FAST)
        )
    drawn.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    _write(drawn, path)


def has_ring(row: Row) -> bool:
    """Tell whether the fast model is shown beside the one that leads."""
    return FAST in row.errors and row.main != FAST


def draw_headline(ratios: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw what is left of a random forest's error: ours, and that of the best other model."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.4, 0.7 + 0.36 * len(ratios)), layout="constrained")
    ax = drawn.subplots()
    marks = {"best other": MARKS["tie"], "sklearn_kt": MARKS["win"]}
    for place, found in enumerate(ratios.values()):
        ax.plot([found["sklearn_kt"], found["best other"]], [place] * 2, color="#cccccc", lw=3)
        for label, (colour, shape) in marks.items():
            ax.plot(found[label], place, shape, color=colour, ms=8, label="" if place else label)
    ax.axvline(1, color="black", lw=1, zorder=0)
    ax.set_yticks(range(len(ratios)), list(ratios), fontsize=10)
    ax.set_ylim(len(ratios) - 0.5, -0.5)
    ax.set_xlabel("error, where a random forest on Magpie features has 1", fontsize=10)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right", "left"]].set_visible(False)
    drawn.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=10)
    # the picture of a page without a background of its own is read on dark ones, too
    _write(drawn, path, headline_said(ratios), facecolor="white")


def headline_said(ratios: Mapping[str, Mapping[str, float]]) -> str:
    """Spell what the headline's picture shows, for those who do not see it."""
    return "; ".join(
        f"{' '.join(name.split())}: "
        + ", ".join(f"{label} {found[label]:.3f}" for label in ("sklearn_kt", "best other"))
        for name, found in ratios.items()
    )


def _write(drawn: Figure, path: Path, said: str | None = None, **options: Any) -> None:
    """Write a picture: of the same contents the same bytes."""
    from matplotlib import rc_context

    svg = path.suffix == ".svg"
    with rc_context({"svg.hashsalt": path.stem}):
        about = {"Date": None, "Description": said} if svg else None
        drawn.savefig(path, metadata=about, **options)


def draw_marks(
    rows: Mapping[str, Mapping[str, Mark]], path: Path, label: str, line: float | None = None
) -> None:
    """Draw values with their intervals, a line each, and each series in a colour and shape."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for found in rows.values() for name in found))
    styles = dict(zip(names, MARKS.values(), strict=False))
    drawn = Figure(figsize=(4.2, 0.9 + 0.34 * len(rows)), layout="constrained")
    ax = drawn.subplots()
    for place, found in enumerate(rows.values()):
        for name, (value, low, high) in found.items():
            colour, shape = styles[name]
            ax.plot([low, high], [place, place], color=colour, lw=1.5, alpha=0.6)
            ax.plot(value, place, shape, color=colour, ms=6, label="" if place else name)
    if line is not None:
        ax.axvline(line, color="black", lw=1, zorder=1)
    ax.set_yticks(range(len(rows)), list(rows), fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(label, fontsize=9)
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right", "left"]].set_visible(False)
    if len(names) > 1:
        drawn.legend(loc="outside upper center", ncols=len(names), fontsize=8, frameon=False)
    _write(drawn, path)


def draw_costs(benchmarks: Mapping[str, Mapping[str, tuple[float, float]]], path: Path) -> None:
    """Draw error against seconds, one panel a benchmark, below each other."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    benchmarks = {name: points for name, points in benchmarks.items() if points}
    drawn = Figure(figsize=(4.2, 3.4 * len(benchmarks)), layout="constrained")
    axes = drawn.subplots(len(benchmarks), squeeze=False)[:, 0]
    for ax, (name, points) in zip(axes, benchmarks.items(), strict=True):
        line = [points[model] for model in front(points)]
        ax.plot(*zip(*line, strict=True), color="#555555", lw=1, drawstyle="steps-post", zorder=1)
        for model, point in points.items():
            colour, shape = MARKS["win"] if is_ours(model) else MARKS["loss"]
            ax.plot(*point, shape, color=colour, ms=6, zorder=2)
        ax.set(xscale="log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("seconds to fit and predict a fold", fontsize=9)
        ax.set_ylabel(f"error / {REFERENCE}'s", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.margins(0.12)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    # places of labels count from where the axes will stand
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    for ax, points in zip(axes, benchmarks.values(), strict=True):
        write_names(ax, points)
    _write(drawn, path)


def write_names(ax: Any, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each model beside its point, where nothing else stands."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    centres = [ax.transData.transform(point) for point in points.values()]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in centres]
    for model, point in points.items():
        colour = MARKS["win" if is_ours(model) else "loss"][0]
        for place, (x, y) in enumerate(LABEL_PLACES):
            text = ax.annotate(
                model,
                point,
                (x, y),
                textcoords="offset points",
                ha="left" if x > 0 else "right" if x < 0 else "center",
                va="center",
                fontsize=8,
                color=colour,
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour} if place >= 6 else None,
            )
            # puts it in its place; its box is that of the letters, without the line
            text.get_window_extent()
            box = Text.get_window_extent(text)
            free = not any(box.overlaps(other) for other in taken)
            last = place == len(LABEL_PLACES) - 1
            if last or (free and ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 + 12):
                taken.append(box)
                break
            text.remove()


def draw_learning_curve(content: Mapping[str, Any], path: Path) -> None:
    """One panel a table, one line a model."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    frame = pd.DataFrame(content["scores"])
    tables, sizes = frame["table"].unique(), frame["rows"].unique()
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, len(tables))
    for ax, table in zip(axes, tables, strict=True):
        part = frame[frame["table"] == table]
        for model, (label, colour) in LEARNERS.items():
            line = part[part["model"] == model].sort_values("rows")
            ax.plot(line["rows"], line["mae"], "o-", color=colour, label=label, markersize=4)
        ax.set(xscale="log", yscale="log", title=table, xlabel="training rows")
        unit = part["unit"].iloc[0]
        ax.set_ylabel(f"mean absolute error ({unit})" if unit else "mean absolute error")
        ax.minorticks_off()
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.yaxis.set_major_locator(MaxNLocator(6))
        ax.yaxis.set_major_formatter(ScalarFormatter())
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=150)


def draw_speed(kept: Mapping[str, Any], path: Path) -> None:
    """Draw seconds and memory against the number of formulas, log-log."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2)
    colors: dict[str, str] = {}
    for name, done in kept["parts"].items():
        kind, _, model = name.partition(" ")
        marker = {"fit": "s", "predict": "^"}.get(kind, "o")
        # one of a model, whatever it does
        color = colors.setdefault(model if marker != "o" else name, f"C{len(colors)}")
        rows = [(int(n), found) for n, found in done.items() if "wall_s" in found]
        style = "--" if "magpie" in name else "-"
        for axis, key in zip(axes, ("wall_s", "peak_mb"), strict=True):
            axis.plot(
                [n for n, _ in rows],
                [found[key] for _, found in rows],
                style,
                color=color,
                marker=marker,
                label=name,
            )
    for axis, label in zip(axes, ("seconds", "peak memory, MB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="formulas", ylabel=label)
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)
