"""Which results are of the weights and the code that are in the package."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from benchmarks.common import Kept, read_json, weights_named, weights_of
from benchmarks.models import BFLOAT16_SINCE, CHANGED, WEIGHTS_SINCE, is_ours

from .contents import MAIN, read_kept
from .tables import table

# results with folds, and small ones whose models start from weights
_FOLDS = {
    "matbench": "MatBench",
    "calculated": "MatBench, calculated",
    "jarvis": "JARVIS-DFT",
    "thermoelectrics": "thermoelectrics",
    "explicit": "explicit transfer",
}
_SMALL = {
    "intervals": "intervals",
    "learning_curve": "learning curve",
    "ablation": "ablation",
    "speed": "seconds by rows",
    "cost": "seconds of a fold",
    "explain": "seconds of explanations",
    "inference": "number formats",
    "screening": "rates of screening",
}
# models with networks, of which more than the weights can differ
_NETWORKS = ("imkt", "imkt-scratch")
# tables of nearly as many training rows as the largest
_LARGE = 0.9
# models of explicit transfer that start from no weights of ours
_PEERS = {"rf-magpie"}


def provenance_text(results: Path) -> str:
    """Spell of when, of which weights and of which code each result of ours is."""
    present = set(weights_of().values())
    rows, exact = [], []
    for name, label in _FOLDS.items():
        kept = read_kept(name, results)
        if kept is not None:
            rows += _rows_of(kept, label, present)
            exact += _in_float32(kept, label)
    for name, label in _SMALL.items():
        if (content := read_json(name, results)) is not None:
            weights = weights_said(content.get("weights", []), present)
            day = content.get("date", "")[:10]
            # of the first results no day was kept
            older = "-" if weights == "in the package" or day > WEIGHTS_SINCE[:10] else "yes"
            rows.append([label, "", day or "-", weights, older])
    if not rows:
        return "No results yet.\n"
    head = ["result", "model", "of", "weights", "older than the model's last change, or weights"]
    return (
        f"{table(head, rows)}\nWeights: those in the package, or others, by what the files of the "
        "folds say; not named: the file does not tell. What is older than the last change of its "
        "model, or of other weights, is a result of an earlier state of the package.\n"
        f"{_precision(exact)}{_minutes(results)}"
    )


def _in_float32(kept: Kept, label: str) -> Iterator[str]:
    """Name models whose networks were trained before processors had a say in the precision."""
    # explicit transfer is beside fast readouts, whatever it calls them
    for model in () if kept.folder.name == "explicit" else _NETWORKS:
        records = [r for task in kept.tasks for r in kept.records(task, model)]
        older = sum(record.date < BFLOAT16_SINCE for record in records)
        if older:
            yield f"{older} of {len(records)} folds of `{model}` on {label}"


def _precision(exact: Sequence[str]) -> str:
    """Say whose networks were trained in float32."""
    if not exact:
        return ""
    return (
        f"\nOf before {BFLOAT16_SINCE} UTC, when networks were trained in float32 as today on "
        f"processors without bfloat16 alone: {', '.join(exact)}, and small results without date.\n"
    )


def _minutes(results: Path) -> str:
    """Say how much the seconds of one model differ on tables of about the same size."""
    kept = read_kept("jarvis", results)
    if kept is None or MAIN not in kept.models:
        return ""
    found = kept.to_frame()
    found = found[(found["model"] == MAIN) & (found["n_train"] > _LARGE * found["n_train"].max())]
    minutes, rows = found["fit_seconds"] / 60, found["n_train"]
    return (
        f"\nLong runs went two at a time and on machines shared with others: fits of `{MAIN}` on "
        f"{rows.min():,} to {rows.max():,} rows of JARVIS-DFT took from {minutes.min():.0f} to "
        f"{minutes.max():.0f} minutes, so compare such seconds by factors, not by percents.\n"
    )


def _rows_of(kept: Kept, label: str, present: set[str]) -> Iterator[list[str]]:
    explicit = kept.folder.name == "explicit"
    for model in kept.models:
        if not (is_ours(model) or explicit) or model in _PEERS:
            continue
        records = [r for task in kept.tasks for r in kept.records(task, model)]
        named = [sha for r in records for sha in weights_named(r.estimator).values()]
        weights = "none" if model.endswith("scratch") else weights_said(named, present)
        dates = sorted(r.date for r in records)
        days = list(dict.fromkeys(date[:10] for date in (dates[0], dates[-1])))
        # explicit transfer has names of its own, and days for dates
        changed = None if explicit else CHANGED.get(model)
        older = f"{sum(d < changed for d in dates)} of {len(dates)}" if changed else "-"
        yield [label, f"`{model}`", " to ".join(days), weights, older]


def weights_said(named: Collection[str], present: Collection[str]) -> str:
    """Say whether weights that are named are those in the package."""
    if not named:
        return "not named"
    others = set(named) - present
    if not others:
        return "in the package"
    return "others" if others == set(named) else "both"
