"""Explicit transfer beside implicit transfer, their blend, and Magpie with a random forest.

    python benchmarks/bench_explicit.py --cache-dir CACHE
    python benchmarks/bench_explicit.py --cache-dir CACHE --tasks matbench_expt_gap --folds 1 2

Every fold is kept in benchmarks/results/explicit/ as soon as it is done, so a run that was
stopped goes on; benchmarks/results/explicit.json and .md are written anew after each. The folds
behind them are in the repository; --folder names another place for new ones. The tables are
looked for in --data-dir or SKLEARN_KT_DATA. ABOUT says what the models are.

The five JARVIS tables are the smallest of the thirty. The default checkpoint was pretrained
on labels of phonons and AFLOW: there all models do without it (checkpoint=None).
"""

from __future__ import annotations

import argparse
import gzip
import json
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    ExplicitKTClassifier,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
    read_compositions,
)
from sklearn_kt._files import replacing
from sklearn_kt.benchmarking import jarvis_task, matbench_task, score_predictions
from sklearn_kt.datasets import data_home
from sklearn_kt.estimators.readouts import smooth_readout
from sklearn_kt.evaluation import library_versions, make_model
from sklearn_kt.structures import Cached, PrototypeGenerator, load_library
from sklearn_kt.structures.reading import read_rows, read_structure
from sklearn_kt.structures.stoichiometry import integer_formulas

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SEED = 0
MATBENCH = ("matbench_expt_gap", "matbench_expt_is_metal", "matbench_glass")
JARVIS = ("min_ir_mode", "piezo_max_diel", "piezo_max_diio", "piezo_max_eij", "piezo_max_dij")
TRUE = ("phonons", "supercon_tc", "aflow_bulk_modulus", "aflow_shear_modulus")
# the default checkpoint was pretrained on labels of these
WITHOUT_CHECKPOINT = ("phonons", "aflow_bulk_modulus", "aflow_shear_modulus")
MODELS = ("imkt", "exkt", "exkt_kernel", "blended", "rf-magpie", "absent", "true")
MAX_KERNEL_ROWS = 8_000
ABOUT = f"""\
Models, with their defaults but for what is said here:

- imkt: `ImplicitKTRegressor` or `-Classifier` with `readout="fast"`, for the sake of time;
- exkt: `ExplicitKTRegressor` or `-Classifier`, with a composition model like that of imkt for
  rows without a structure;
- exkt_kernel: the same with a kernel machine as readout, for numbers of at most
  {MAX_KERNEL_ROWS:,} rows;
- blended: `BlendedKTRegressor` or `-Classifier` of these, blended on folds of the training rows;
- rf-magpie: a random forest on Magpie features.

Where the data have the true structures, three explicit models show what generation costs:
true is trained on and predicts from true structures; absent generates from a library
without the compositions of the task; exkt is the default, whose library knows many of them.
The default checkpoint was pretrained on labels of phonons and AFLOW: there all models do
without it (`checkpoint=None`).
"""
DIGITS = 6
# rows a class needs to be listed
LEAST = 20
HALOGENS, CHALCOGENS, PNICTOGENS = {9, 17, 35, 53}, {16, 34, 52}, {7, 15, 33, 51}
METALLOIDS = {1, 2, 5, 6, 10, 14, 18, 32, 36, 54}


@dataclass(frozen=True)
class Task:
    """A table with its splits."""

    name: str
    kind: str
    formulas: np.ndarray
    y: np.ndarray
    folds: dict[int, tuple[np.ndarray, np.ndarray]]
    unit: str
    structures: list[Any] | None = None


def load(name: str, data_dir: Path) -> Task:
    """Read a task by name."""
    if name not in TRUE:
        found: Any = (
            matbench_task(name, data_dir / "matbench")
            if name in MATBENCH
            else jarvis_task(name, data_dir)
        )
        unit = found.unit if found.kind == "regression" else "ROC AUC"
        return Task(name, found.kind, found.formulas, found.y, found.folds, unit)
    if name == "phonons":
        return phonons(data_dir)
    file, key, split = {
        "supercon_tc": ("jarvis_supercon_dft", "Tc_K", lambda row: row["split"]),
        "aflow_bulk_modulus": (
            "aflow_5prop",
            "bulk_modulus",
            lambda row: row["split"].get("bulk_modulus"),
        ),
        "aflow_shear_modulus": (
            "aflow_5prop",
            "shear_modulus",
            lambda row: row["split"].get("shear_modulus"),
        ),
    }[name]
    rows = [
        row
        for row in read_rows(data_dir / "structures" / f"{file}.jsonl.gz")
        if row.get(key) is not None and split(row)
    ]
    test = np.array([split(row) == "test" for row in rows])
    folds = {0: (np.flatnonzero(~test), np.flatnonzero(test))}
    crystals = [read_structure(row) for row in rows]
    formulas = np.array([c.composition.reduced_formula for c in crystals], dtype=object)
    unit = "K" if key == "Tc_K" else "GPa"
    y = np.array([row[key] for row in rows], float)
    return Task(name, "regression", formulas, y, folds, unit, crystals)


def phonons(data_dir: Path) -> Task:
    """Read matbench_phonons with its structures and official folds."""
    import pandas as pd
    from pymatgen.core import Structure

    with gzip.open(data_dir / "structures" / "matbench_phonons.json.gz", "rt") as file:
        content = json.load(file)
    crystals = [Structure.from_dict(state) for state, _ in content["data"]]
    y = np.array([value for _, value in content["data"]], float)
    table = pd.read_csv(data_dir / "matbench" / "matbench_phonons.csv.gz", keep_default_na=False)
    assert np.allclose(table["last phdos peak"], y)
    number = table["test_fold"].to_numpy()
    folds = {k: (np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(5)}
    formulas = np.array([c.composition.reduced_formula for c in crystals], dtype=object)
    return Task("phonons", "regression", formulas, y, folds, "cm^-1", crystals)


def in_library(formulas: np.ndarray) -> np.ndarray:
    """Tell which compositions the prototype library knows."""
    library = load_library()
    elements, amounts = (library.arrays[k].tolist() for k in ("elements", "amounts"))
    known = {
        frozenset((z, n) for z, n in zip(e, a, strict=True) if z)
        for e, a in zip(elements, amounts, strict=True)
    }
    out = []
    for formula in integer_formulas(read_compositions(formulas.tolist()), 200):
        out.append(formula is not None and frozenset(formula.counts.items()) in known)
    return np.array(out)


def atoms(formulas: np.ndarray) -> Iterator[dict[int, float]]:
    """Amount of each atomic number."""
    batch = read_compositions(formulas.tolist())
    for start, stop in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
        numbers = batch.atomic_numbers[start:stop].tolist()
        yield dict(zip(numbers, batch.amounts[start:stop].tolist(), strict=True))


def chemistry(formulas: np.ndarray) -> np.ndarray:
    """Sort compositions by their most electronegative kind of element."""
    out = []
    for row in atoms(formulas):
        numbers = set(row)
        if 8 in numbers:
            out.append("oxides")
        elif numbers & HALOGENS:
            out.append("halides")
        elif numbers & CHALCOGENS:
            out.append("chalcogenides")
        elif numbers & PNICTOGENS:
            out.append("pnictides")
        elif numbers & METALLOIDS:
            out.append("of metalloids")
        else:
            out.append("intermetallics")
    return np.array(out)


def checkpoint(task: Task) -> str | None:
    """Name the checkpoint that all models of a task start from."""
    return None if task.name in WITHOUT_CHECKPOINT else "default"


def outputs(model: Any, kind: str, formulas: np.ndarray, **settings: Any) -> np.ndarray:
    """Numbers, or probabilities of True."""
    if kind == "regression":
        return np.asarray(model.predict(formulas, **settings), float)
    return model.predict_proba(formulas, **settings)[:, 1]


def run_fold(task: Task, fold: int, cache: Path) -> dict[str, Any]:
    """Fit every model and predict the test rows."""
    train, test = task.folds[fold]
    X, y, X_test = task.formulas[train], task.y[train], task.formulas[test]
    regression = task.kind == "regression"
    implicit: Any = ImplicitKTRegressor if regression else ImplicitKTClassifier
    explicit: Any = ExplicitKTRegressor if regression else ExplicitKTClassifier
    blending: Any = BlendedKTRegressor if regression else BlendedKTClassifier
    common = {"checkpoint": checkpoint(task), "random_state": SEED}
    parts = {
        "imkt": implicit(readout="fast", **common),
        "exkt": explicit(fallback="nan", cache_dir=cache, **common),
    }
    if regression and len(X) <= MAX_KERNEL_ROWS:
        parts["exkt_kernel"] = clone(parts["exkt"]).set_params(readout=smooth_readout())
    start = time.process_time()
    blended = blending(list(parts.items()), random_state=SEED).fit(X, y)
    found = {"blended": outputs(blended, task.kind, X_test)}
    # the blend's own models are those of the defaults; only one that it left out is fitted anew
    for name, model in parts.items():
        fitted = blended.named_estimators_.get(name)
        fitted = model.fit(X, y) if fitted is None else fitted
        found[name] = outputs(fitted, task.kind, X_test)
    gaps = np.isnan(found["exkt"])
    for name in parts:
        found[name] = np.where(gaps, found["imkt"], found[name])
    seconds = {"blended": time.process_time() - start}
    others = {"rf-magpie": make_model("rf-magpie", task.kind, random_state=SEED)}
    for name, model in others.items():
        start = time.process_time()
        found[name] = outputs(model.fit(X, y), task.kind, X_test)
        seconds[name] = time.process_time() - start
    if task.structures is not None:
        found |= bounds(task, train, test, found["imkt"], cache)
    return {
        "task": task.name,
        "fold": fold,
        "weights": blended.weights_,
        "training_scores": blended.scores_,
        "no_structure": int(gaps.sum()),
        "cpu_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "predictions": {k: np.round(v, DIGITS).tolist() for k, v in found.items()},
    }


def bounds(
    task: Task, train: np.ndarray, test: np.ndarray, implicit: np.ndarray, cache: Path
) -> dict[str, np.ndarray]:
    """Predict from true structures, and from a library that knows none of the compositions."""
    assert task.structures is not None
    given = ([task.structures[i] for i in rows] for rows in (train, test))
    X, y, X_test = task.formulas[train], task.y[train], task.formulas[test]
    common = {
        "checkpoint": checkpoint(task),
        "fallback": "nan",
        "cache_dir": cache,
        "random_state": SEED,
    }
    model = ExplicitKTRegressor(**common)
    model.fit(X, y, structures=next(given))
    found = {"true": model.predict(X_test, structures=next(given))}
    with tempfile.TemporaryDirectory() as folder:
        library = load_library()
        taken = {
            frozenset(formula.counts.items())
            for formula in integer_formulas(read_compositions([*X, *X_test]), 1000)
            if formula is not None
        }
        pairs = zip(
            library.arrays["elements"].tolist(), library.arrays["amounts"].tolist(), strict=True
        )
        own = [frozenset((z, n) for z, n in zip(e, a, strict=True) if z) in taken for e, a in pairs]
        path = Path(folder) / "library.npz"
        np.savez(path, **library.without(np.flatnonzero(own)).arrays)
        generator = Cached(PrototypeGenerator(path), cache)
        model = ExplicitKTRegressor(generator, **common).fit(X, y)
        found["absent"] = model.predict(X_test)
    return {name: np.where(np.isnan(v), implicit, v) for name, v in found.items()}


def score(task: Task, rows: np.ndarray, values: np.ndarray) -> float:
    """MAE, or ROC AUC."""
    y = task.y[rows]
    if task.kind == "regression":
        return float(np.abs(y - values).mean())
    return score_predictions("classification", y, values > 0.5, values)["roc_auc"]


def errors(task: Task, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Absolute error of each row; of the probability, for classes."""
    return np.abs(task.y[rows].astype(float) - values)


def render(args: argparse.Namespace) -> None:
    """Write the JSON file and the page of what there is so far."""
    records = [json.loads(path.read_text()) for path in sorted(args.folder.glob("*.json"))]
    order = [*MATBENCH, *JARVIS, *TRUE]
    by_task = {name: [r for r in records if r["task"] == name] for name in order}
    by_task = {name: found for name, found in by_task.items() if found}
    tasks = {name: load(name, args.data_dir) for name in by_task}
    scores: dict[str, Any] = {}
    parts: list[dict[str, Any]] = []
    for name, found in by_task.items():
        task = tasks[name]
        names = [m for m in MODELS if all(m in r["predictions"] for r in found)]
        tests = [task.folds[r["fold"]][1] for r in found]
        scores[name] = {
            "unit": task.unit,
            "folds": [r["fold"] for r in found],
            "rows": int(sum(map(len, tests))),
            "no_structure": sum(r["no_structure"] for r in found),
            "weight_of_exkt": round(
                float(np.mean([1 - r["weights"].get("imkt", 0) for r in found])), 3
            ),
            "cpu_seconds_of_blended": round(
                float(np.mean([r["cpu_seconds"]["blended"] for r in found])), 1
            ),
            **{
                m: round(
                    float(
                        np.mean(
                            [
                                score(task, rows, np.array(r["predictions"][m]))
                                for r, rows in zip(found, tests, strict=True)
                            ]
                        )
                    ),
                    4,
                )
                for m in names
            },
        }
        rows = np.concatenate(tests)
        wrong = {
            m: errors(task, rows, np.concatenate([r["predictions"][m] for r in found]))
            for m in names
        }
        groups = {
            "by chemistry": chemistry(task.formulas[rows]),
            "by library": np.where(
                in_library(task.formulas[rows]), "in the library", "not in the library"
            ),
        }
        for grouping, labels in groups.items():
            for label in sorted(set(labels.tolist())):
                mask = labels == label
                if mask.sum() >= LEAST:
                    parts.append(
                        {
                            "task": name,
                            "grouping": grouping,
                            "group": label,
                            "rows": int(mask.sum()),
                            **{m: round(float(e[mask].mean()), 4) for m, e in wrong.items()},
                        }
                    )
    better = {
        name: s["blended"] < s["imkt"] if s["unit"] != "ROC AUC" else s["blended"] > s["imkt"]
        for name, s in scores.items()
    }
    command = shlex.join(["python", "benchmarks/bench_explicit.py", *sys.argv[1:]])
    content = {
        "command": command,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": library_versions(),
        "blended_beats_imkt": f"{sum(better.values())} of {len(better)}",
        "scores": scores,
        "mean_absolute_errors": parts,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    args.folder.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    lines = [
        "# Explicit transfer",
        "",
        f"{content['date']}, `{command}`, seed {SEED}. MAE in the unit given, or ROC AUC; means",
        "over the folds listed. Better than imkt in bold.",
        "",
        ABOUT,
        *table(
            ["task", "unit", "folds", "no structure", "weight of exkt", *MODELS],
            [
                [
                    name,
                    s["unit"],
                    " ".join(map(str, s["folds"])),
                    f"{s['no_structure']} of {s['rows']}",
                    f"{s['weight_of_exkt']:.2f}",
                    *(figure(s, m) for m in MODELS),
                ]
                for name, s in scores.items()
            ],
        ),
        "",
        f"The blend beats imkt on {content['blended_beats_imkt']} tasks.",
    ]
    for grouping in ("by chemistry", "by library"):
        lines += ["", f"## Mean absolute error {grouping}", ""]
        lines += ["Of the probability, for classes.", ""]
        chosen = [p for p in parts if p["grouping"] == grouping]
        lines += table(
            ["task", "group", "rows", *MODELS],
            [
                [p["task"], p["group"], str(p["rows"]), *(figure(p, m) for m in MODELS)]
                for p in chosen
            ],
        )
    args.folder.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def figure(row: dict[str, Any], model: str) -> str:
    """Spell a score; bold if it beats implicit transfer."""
    if model not in row:
        return ""
    gain = row[model] - row["imkt"] if row.get("unit") == "ROC AUC" else row["imkt"] - row[model]
    text = f"{row[model]:.4g}"
    return f"**{text}**" if gain > 0 and model != "imkt" else text


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Spell a markdown table."""
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def main() -> None:
    """Run what has no result yet, then render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=(*MATBENCH, *JARVIS, *TRUE), metavar="TASK")
    parser.add_argument("--folds", nargs="+", type=int, help="default: all")
    parser.add_argument("--data-dir", type=Path, default=data_home())
    parser.add_argument("--cache-dir", type=Path, help="keeps structures and their features")
    parser.add_argument("--folder", type=Path, default=RESULTS / "explicit")
    parser.add_argument("--render-only", action="store_true", help="run nothing")
    args = parser.parse_args()
    if args.data_dir is None:
        parser.error("set SKLEARN_KT_DATA or pass --data-dir")
    args.folder.mkdir(parents=True, exist_ok=True)
    # near stoichiometries of alloys, and rows without structures, are counted in the results
    warnings.simplefilter("ignore")
    names = () if args.render_only else args.tasks or (*JARVIS, *MATBENCH, *TRUE)
    for name in names:
        task = load(name, args.data_dir)
        for fold in task.folds:
            path = args.folder / f"{name}-{fold}.json"
            if path.exists() or (args.folds and fold not in args.folds):
                continue
            record = run_fold(task, fold, args.cache_dir)
            with replacing(path) as partial:
                partial.write_text(json.dumps(record) + "\n", encoding="utf-8")
            render(args)
            print(name, fold, record["weights"], record["cpu_seconds"], file=sys.stderr)
    render(args)
    print(args.folder.with_suffix(".md"))


if __name__ == "__main__":
    main()
