"""The pages of the benchmarks and of explicit transfer: every task and model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.accuracy.compare import PUBLISHED, RECORDED
from benchmarks.accuracy.transfer import ABOUT
from benchmarks.accuracy.transfer import MODELS as TRANSFER_MODELS
from benchmarks.common import Kept
from benchmarks.models import MODELS, SEED
from sklearn_kt.benchmarking import leaderboard, read_leaderboard
from sklearn_kt.benchmarking.published import leaderboard_text
from sklearn_kt.evaluation import compare_models, mean_reduction, rank_models, win_tie_loss
from sklearn_kt.evaluation.text import audit_lines, comparison_text, summary_text

from .calculated import REPORTED
from .contents import DUMMY, FAST, GUPTA, MAIN, SCRATCH, beside_gupta
from .tables import figure, folded, table

SCORES = ("mae", "r2", "roc_auc", "roc_auc_of_labels")
# where one class is all there is, no other score is defined
UNSEEN_SCORES = (*SCORES, "accuracy")
# rows that a class needs to be listed
LEAST = 20


def markdown(frame: pd.DataFrame) -> str:
    """Spell a table of text."""
    return table(list(frame.columns), frame.to_numpy().tolist())


def benchmark_text(kept: Kept) -> str:
    """Spell everything about one benchmark."""
    return "\n".join(_benchmark_lines(kept)) + "\n"


def _benchmark_lines(kept: Kept) -> Iterator[str]:
    ours = ", ".join(name for name, about in MODELS.items() if not about.peer)
    command = f"python -m benchmarks.accuracy.compare {kept.folder.name}"
    yield f"{kept.about['date'][:10]}, `{command}`, seed {SEED}. Models: our own"
    yield f"({ours}) and peers. Seconds and memory are those of one fold.\n"
    yield f"{_coverage_of_models(kept)}\n"
    if (kept.folder / PUBLISHED).exists():
        published, others = read_leaderboard(kept.folder / PUBLISHED), ""
        if (kept.folder / REPORTED).exists():
            reported = pd.read_csv(kept.folder / REPORTED, float_precision="round_trip")
            published = pd.concat([published, reported.drop(columns="source")])
            others = f", and {' and '.join(reported['model'].unique())}, which were not submitted"
        for name in kept.tasks:
            board = markdown(leaderboard_text(leaderboard(kept, published, name)))
            about = f"With recorded scores of published submissions{others}; * is run here."
            yield folded(f"Leaderboard of {name}", f"{about}\n\n{board}")
    if (kept.folder / GUPTA).exists():
        yield from _gupta_lines(kept)
    if (kept.folder / RECORDED).exists():
        yield from _recorded_lines(kept)
    summary = kept.summary()
    scores = markdown(summary_text(summary, _known(summary, SCORES)))
    yield folded("Scores, time and memory", f"{scores}\n{_hours(summary, len(kept.tasks))}")
    unseen = kept.summary("unseen")
    yield folded(
        "Test rows that pretraining has not seen",
        markdown(summary_text(unseen, _known(unseen, UNSEEN_SCORES), rows=True, times=False)),
    )
    if len(kept.complete(kept.tasks)) > 1:
        yield from _statistics(kept)
    yield folded("Audit", "\n".join(f"- {line}" for line in audit_lines(kept.about["audit"])))
    yield folded("Versions", "\n".join(_versions(kept)))


def _coverage_of_models(kept: Kept) -> str:
    """Name the models that have run on some of the tasks, or on none."""
    counts = kept.scores.groupby("model")["task"].nunique()
    ran = {name: int(counts.get(name, 0)) for name in MODELS}
    some = [f"{name} ({n})" for name, n in ran.items() if 0 < n < len(kept.tasks)]
    none = [name for name, n in ran.items() if not n]
    return (
        f"Of {len(kept.tasks)} tasks, run on some: {', '.join(some) or 'no model'}. Not run: "
        f"{', '.join(none) or 'no model'}."
    )


def _gupta_lines(kept: Kept) -> Iterator[str]:
    """Write our default beside published transfer learning."""
    found = beside_gupta(kept)
    about = (
        "MAEs that Gupta et al. published for the same splits (Nat. Commun. 12, 6595 (2021), Table "
        "4): their best model without transfer, and their best transfer model. "
        f"`{MAIN}` has the smaller MAE on {(found['ratio'] < 1).sum()} of {len(found)} tables; the "
        f"mean ratio to the better of the two is {found['ratio'].mean():.3f}.\n"
    )
    rows = [
        [
            str(name),
            kept.tasks[str(name)].unit,
            *(figure(row[key]) for key in ("scratch_mae", "transfer_mae", "ours")),
            f"{row['ratio']:.2f}" if row["ratio"] < 1 else f"**{row['ratio']:.2f}**",
        ]
        for name, row in found.sort_values("ratio").iterrows()
    ]
    head = ["table", "unit", "without transfer", "transfer", f"`{MAIN}`", "ratio"]
    yield folded("Beside published transfer learning", f"{about}\n{table(head, rows)}")


def _recorded_lines(kept: Kept) -> Iterator[str]:
    """Write means over the folds: of the models that others published, and of those run here."""
    found = pd.read_csv(kept.folder / RECORDED)
    found["task"] = "thermoelectrics_" + found["property"]
    recorded = found.pivot_table("mae", "model", "task", sort=False)
    run = kept.summary().pivot_table("mae", "model", "task", sort=False)
    new = kept.summary("unseen").pivot_table("mae", "model", "task", sort=False)
    about = (
        "Mean MAE over the five recorded folds of seed 1; * is run here. DopNet, random forest "
        "and CrabNet are as published by the source of the table; models of several targets (MT) "
        "have folds of their own, so that their differences from the others are partly those of "
        "the folds.\n"
    )
    units = {task: part.unit for task, part in kept.tasks.items()}
    head = [
        "model",
        *(f"{name.partition('_')[2]}{f', {unit}' if unit else ''}" for name, unit in units.items()),
    ]
    best = pd.concat([recorded, run]).min()
    lines = []
    for label, scores in (("{}", recorded), ("{} *", run)):
        for model, row in scores.iterrows():
            values = {task: row.get(task, math.nan) for task in units}
            cells = [
                f"**{figure(value)}**" if value == best[task] else figure(value)
                for task, value in values.items()
            ]
            lines.append([label.format(model), *cells])
    said = [about, table(head, lines)]
    if len(new):
        unseen = [
            [f"{model} *", *(figure(row.get(task, math.nan)) for task in units)]
            for model, row in new.iterrows()
        ]
        said += ["On formulas that pretraining has not seen:\n", table(head, unseen)]
    yield folded("Beside recorded scores", "\n".join(said))


def _known(summary: pd.DataFrame, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in summary and summary[name].notna().any()]


def _hours(summary: pd.DataFrame, n_tasks: int) -> str:
    """Spell what a run of each model takes."""
    spent = (summary["fit_seconds"] + summary["predict_seconds"]) * summary["n_folds"] / 3600
    said = []
    for name, hours in spent.groupby(summary["model"], sort=False):
        some = f" ({len(hours)} of {n_tasks} tasks)" if len(hours) < n_tasks else ""
        said.append(f"{name} {hours.sum():.2g}{some}")
    return f"Hours that this took, one fold after the other: {', '.join(said)}.\n"


def main_model(kept: Kept) -> str:
    """Name the model that the others are compared with: the first of ours that ran on all."""
    complete = kept.complete(kept.tasks)
    return next((name for name in (MAIN, FAST, *SCRATCH) if name in complete), complete[0])


def reductions(kept: Kept) -> dict[str, float]:
    """By what part the main model's MAE is below the best peer's, and below its own scratch's."""
    main, summary = main_model(kept), kept.summary()
    peers = [n for n in kept.models if n in MODELS and MODELS[n].peer and n not in (DUMMY, main)]
    found = {}
    if peers:
        rows = summary[summary["model"].isin([main, *peers])]
        found["the best peer of each task"] = mean_reduction(rows, main)
    scratch = MODELS[main].scratch if main in MODELS else None
    if scratch in kept.models:
        found[f"{scratch}, where it ran"] = mean_reduction(summary, main, scratch)
    return found


def _statistics(kept: Kept) -> Iterator[str]:
    """Write ranks, wins and losses, and differences."""
    main = main_model(kept)
    whole = kept.only(models=kept.complete(kept.tasks))
    ranking = rank_models(whole.summary(), {name: p.kind for name, p in kept.tasks.items()})
    said = [
        f"Mean rank by MAE or ROC AUC over all tasks; Friedman p = {ranking.p_value:.2g}, critical"
        f" difference {ranking.critical_difference:.2f}.\n",
        markdown(ranking.table.round(2).astype(str)),
    ]
    for label, part in reductions(kept).items():
        said.append(f"Mean reduction of the MAE by {main} against {label}: {part:.1%}.\n")
    yield folded("Ranks", "\n".join(said))
    against = [compare_models(kept.only([task]), main) for task in kept.tasks]
    yield folded(
        f"Against {main}, with 95 % intervals",
        markdown(comparison_text(pd.concat(against, ignore_index=True))),
    )
    yield folded("Wins, ties and losses", markdown(win_tie_loss(compare_models(whole)).astype(str)))


def _versions(kept: Kept) -> Iterator[str]:
    """Write versions and machine, and of how many folds of which models they differ from most."""
    found = {
        name: [record.versions for task in kept.tasks for record in kept.records(task, name)]
        for name in kept.models
    }
    records = [versions for folds in found.values() for versions in folds]
    counts = Counter(item for versions in records for item in versions.items())
    usual: dict[str, str] = {}
    for (name, version), _ in counts.most_common():
        # what only some peers have is theirs
        if sum(name in versions for versions in records) > len(records) / 2:
            usual.setdefault(name, version)
    names = dict.fromkeys(name for versions in records for name in versions if name in usual)
    yield ", ".join(f"{name} {usual[name]}" for name in names) + "."
    for model, folds in found.items():
        others = Counter(
            ", ".join(f"{k} {v}" for k, v in versions.items() if usual.get(k) != v)
            for versions in folds
        )
        for said, n in others.items():
            if said:
                part = "" if n == len(folds) else f", {n} of {len(folds)} folds"
                yield f"\n{model}{part}: {said}."


# ------------------------------------------------------------ explicit transfer


def explicit_text(kept: Kept) -> str:
    """Spell where structures help."""
    return "\n".join(_explicit_lines(kept)) + "\n"


def _explicit_lines(kept: Kept) -> Iterator[str]:
    scores = {task: _scores(kept, task) for task in kept.tasks}
    yield f"{kept.about['date']}, `{kept.about['command']}`, seed {SEED}. MAE in the unit given, or"
    yield "ROC AUC; means over the folds listed. Better than imkt in bold.\n"
    yield ABOUT
    said = kept.about["folds"]
    rows = []
    for task, part in kept.tasks.items():
        folds = said[task].values()
        tested = sum(len(p.y) for p in kept.parts.values() if p.task == task)
        weight = np.mean([1 - fold["weights"].get("imkt", 0) for fold in folds])
        rows.append(
            [
                task,
                part.unit if part.kind == "regression" else "ROC AUC",
                " ".join(said[task]),
                f"{sum(fold['no_structure'] for fold in folds)} of {tested}",
                f"{weight:.2f}",
                *_cells(scores[task], part.kind == "classification"),
            ]
        )
    head = ["task", "unit", "folds", "no structure", "weight of exkt", *TRANSFER_MODELS]
    yield folded("Scores", table(head, rows))
    silent = {
        task: sum(fold["no_text"] for fold in said[task].values())
        for task in kept.tasks
        if all("no_text" in fold for fold in said[task].values())
    }
    if silent:
        counts = ", ".join(f"{number} of {task}" for task, number in silent.items())
        yield f"Test rows for which CrystaLLM wrote no valid text, and imkt answers: {counts}.\n"
    won = [
        (found["blended"] < found["imkt"]) == (kept.tasks[task].kind == "regression")
        for task, found in scores.items()
    ]
    yield f"The blend beats imkt on {sum(won)} of {len(won)} tasks."
    for grouping in ("by chemistry", "by library"):
        found = table(["task", "group", "rows", *TRANSFER_MODELS], list(_groups(kept, grouping)))
        about = "Of the probability, for classes."
        yield folded(f"Mean absolute error {grouping}", f"{about}\n\n{found}")


def _scores(kept: Kept, task: str) -> dict[str, float]:
    """Mean score of each model on a task."""
    summary = kept.only([task]).summary().set_index("model")
    return dict(summary["mae" if kept.tasks[task].kind == "regression" else "roc_auc"])


def transfer_errors(kept: Kept) -> dict[str, dict[str, float]]:
    """Mean error of each model on each task, of classes what is missing to an AUC of 1."""
    found = {}
    for task, part in kept.tasks.items():
        scores = _scores(kept, task)
        found[task] = {m: s if part.kind == "regression" else 1 - s for m, s in scores.items()}
    return found


def _groups(kept: Kept, grouping: str) -> Iterator[list[str]]:
    for task in kept.tasks:
        models = kept.only([task]).models
        errors = {model: kept.absolute_errors(task, model)[0] for model in models}
        labels = np.concatenate(
            [part.labels[grouping] for part in kept.parts.values() if part.task == task]
        )
        for label in sorted(set(labels.tolist())):
            mask = labels == label
            if mask.sum() >= LEAST:
                means = {model: float(error[mask].mean()) for model, error in errors.items()}
                yield [task, label, str(mask.sum()), *_cells(means, larger_is_better=False)]


def _cells(found: dict[str, Any], larger_is_better: bool) -> Iterator[str]:
    """Spell scores; those that beat implicit transfer in bold."""
    for model in TRANSFER_MODELS:
        if model not in found:
            yield ""
            continue
        # as many digits as are shown decide
        own, other = round(found[model], 4), round(found["imkt"], 4)
        better = own > other if larger_is_better else own < other
        yield f"**{own:.4g}**" if better and model != "imkt" else f"{own:.4g}"
