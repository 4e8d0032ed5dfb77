"""Our models and the peers on the same folds: scores, statistics, audit, time and memory.

    python benchmarks/bench_models.py matbench
    python benchmarks/bench_models.py jarvis

Every fold is kept in benchmarks/results/BENCHMARK/ as soon as it is done, so a run that was
stopped goes on; after each model benchmarks/results/BENCHMARK.json and .md are written anew.
The folds behind the published tables are in the repository: only what is new runs. To measure
everything again, name another folder by --results. Run it on an idle machine and with --n-jobs
1 if the times matter. The tables are looked for in --data-dir or SKLEARN_KT_DATA.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

from external import EXTERNAL, install  # noqa: E402 - the path is set above
from sklearn_kt.benchmarking.audit import POOL_FILE  # noqa: E402
from sklearn_kt.benchmarking.tables import (  # noqa: E402
    audit_lines,
    comparison_text,
    leaderboard_text,
    summary_text,
)
from summary import FAST, MAIN, SCRATCH, SHOWN  # noqa: E402
from zoo import LOCAL, OURS, PEERS, SEED, model  # noqa: E402

from sklearn_kt._files import DATA  # noqa: E402
from sklearn_kt.benchmarking import (  # noqa: E402
    COMPOSITION_TASKS,
    HEADLINES,
    JARVIS_TABLES,
    BenchmarkResult,
    CompositionPool,
    audit_tasks,
    compare_models,
    jarvis_task,
    leaderboard,
    matbench_task,
    mean_reduction,
    rank_models,
    read_leaderboard,
    read_records,
    run_jarvis,
    run_matbench,
    win_tie_loss,
)
from sklearn_kt.benchmarking.matbench import (  # noqa: E402
    RELATIONS,
    find_leaderboard,
    sibling_tasks,
)
from sklearn_kt.evaluation import library_versions, plain  # noqa: E402

RESULTS = HERE / "results"
# peers are scored on the rows that our pretraining has not seen, too
POOL = DATA / "checkpoints" / "default" / POOL_FILE
SCORES = {"mae": "MAE", "r2": "R²", "roc_auc": "ROC AUC", "roc_auc_of_labels": "AUC of labels"}
# where one class is all there is, no other score is defined
UNSEEN_SCORES = SCORES | {"accuracy": "accuracy"}


def main() -> None:
    """Run what has no result yet, then render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("benchmark", choices=("matbench", "jarvis"))
    parser.add_argument("--models", nargs="+", choices=(*OURS, *PEERS), metavar="MODEL")
    parser.add_argument("--tasks", nargs="+", help="default: the composition tasks; all tables")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--pool", type=Path, default=POOL, help="default: the checkpoint's")
    parser.add_argument("--n-jobs", type=int, default=1, help="folds at the same time")
    parser.add_argument("--render-only", action="store_true", help="run nothing")
    args = parser.parse_args()
    names = args.models or [*LOCAL, *OURS, *EXTERNAL]
    output = args.results / args.benchmark
    output.mkdir(parents=True, exist_ok=True)
    load, run, all_tasks = {
        "matbench": (matbench_task, run_matbench, COMPOSITION_TASKS),
        "jarvis": (jarvis_task, run_jarvis, tuple(JARVIS_TABLES)),
    }[args.benchmark]
    tasks = [load(name, args.data_dir) for name in args.tasks or all_tasks]
    pool = CompositionPool.load(args.pool)
    missing: dict[str, str] = {}
    for name in [] if args.render_only else names:
        try:
            if name in EXTERNAL:
                install(name)
            run(
                {name: model(name)},
                [task.name for task in tasks],
                data_dir=args.data_dir,
                output_dir=output,
                pool=pool,
                n_jobs=args.n_jobs,
                verbose=1,
            )
        # a peer that fails is reported as such, and the others go on
        except Exception as error:
            if name not in EXTERNAL:
                raise
            missing[name] = f"{type(error).__name__}: {error}"
            print(f"{name} failed: {missing[name]}", file=sys.stderr)
        render(args, tasks, pool, missing)
    if args.render_only:
        render(args, tasks, pool, missing)
    print(args.results / f"{args.benchmark}.md")


def render(
    args: argparse.Namespace,
    tasks: Sequence[Any],
    pool: CompositionPool,
    missing: dict[str, str],
) -> None:
    """Write the JSON file and the page of the tasks that a model has done all folds of."""
    records = read_records(args.results / args.benchmark, tasks)
    done = {task.name: complete_models(records, [task]) for task in tasks}
    records = [record for record in records if record.model in done[record.task]]
    if not records:
        return
    complete = complete_models(records, tasks)
    leaks: dict[str, Any] = {}
    if args.benchmark == "matbench":
        leaks = {"relations": RELATIONS, "siblings": sibling_tasks(tasks, args.data_dir)}
    audit, unseen = audit_tasks(tasks, pool=pool, **leaks)
    by_name = {task.name: task for task in tasks}
    result = BenchmarkResult(args.benchmark, by_name, records, audit, unseen)
    command = shlex.join(["python", "benchmarks/bench_models.py", *sys.argv[1:]])
    content = result.to_dict(command=command)
    whole = BenchmarkResult(
        args.benchmark, by_name, [r for r in records if r.model in complete], audit, unseen
    )
    statistics = compared(whole, result) if len(complete) > 1 else {}
    content |= {"statistics": statistics, "not_run": missing, "seed": SEED}
    if (published := recorded(args)) is not None:
        content["published"] = {
            name: leaderboard(result, published, name).drop(columns="rank").to_dict("records")
            for name in result.tasks
        }
    path = args.results / f"{args.benchmark}.json"
    path.write_text(json.dumps(plain(content), indent=1, ensure_ascii=False) + "\n", "utf-8")
    page = "\n".join(lines(args, result, statistics, command, missing))
    path.with_suffix(".md").write_text(page + "\n", encoding="utf-8")


def recorded(args: argparse.Namespace) -> pd.DataFrame | None:
    """Read the scores of MatBench's published submissions, if they are there."""
    if args.benchmark != "matbench" or (path := find_leaderboard(args.data_dir)) is None:
        return None
    return read_leaderboard(path)


def complete_models(records: Sequence[Any], tasks: Sequence[Any]) -> list[str]:
    """Models with a result on every fold of all these tasks."""
    wanted = {(task.name, fold) for task in tasks for fold in task.folds}
    have: dict[str, set] = {}
    for record in records:
        have.setdefault(record.model, set()).add((record.task, record.fold))
    return [name for name, done in have.items() if done >= wanted]


def compared(result: BenchmarkResult, partial: BenchmarkResult) -> dict[str, Any]:
    """Paired differences, wins and losses, ranks, and the reductions that are aimed at.

    Models that have not run on all tasks are compared where they have, and not ranked.
    """
    summary = result.summary()
    kinds = {name: task.kind for name, task in result.tasks.items()}
    ranking = rank_models(summary, kinds)
    baselines = [name for name in (MAIN, FAST) if name in result.models]
    main = (baselines or [ranking.table["model"].iloc[0]])[0]
    found: dict[str, Any] = {
        "compared_by": dict(HEADLINES),
        "main": main,
        "differences": list(differences(partial, {*SHOWN, main})),
        "win_tie_loss": win_tie_loss(compare_models(result)).to_dict("records"),
        "ranking": ranking.table.to_dict("records"),
        "friedman_p": ranking.p_value,
        "critical_difference": ranking.critical_difference,
    }
    summary = partial.summary()
    peers = [name for name in partial.models if name in PEERS and name not in ("dummy", main)]
    if "mae" in summary and peers:
        rows = summary["model"].isin([main, *peers])
        found["mean_mae_reduction_to_best_peer"] = mean_reduction(summary[rows], main)
    if "mae" in summary and (scratch := SCRATCH.get(main)) in partial.models:
        found["mean_mae_reduction_to_scratch"] = mean_reduction(summary, main, scratch)
    return found


def differences(result: BenchmarkResult, baselines: set[str]) -> Iterator[dict[str, Any]]:
    """Compare all models of each task with some of them, fold by fold."""
    for name, task in result.tasks.items():
        records = [record for record in result.records if record.task == name]
        part = BenchmarkResult(result.benchmark, {name: task}, records, result.audit)
        for baseline in sorted(baselines & set(part.models)):
            if len(part.models) > 1:
                yield from compare_models(part, baseline).to_dict("records")


def lines(
    args: argparse.Namespace,
    result: BenchmarkResult,
    statistics: dict[str, Any],
    command: str,
    missing: dict[str, str],
) -> Iterator[str]:
    """Write the page."""
    yield f"# {args.benchmark}\n"
    yield f"{datetime.now(UTC):%Y-%m-%d}, `{command}`, seed {SEED}. Models: our own"
    yield f"({', '.join(OURS)}) and peers. Seconds and memory are those of one fold.\n"
    for name, reason in missing.items():
        yield f"Not run: {name} ({reason}).\n"
    summary = result.summary()
    scores = {name: label for name, label in SCORES.items() if name in summary}
    if args.benchmark == "matbench":
        published = recorded(args)
        for name in result.tasks:
            yield f"## {name}\n\nWith recorded scores of published submissions; * is run here.\n"
            yield markdown(leaderboard_text(leaderboard(result, published, name)))
    yield "## Scores, time and memory\n"
    yield markdown(summary_text(summary, scores))
    yield from hours_lines(summary, len(result.tasks))
    if result.unseen:
        yield "## Test rows that pretraining has not seen\n"
        unseen = result.summary("unseen")
        chosen = {"n_test": "rows"} | {k: v for k, v in UNSEEN_SCORES.items() if k in unseen}
        yield markdown(summary_text(unseen, chosen, times=False))
    if statistics:
        yield from statistics_lines(statistics)
    yield "## Audit\n"
    yield from (f"- {line}" for line in audit_lines(result.audit))
    yield "\n## Versions\n"
    own = library_versions()
    yield ", ".join(f"{name} {version}" for name, version in own.items()) + "."
    for name in result.models:
        versions = next(r.versions for r in result.records if r.model == name)
        other = {key: value for key, value in versions.items() if own.get(key) != value}
        if other:
            yield f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in other.items()) + "."


def hours_lines(summary: pd.DataFrame, n_tasks: int) -> Iterator[str]:
    """Write what a run of each model takes."""
    spent = (summary["fit_seconds"] + summary["predict_seconds"]) * summary["n_folds"] / 3600
    said = []
    for name, hours in spent.groupby(summary["model"], sort=False):
        some = f" ({len(hours)} of {n_tasks} tasks)" if len(hours) < n_tasks else ""
        said.append(f"{name} {hours.sum():.2g}{some}")
    yield f"Hours that this took, one fold after the other: {', '.join(said)}.\n"


def statistics_lines(found: dict[str, Any]) -> Iterator[str]:
    """Write ranks, wins and losses, and differences."""
    yield "## Ranks\n"
    yield (
        f"Mean rank by MAE or ROC AUC over all tasks; Friedman p ="
        f" {found['friedman_p']:.2g}, critical difference {found['critical_difference']:.2f}.\n"
    )
    yield markdown(pd.DataFrame(found["ranking"]).round(2).astype(str))
    for key, label in (
        ("mean_mae_reduction_to_best_peer", "the best peer of each task"),
        ("mean_mae_reduction_to_scratch", f"{SCRATCH.get(found['main'])}, where it ran"),
    ):
        if key in found:
            who = f"by {found['main']} against {label}"
            yield f"Mean reduction of the MAE {who}: {found[key]:.1%}.\n"
    yield f"## Against {found['main']}, with 95 % intervals\n"
    frame = pd.DataFrame(found["differences"])
    yield markdown(comparison_text(frame[frame["baseline"] == found["main"]]))
    yield "## Wins, ties and losses\n"
    yield markdown(pd.DataFrame(found["win_tie_loss"]).astype(str))


def markdown(table: pd.DataFrame) -> str:
    """Spell a table of text; markdown needs no alignment."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


if __name__ == "__main__":
    main()
