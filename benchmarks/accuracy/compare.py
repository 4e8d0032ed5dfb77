"""Our models and the peers on the same folds of MatBench, JARVIS-DFT or thermoelectrics.

    python -m benchmarks.accuracy.compare matbench
    python -m benchmarks.accuracy.compare calculated --models imkt-scratch et-magpie
    python -m benchmarks.accuracy.compare jarvis --models crabnet --tasks meps
    python -m benchmarks.accuracy.compare thermoelectrics --models imkt-fast et-magpie

Every fold is kept in benchmarks/results/BENCHMARK/ as soon as it is done, so a run that was
stopped goes on; after each model the scores there are written anew. The folds behind the
published tables are in the repository: only what is new runs. To measure everything again, name
another folder by --results. Run it on an idle machine and with --n-jobs 1 if the times matter.
The tables are looked for in --data-dir or SKLEARN_KT_DATA. What it means is written by
``python -m benchmarks.site.readme`` and when the site is built.

"calculated" are six tasks of MatBench whose input is a crystal, run by the formula alone. The
checkpoint was pretrained on labels of five: on these, models that start from it do not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.common import RESULTS, how_made, keep
from benchmarks.models import MODELS, SEED
from benchmarks.peers.external import EXTERNAL, install
from sklearn_kt._files import DATA, replacing
from sklearn_kt.benchmarking import (
    jarvis_tasks,
    matbench_tasks,
    thermoelectric_tasks,
    write_official,
)
from sklearn_kt.benchmarking.official import complete_models
from sklearn_kt.benchmarking.published import find_leaderboard
from sklearn_kt.datasets import data_home
from sklearn_kt.evaluation import MODELS as NAMED
from sklearn_kt.evaluation import (
    CompositionPool,
    EvaluationResult,
    Task,
    audit_tasks,
    evaluate,
    read_records,
)
from sklearn_kt.evaluation.audit import POOL_FILE
from sklearn_kt.evaluation.text import summary_text

# tasks of MatBench from calculations; the three that are left out have 106,000 rows and more
CALCULATED = (
    "matbench_jdft2d",
    "matbench_phonons",
    "matbench_dielectric",
    "matbench_log_kvrh",
    "matbench_log_gvrh",
    "matbench_perovskites",
)
# of these no label was among those of pretraining
LABELS_UNKNOWN = ("matbench_jdft2d",)
LOADERS: Mapping[str, Callable[[Path | None], list[Task]]] = {
    "matbench": lambda folder: matbench_tasks(None, folder),
    "calculated": lambda folder: matbench_tasks(CALCULATED, folder),
    "jarvis": lambda folder: jarvis_tasks(None, folder),
    # in the package
    "thermoelectrics": lambda _: thermoelectric_tasks(seed=THERMOELECTRICS_SEED),
}
# peers are scored on the rows that our pretraining has not seen, too
POOL = DATA / "checkpoints" / "default" / POOL_FILE
PUBLISHED = "published.csv"
# scores of others on the folds of the seed that we use, one row for each model, target and fold
RECORDED = "recorded.csv"
THERMOELECTRICS_SEED = 1


def main() -> None:
    """Run what has no result yet, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="\n".join(["models:", *(f"  {n:18}{m.label}" for n, m in MODELS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benchmark", choices=tuple(LOADERS))
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), metavar="MODEL")
    parser.add_argument("--tasks", nargs="+", help="default: the composition tasks; all tables")
    parser.add_argument("--folds", nargs="+", type=int, help="default: all")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--pool", type=Path, default=POOL, help="default: the checkpoint's")
    parser.add_argument("--n-jobs", type=int, default=1, help="folds at the same time")
    args = parser.parse_args()
    folder = args.results / args.benchmark
    folder.mkdir(parents=True, exist_ok=True)
    all_tasks = LOADERS[args.benchmark](args.data_dir)
    # what reads formulas alone cannot have a task with conditions
    conditions = any(task.conditions is not None for task in all_tasks)
    models = args.models or [m for m in MODELS if MODELS[m].reads_conditions or not conditions]
    tasks = [task for task in all_tasks if args.tasks is None or task.name in args.tasks]
    pool = CompositionPool.load(args.pool)
    for name in models:
        allowed = [task for task in tasks if may_run(name, args.benchmark, task.name)]
        if not allowed:
            print(f"{name} starts from weights that know these labels, and is left out.")
            continue
        try:
            if name in EXTERNAL:
                install(name)
            result = evaluate(
                {name: MODELS[name].model},
                allowed,
                folds=args.folds,
                output_dir=folder,
                pool=pool,
                random_state=SEED,
                n_jobs=args.n_jobs,
                verbose=1,
            )
        # a peer that fails is said to, and the others go on
        except Exception as error:
            if name not in EXTERNAL:
                raise
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        print(summary_text(result.summary()).to_string(index=False))
        if args.benchmark == "matbench" and complete_models(result):
            (folder / name).mkdir(exist_ok=True)
            write_official(result, folder / name / "results.json.gz")
        keep_all(folder, args.benchmark, all_tasks, pool, args.data_dir)


def may_run(model: str, benchmark: str, task: str) -> bool:
    """Tell whether a model starts from nothing that was trained on labels of a task."""
    pretrained = model in NAMED and NAMED[model].pretrained
    return benchmark != "calculated" or not pretrained or task in LABELS_UNKNOWN


def keep_all(
    folder: Path,
    benchmark: str,
    tasks: Sequence[Task],
    pool: CompositionPool,
    data_dir: Path | None,
) -> None:
    """Write scores and test parts of everything in the folder, and published scores."""
    # what evaluate says of the model that ran last
    (folder / "results.json").unlink(missing_ok=True)
    audit, unseen = audit_tasks(tasks, pool=pool)
    by_name = {task.name: task for task in tasks}
    result = EvaluationResult(by_name, read_records(folder, tasks), audit, unseen)
    keep(result, folder, {"benchmark": benchmark, "seed": SEED, **how_made()})
    path = find_leaderboard(data_dir)
    if benchmark in ("matbench", "calculated") and path is not None:
        published = pd.read_csv(path)
        with replacing(folder / PUBLISHED) as part:
            published[published["task"].isin(by_name)].to_csv(part, index=False)
    home = data_dir or data_home()
    if benchmark == "thermoelectrics" and home is not None:
        recorded = pd.read_csv(Path(home) / "thermoelectrics" / "recorded_scores.csv")
        with replacing(folder / RECORDED) as part:
            recorded[recorded["seed"] == THERMOELECTRICS_SEED].to_csv(part, index=False)


if __name__ == "__main__":
    main()
