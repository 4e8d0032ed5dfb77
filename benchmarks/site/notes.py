"""What tables do not say by themselves: sentences whose numbers come from the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks.accuracy.compare import RECORDED
from benchmarks.common import Kept
from benchmarks.models import is_ours
from sklearn_kt.compositions import ELEMENTS, read_compositions
from sklearn_kt.datasets import load_expt_gap

from .contents import BENCHMARKS, DUMMY, FAST, MAIN, leading
from .tables import figure, folded, table

# elements with open 4f shells, whose calculated gaps are wrong
OPEN_SHELLS = ("Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb")
GAP, METAL = "matbench_expt_gap", "matbench_expt_is_metal"
STEELS, GLASS = "matbench_steels", "matbench_glass"
# what ours is compared with
SCRATCH, PEER = "imkt-scratch", "et-magpie"


def against_peers(content: Mapping[str, Any]) -> Iterator[str]:
    """Write on how many tasks ours is better, tied or worse than each peer."""
    main = leading(content)
    verdicts: dict[str, dict[str, list[str]]] = {}
    ahead: dict[str, list[bool]] = {}
    for found in content["statistics"].get("differences", ()):
        peer = found["model"]
        if found["baseline"] == main and peer != DUMMY and not is_ours(peer):
            name = found["task"].removeprefix("matbench_").removeprefix("thermoelectrics_")
            verdicts.setdefault(peer, {}).setdefault(found["verdict"], []).append(name)
            # peer minus ours, of errors or of scores
            ahead.setdefault(peer, []).append(
                (found["difference"] > 0) == (found["score"] == "mae")
            )
    # of the peer
    kinds = ("loss", "tie", "win")
    rows = [
        [
            peer,
            *(_counted(found.get(kind, [])) for kind in kinds),
            f"{sum(ahead[peer])} of {len(ahead[peer])}",
        ]
        for peer, found in sorted(verdicts.items())
    ]
    if rows:
        head = ["peer", f"`{main}` is better on", "tied on", "worse on", "smaller mean error on"]
        about = (
            "By the 95 % intervals of the differences. Tied: the interval includes zero, which "
            "does not show that the two are equally good."
        )
        yield folded(f"Against each peer, {BENCHMARKS[content['benchmark']]}",
                     f"{about}\n\n{table(head, rows)}")  # fmt: skip


def _counted(names: list[str]) -> str:
    few = f" ({', '.join(names)})" if 0 < len(names) <= 3 else ""
    return f"{len(names)}{few}"


# ----------------------------------------------------------------------- MatBench


def matbench_notes(kept: Kept) -> str:
    """Spell what is said of alloys, new formulas and metals."""
    if not {MAIN, PEER} <= set(kept.complete(kept.tasks)):
        return f"`{MAIN}` and `{PEER}` have not run on all tasks yet.\n"
    return "".join(f"- {line}\n" for line in (_alloys(kept), _new_gaps(kept), _new_metals(kept)))


def _score(kept: Kept, task: str, model: str) -> float:
    """Mean MAE, or ROC AUC, of a model; NaN where it has not run on all folds."""
    found = kept.summary()
    found = found[(found["task"] == task) & (found["model"] == model)]
    name = "mae" if kept.tasks[task].kind == "regression" else "roc_auc"
    return float(found[name].iloc[0]) if len(found) else math.nan


def _listed(kept: Kept, task: str, models: tuple[str, ...], digits: str) -> str:
    scores = {model: _score(kept, task, model) for model in models}
    return ", ".join(
        f"`{model}` {value:{digits}}" if value == value else f"`{model}` has not run"
        for model, value in scores.items()
    )


def _alloys(kept: Kept) -> str:
    models = (MAIN, FAST, "exkt")
    return (
        "**Alloys.** Steels and metallic glasses have no crystal of their own: `exkt` takes that "
        "of a near stoichiometry, which says little. Steels, MAE in MPa: "
        f"{_listed(kept, STEELS, models, '.1f')}. Glass, ROC AUC: "
        f"{_listed(kept, GLASS, models, '.4f')}."
    )


def _new_gaps(kept: Kept) -> str:
    """Mean errors on new formulas of expt_gap, by whether they have an open 4f shell."""
    table = load_expt_gap()
    amounts = read_compositions(np.asarray(table.data).ravel()).fractions()
    shells = (amounts[:, np.isin(ELEMENTS, OPEN_SHELLS)] > 0).any(axis=1)
    folds = {r.fold: table.folds[r.fold][1] for r in kept.records(GAP, PEER)}
    new = {fold: kept.parts[GAP, fold].unseen for fold in folds}
    parts = {
        "all": new,
        "open": {fold: new[fold] & shells[rows] for fold, rows in folds.items()},
        "others": {fold: new[fold] & ~shells[rows] for fold, rows in folds.items()},
    }
    said = {}
    for part, chosen in parts.items():
        errors = {}
        for model in (MAIN, SCRATCH, PEER):
            found = [
                np.abs(r.predictions - kept.parts[GAP, r.fold].y)[chosen[r.fold]]
                for r in kept.records(GAP, model)
            ]
            if len(found) == len(folds):
                errors[model] = f"`{model}` {np.concatenate(found).mean():.3f}"
        said[part] = (sum(int(rows.sum()) for rows in chosen.values()), ", ".join(errors.values()))
    return (
        "**Formulas that pretraining has not seen.** All "
        f"{said['all'][0]} of expt_gap are semiconductors, where two thirds of the others are "
        f"metals. MAE in eV: {said['all'][1]}. On the {said['open'][0]} with cerium to ytterbium, "
        "whose calculated gaps, which pretraining has seen, are wrong for their open f shells: "
        f"{said['open'][1]}. On the other {said['others'][0]}: {said['others'][1]}."
    )


def _new_metals(kept: Kept) -> str:
    """Rank the new non-metals of each fold with its metals."""
    scores = {}
    for model in (MAIN, FAST, "rf-magpie", PEER, "et-fractions"):
        found = []
        for record in kept.records(METAL, model):
            part = kept.parts[METAL, record.fold]
            rows = part.unseen | (part.y == 1)
            assert record.probabilities is not None
            found.append(roc_auc_score(part.y[rows], record.probabilities[rows, 1]))
        if found:
            scores[model] = float(np.mean(found))
    ranked = sorted(scores, key=lambda model: -scores[model])
    return (
        "**New formulas of expt_is_metal** are all non-metals, so that no ROC AUC of their own is "
        'defined, and the accuracy compares thresholds only: predicting "non-metal" always would '
        "have no error. Ranked with the metals of their fold, mean ROC AUC: "
        f"{', '.join(f'`{model}` {scores[model]:.4f}' for model in ranked)}."
    )


# ---------------------------------------------------------------- thermoelectrics


def thermoelectrics_notes(kept: Kept) -> str:
    """Spell what the audit counts, and who is ahead of the recorded models."""
    audit = {name.partition("_")[2]: found for name, found in kept.about["audit"]["tasks"].items()}
    same = {name: found["test_rows_in_train"] for name, found in audit.items()}
    twice = [f"{n} of {name}" for name, n in same.items() if n]
    known = [
        f"{found['test_rows_with_quantity_in_pool']:,} of the {found['test_rows']:,} test rows of "
        f"{name}"
        for name, found in audit.items()
        if found.get("test_rows_with_quantity_in_pool")
    ]
    lines = []
    if twice:
        lines.append(
            "No formula is in two folds as it is written; but by its composition a test row is in "
            "the training part too where a formula is written in two ways (Cu2.5Sn0.5Sb0.5Se3.5 "
            f"and Cu5SnSbSe7): {', '.join(twice)}."
        )
    if known:
        lines.append(
            "All targets are measured. Of the same quantity pretraining knows what is calculated "
            f"for the composition, without dopants that a formula does not name: {', '.join(known)}"
            ", and none of the other properties."
        )
    lines += [_mean_ranks(kept), _beside_recorded(kept)]
    return "".join(f"- {line}\n" for line in lines if line)


def _mean_ranks(kept: Kept) -> str:
    """Rank the models by their mean errors, task by task."""
    models = [model for model in kept.complete(kept.tasks) if model != DUMMY]
    errors = kept.only(models=models).summary().pivot_table("mae", "task", "model")
    ranks = errors.rank(axis=1).mean().sort_values()
    said = ", ".join(f"`{model}` {rank:.2f}" for model, rank in ranks.items())
    return f"Mean rank by the MAE, of {len(models)} models on {len(errors)} properties: {said}."


def _beside_recorded(kept: Kept) -> str:
    """Say which of the models run here are ahead of all recorded ones, and where not."""
    if not (kept.folder / RECORDED).exists():
        return ""
    recorded = pd.read_csv(kept.folder / RECORDED).groupby(["property", "model"])["mae"].mean()
    best = recorded.groupby("property").min()
    summary = kept.summary()
    said = []
    for model in (m for m in kept.models if m != DUMMY):
        errors = summary[summary["model"] == model].set_index("task")["mae"]
        errors.index = errors.index.str.partition("_").get_level_values(2)
        behind = [f"{p} ({figure(best[p])})" for p in errors.index if errors[p] >= best[p]]
        not_on = f", not on {', '.join(behind)}" if behind else ""
        said.append(f"`{model}` on {len(errors) - len(behind)} of {len(errors)}{not_on}")
    return f"Smaller mean MAE than every recorded model: {'; '.join(said)}."


NOTES: Mapping[str, Callable[[Kept], str]] = {
    "matbench": matbench_notes,
    "thermoelectrics": thermoelectrics_notes,
}
"""By benchmark."""
