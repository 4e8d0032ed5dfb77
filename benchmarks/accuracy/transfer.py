"""Explicit transfer beside implicit transfer, their blend, and Magpie with a random forest.

    python -m benchmarks.accuracy.transfer --cache-dir CACHE
    python -m benchmarks.accuracy.transfer --cache-dir CACHE --tasks matbench_expt_gap --folds 1 2

Every fold is kept in benchmarks/results/explicit/ as soon as it is done, so a run that was
stopped goes on. The folds behind the page are in the repository; --folder names another place
for new ones. The tables are looked for in --data-dir or SKLEARN_KT_DATA. ABOUT says what the
models are.

One fit of the blend gives its models too, and true structures go beside the formulas: the folds
run here, and tasks, files and scores are those of every benchmark.

The five JARVIS tables are the smallest of the thirty. The default checkpoint was pretrained
on labels of phonons and AFLOW: there all models do without it (checkpoint=None).
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Structure
from sklearn.base import clone

from benchmarks.common import RESULTS, Kept, how_made, keep, name_weights, weights_of
from benchmarks.models import SEED
from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    ExplicitKTClassifier,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
    read_compositions,
)
from sklearn_kt.benchmarking import jarvis_tasks, matbench_tasks
from sklearn_kt.datasets import data_home
from sklearn_kt.estimators.kernels import smooth_readout
from sklearn_kt.evaluation import (
    EvaluationResult,
    FoldRecord,
    Task,
    audit_tasks,
    make_model,
    read_records,
)
from sklearn_kt.evaluation.records import add_record
from sklearn_kt.structures import Cached, PrototypeGenerator, load_library
from sklearn_kt.structures.crystallm import CrystaLLMGenerator
from sklearn_kt.structures.reading import read_rows, read_structure
from sklearn_kt.structures.stoichiometry import integer_formulas

MATBENCH = ("matbench_expt_gap", "matbench_expt_is_metal", "matbench_glass")
JARVIS = ("min_ir_mode", "piezo_max_diel", "piezo_max_diio", "piezo_max_eij", "piezo_max_dij")
TRUE = ("phonons", "supercon_tc", "aflow_bulk_modulus", "aflow_shear_modulus")
# the default checkpoint was pretrained on labels of these
WITHOUT_CHECKPOINT = ("phonons", "aflow_bulk_modulus", "aflow_shear_modulus")
# one text costs a language model what a hundred prototypes cost: three small tables
WRITTEN = ("phonons", "supercon_tc", "piezo_max_dij")
N_TEXTS = 10
MODELS = ("imkt", "exkt", "exkt_kernel", "crystallm", "blended", "rf-magpie", "absent", "true")
MAX_KERNEL_ROWS = 8_000
ABOUT = f"""\
Models, with their defaults but for what is said here:

- imkt: `ImplicitKTRegressor` or `-Classifier` with `readout="fast"`, for the sake of time;
- exkt: `ExplicitKTRegressor` or `-Classifier`, with a composition model like that of imkt for
  rows without a structure;
- exkt_kernel: the same with a kernel machine as readout, for numbers of at most
  {MAX_KERNEL_ROWS:,} rows;
- blended: `BlendedKTRegressor` or `-Classifier` of these, blended on folds of the training rows;
- crystallm: exkt whose crystals are written by the CrystaLLM of the package, {N_TEXTS} texts for
  each composition, on {len(WRITTEN)} tables, for the sake of time;
- rf-magpie: a random forest on Magpie features.

Where the data have the true structures, three explicit models show what generation costs:
true is trained on and predicts from true structures; absent generates from a library
without the compositions of the task; exkt is the default, whose library knows many of them.
The default checkpoint was pretrained on labels of phonons and AFLOW: there all models do
without it (`checkpoint=None`).
"""
HALOGENS, CHALCOGENS, PNICTOGENS = {9, 17, 35, 53}, {16, 34, 52}, {7, 15, 33, 51}
METALLOIDS = {1, 2, 5, 6, 10, 14, 18, 32, 36, 54}


@dataclass(frozen=True)
class Table:
    """A task, and where the data have them the true structures of its rows."""

    task: Task
    structures: list[Any] | None = None


def load(name: str, data_dir: Path) -> Table:
    """Read a task by name."""
    if name in MATBENCH:
        return Table(matbench_tasks(name, data_dir / "matbench")[0])
    if name not in TRUE:
        return Table(jarvis_tasks(name, data_dir)[0])
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
    y = np.array([row[key] for row in rows], float)
    unit = "K" if key == "Tc_K" else "GPa"
    return with_structures(name, y, folds, unit, [read_structure(row) for row in rows])


def phonons(data_dir: Path) -> Table:
    """Read matbench_phonons with its structures and official folds."""
    with gzip.open(data_dir / "structures" / "matbench_phonons.json.gz", "rt") as file:
        content = json.load(file)
    y = np.array([value for _, value in content["data"]], float)
    table = pd.read_csv(data_dir / "matbench" / "matbench_phonons.csv.gz", keep_default_na=False)
    assert np.allclose(table["last phdos peak"], y)
    number = table["test_fold"].to_numpy()
    folds = {k: (np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(5)}
    crystals = [Structure.from_dict(state) for state, _ in content["data"]]
    return with_structures("phonons", y, folds, "cm^-1", crystals)


def with_structures(
    name: str, y: np.ndarray, folds: Any, unit: str, crystals: list[Structure]
) -> Table:
    """Make a task of crystals; models see their formulas."""
    formulas = np.array([c.composition.reduced_formula for c in crystals], dtype=object)
    task = Task(name, "regression", formulas, y, np.arange(len(y)), folds, target=name, unit=unit)
    return Table(task, crystals)


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


def run_fold(
    table: Table, fold: int, cache: Path
) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, Any]]:
    """Fit every model: outputs for the test rows, CPU seconds, and what the blend says."""
    task = table.task
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
    said: dict[str, Any] = {
        "weights": blended.weights_,
        "training_scores": blended.scores_,
        "no_structure": int(gaps.sum()),
    }
    others = {"rf-magpie": make_model("rf-magpie", task.kind, random_state=SEED)}
    for name, model in others.items():
        start = time.process_time()
        found[name] = outputs(model.fit(X, y), task.kind, X_test)
        seconds[name] = time.process_time() - start
    if task.name in WRITTEN:
        start = time.process_time()
        crystals = Cached(CrystaLLMGenerator(n_samples=N_TEXTS), cache)
        model = clone(parts["exkt"]).set_params(generator=crystals).fit(X, y)
        written = outputs(model, task.kind, X_test)
        seconds["crystallm"] = time.process_time() - start
        no_text = np.isnan(written)
        found["crystallm"] = np.where(no_text, found["imkt"], written)
        said["no_text"] = int(no_text.sum())
    if table.structures is not None:
        found |= bounds(table, train, test, found["imkt"], cache)
    return found, seconds, said


def bounds(
    table: Table, train: np.ndarray, test: np.ndarray, implicit: np.ndarray, cache: Path
) -> dict[str, np.ndarray]:
    """Predict from true structures, and from a library that knows none of the compositions."""
    task, structures = table.task, table.structures
    assert structures is not None
    given = ([structures[i] for i in rows] for rows in (train, test))
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


def record(
    task: Task, fold: int, model: str, output: np.ndarray, seconds: float, made: dict[str, Any]
) -> FoldRecord:
    """Make the record of a model; seconds are those of the CPU."""
    classify = task.kind == "classification"
    weights = {} if model == "rf-magpie" else weights_of(checkpoint(task))
    return FoldRecord(
        model=model,
        task=task.name,
        fold=fold,
        estimator=name_weights(f"{model} of {made['command']}", weights),
        digest=task.digest(fold),
        predictions=output > 0.5 if classify else output,
        std=None,
        probabilities=np.column_stack([1 - output, output]) if classify else None,
        fit_seconds=seconds,
        predict_seconds=math.nan,
        peak_mb=None,
        n_jobs=1,
        date=made["date"],
        versions=made["versions"],
    )


def keep_all(folder: Path, tables: dict[str, Table], about: dict[str, Any]) -> None:
    """Write scores and test parts of all records of the folder."""
    records = read_records(folder, [table.task for table in tables.values()], MODELS)
    ran = {record.task for record in records}
    tasks = {name: table.task for name, table in tables.items() if name in ran}
    labels = {
        name: {
            "by chemistry": chemistry(task.formulas),
            "by library": np.where(
                in_library(task.formulas), "in the library", "not in the library"
            ),
        }
        for name, task in tasks.items()
    }
    audit, _ = audit_tasks(list(tasks.values()))
    keep(EvaluationResult(tasks, records, audit), folder, about, labels)


def main() -> None:
    """Run what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=(*MATBENCH, *JARVIS, *TRUE), metavar="TASK")
    parser.add_argument("--folds", nargs="+", type=int, help="default: all")
    parser.add_argument("--data-dir", type=Path, default=data_home())
    parser.add_argument("--cache-dir", type=Path, help="keeps structures and their features")
    parser.add_argument("--folder", type=Path, default=RESULTS / "explicit")
    args = parser.parse_args()
    if args.data_dir is None:
        parser.error("set SKLEARN_KT_DATA or pass --data-dir")
    args.folder.mkdir(parents=True, exist_ok=True)
    # near stoichiometries of alloys, and rows without structures, are counted in the results
    warnings.simplefilter("ignore")
    kept = Kept.read(args.folder)
    said: dict[str, dict[str, Any]] = {} if kept is None else kept.about["folds"]
    tables = {name: load(name, args.data_dir) for name in (*MATBENCH, *JARVIS, *TRUE)}
    for name in args.tasks or (*JARVIS, *MATBENCH, *TRUE):
        task = tables[name].task
        for fold in task.folds:
            done = said.setdefault(name, {})
            if str(fold) in done or (args.folds and fold not in args.folds):
                continue
            found, seconds, done[str(fold)] = run_fold(tables[name], fold, args.cache_dir)
            made = how_made()
            for model, output in found.items():
                spent = seconds.get(model, math.nan)
                add_record(args.folder, record(task, fold, model, output, spent, made), task)
            keep_all(args.folder, tables, {**made, "seed": SEED, "folds": said})
            print(name, fold, done[str(fold)], file=sys.stderr)


if __name__ == "__main__":
    main()
