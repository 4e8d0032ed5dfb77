"""``sklearn-kt evaluate``: models on the same folds, of a table or of public benchmarks."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._cells import FORMULA_COLUMN, with_unit
from sklearn_kt._files import replacing
from sklearn_kt._formula import file_stem
from sklearn_kt.exceptions import InputError

from .checks import check_output
from .console import print_table, printable, tell
from .options import (
    FORMATS,
    add_columns,
    add_conditions,
    add_data_dir,
    add_dropping,
    add_models,
    add_seed,
    listed,
    output_folder,
    positive,
)
from .problem import table_problem

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_kt.evaluation import EvaluationResult, Task

_SEEBECK = "seebeck"
_THERMOELECTRICS = "thermoelectrics"
_PREDICTIONS, _REPORT = "predictions.csv", "report.html"
# of a submission to MatBench, in a folder of the model
_OFFICIAL = "results.json.gz"


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "evaluate",
        help="cross-validate models on identical folds; run public benchmarks",
        description="Cross-validate models on identical folds and print a table of scores (mean"
        " ± standard deviation over the folds), an audit of what test rows share with training"
        " and pretraining, and differences with their intervals. Rows of one composition stay on"
        " one side of each fold; public benchmarks have their official folds, and MatBench its"
        " leaderboard. Of several targets each is learned and scored by itself, on the rows that"
        " have it.",
        examples=(
            "evaluate --data gaps.csv --target gap --models imkt-fast,rf-magpie",
            "evaluate --data measured.csv --target S,zT --conditions temperature --models imkt",
            "evaluate --dataset matbench_expt_gap --models imkt-fast --output-dir results",
        ),
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="FILE", help=f"table: {FORMATS}")
    source.add_argument(
        "--dataset",
        metavar="A,B,...",
        help="always there: seebeck (47,737 compounds), thermoelectrics (8,458 measurements with"
        " their temperature; --target is one or several of S, sigma, PF, zT, k, kl, ke; default:"
        " all) and matbench_expt_gap; matbench (the four tasks of MatBench v0.1 whose input is a"
        " formula), matbench_all (structure tasks by composition, too) or a task of it; jarvis (30"
        " tables) or one of them, such as meps",
    )
    add_columns(parser)
    add_dropping(parser)
    add_conditions(parser)
    parser.add_argument(
        "--carrier", choices=("p", "n"), default="p", help="doping of seebeck (default: p)"
    )
    add_data_dir(parser)
    parser.add_argument(
        "--n-samples", type=positive, metavar="N", help="evaluate on so many rows, drawn at random"
    )
    add_models(parser)
    parser.add_argument("--folds", type=positive, metavar="K", help="number of folds (default: 5)")
    add_seed(parser)
    parser.add_argument(
        "--n-jobs", type=int, default=1, metavar="N", help="folds run at the same time (default: 1)"
    )
    parser.add_argument(
        "--pool",
        metavar="FILE",
        help="compositions that the checkpoint was pretrained on (default: those beside it)",
    )
    parser.add_argument(
        "--leaderboard",
        metavar="PATH",
        help="recorded scores of submissions to MatBench by fold: a CSV file, or a folder with"
        " leaderboard_scores.csv (default: the data folder, if it has that file)",
    )
    parser.add_argument(
        "--show-predictions",
        type=positive,
        metavar="N",
        help="also print so many predictions with their uncertainty",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="keep the predictions of each fold there, so that the same command goes on where it"
        f" was stopped, and write results.json, {_PREDICTIONS}, figures (PNG), {_REPORT} and the"
        " official results files of MatBench",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    # before the seconds that libraries take to load: it may be no folder
    kept = contextlib.nullcontext() if args.output_dir is None else output_folder(args.output_dir)
    with kept as folder:
        if folder is not None:
            check_output(folder / _PREDICTIONS, args.data, args.leaderboard)
        tasks = _benchmarks(args) if args.dataset else _table(args)

        from sklearn_kt.evaluation import evaluate

        for task in tasks:
            if args.task not in ("auto", task.kind):
                name = args.dataset or task.name
                raise InputError(f"{name} is a {task.kind}, not a {args.task}.")
        _warn_pretrained(args, tasks)
        if folder is not None:
            args.interrupted = "the same command goes on with the folds that are missing"
        result = evaluate(
            listed(args.models),
            tasks,
            output_dir=folder,
            pool=args.pool,
            command=args.command_line,
            random_state=args.random_state,
            n_jobs=args.n_jobs,
            verbose=1,
        )
        if folder is not None:
            # whatever happens to the pictures
            args.interrupted = "results.json was written"
        _print(result, args)
        if folder is not None:
            tell("wrote", ", ".join(map(str, _write(result, folder, args))))


def _table(args: argparse.Namespace) -> list[Task]:
    """Make a task of each target, of the rows that have it."""
    problem = table_problem(args, args.data, args.n_samples)

    import numpy as np
    from sklearn.utils import _safe_indexing

    from sklearn_kt.evaluation import table_task

    several = len(problem.target_names) > 1
    columns = problem.target.T if several else [problem.target]
    tasks = []
    for name, unit, column in zip(problem.target_names, problem.units, columns, strict=True):
        rows = np.flatnonzero(~np.isnan(column)) if several else np.arange(len(column))
        try:
            task = table_task(
                _safe_indexing(problem.inputs, rows),
                column[rows],
                kind=problem.task,
                composition_column=FORMULA_COLUMN if args.conditions else None,
                n_splits=args.folds or 5,
                random_state=args.random_state,
                name=name if several else problem.title,
                target=name,
                unit=unit,
            )
        except InputError as error:
            raise InputError(f"Column {name!r}: {error}") from error
        tasks.append(task)
    return tasks


def _benchmarks(args: argparse.Namespace) -> list[Task]:
    """Load tasks by the names of data sets."""
    from sklearn_kt.benchmarking import (
        COMPOSITION_TASKS,
        JARVIS_TABLES,
        jarvis_tasks,
        matbench_tasks,
        thermoelectric_tasks,
    )
    from sklearn_kt.datasets import MATBENCH_TASKS

    asked = listed(args.dataset)
    if _THERMOELECTRICS not in asked and args.target is not None:
        raise InputError(f"--target belongs to --data and to {_THERMOELECTRICS}.")
    for option, is_given in (
        ("--decimal", args.decimal != "."),
        ("--unit", args.unit is not None),
        ("--missing", args.missing != "error"),
        ("--errors", args.errors != "raise"),
    ):
        if is_given:
            raise InputError(f"{option} belongs to --data.")
    groups = {
        "matbench": COMPOSITION_TASKS,
        "matbench_all": tuple(MATBENCH_TASKS),
        "jarvis": tuple(JARVIS_TABLES),
    }
    names = [name for given in asked for name in groups.get(given, (given,))]
    if len(set(names)) < len(names):
        raise InputError(f"A data set is named twice in --dataset {args.dataset}.")
    tasks = []
    for name in names:
        if name == _SEEBECK:
            tasks.append(_seebeck(args))
            continue
        if name == _THERMOELECTRICS and not (args.n_samples or args.folds):
            targets = args.target and listed(args.target)
            tasks += thermoelectric_tasks(targets)
            continue
        if name not in (_THERMOELECTRICS, *MATBENCH_TASKS, *JARVIS_TABLES):
            raise InputError(
                f"Unknown data set {name!r}. There are: {_SEEBECK}, {_THERMOELECTRICS},"
                f" {', '.join(groups)},"
                f" {', '.join(MATBENCH_TASKS)}, {', '.join(JARVIS_TABLES)}."
            )
        if args.n_samples or args.folds:
            raise InputError(
                f"{name} has official folds of all its rows: leave out --n-samples and --folds."
            )
        load = matbench_tasks if name in MATBENCH_TASKS else jarvis_tasks
        tasks += load(name, args.data_dir)
    given = {name for t in tasks if t.conditions is not None for name in t.conditions}
    if unknown := set(args.conditions or ()) - given:
        raise InputError(
            f"{args.dataset} has no condition {', '.join(sorted(unknown))}; it has"
            f" {', '.join(sorted(given)) or 'none'}, which models see without being asked."
        )
    return tasks


def _seebeck(args: argparse.Namespace) -> Task:
    from sklearn_kt.datasets import load_seebeck
    from sklearn_kt.evaluation import table_task

    data: Any = load_seebeck(args.carrier, n_samples=args.n_samples, random_state=args.random_state)
    return table_task(
        data.data,
        data.target,
        kind="regression",
        n_splits=args.folds or 5,
        random_state=args.random_state,
        name="Seebeck coefficients at 300 K",
        target=f"{args.carrier}-type Seebeck coefficient",
        unit="µV/K",
        quantity=f"{args.carrier}-type Seebeck coefficient",
        description=data.DESCR,
    )


def _warn_pretrained(args: argparse.Namespace, tasks: list[Task]) -> None:
    """Warn of pretrained models on calculations like those they were pretrained on."""
    from sklearn_kt.datasets import MATBENCH_TASKS
    from sklearn_kt.evaluation import MODELS

    asked = listed(args.models)
    pretrained = [name for name in MODELS if name in asked and MODELS[name].pretrained]
    if not args.dataset or not pretrained:
        return
    names = [task.name for task in tasks]
    seen = [
        name for name in names if name in MATBENCH_TASKS and MATBENCH_TASKS[name].has_structures
    ]
    # not those of the JARVIS table, whose name ends alike
    if _SEEBECK in listed(args.dataset):
        seen.append(_SEEBECK)
    for task in seen:
        tell(
            "warning",
            f"the checkpoint of {' and '.join(pretrained)} was pretrained on data like those of"
            f" {task}; a score there says nothing, and imkt-scratch is the one to read.",
        )


def _print(result: EvaluationResult, args: argparse.Namespace) -> None:
    from sklearn_kt.evaluation.text import audit_lines

    for title, table, lines in _parts(result, args):
        print_table(title, table)
        print(*(f"\n{line}" for line in lines), sep="", end="\n\n" if lines else "\n")
    print(*map(printable, audit_lines(result.audit)), sep="\n")


def _parts(
    result: EvaluationResult, args: argparse.Namespace
) -> Iterator[tuple[str, pd.DataFrame, Sequence[str]]]:
    """Yield title, table and closing lines of each part."""
    from sklearn_kt.evaluation import compare_models
    from sklearn_kt.evaluation.report import format_sample, prediction_sample
    from sklearn_kt.evaluation.text import comparison_text

    for title, table in _score_tables(result, "all", times=True):
        yield title, table, []
    for name, task in result.tasks.items() if args.show_predictions else ():
        model, sample = prediction_sample(
            result, args.show_predictions, task=name, random_state=args.random_state
        )
        unit = f" in {task.unit}" if task.unit else ""
        of = f" on {name}" if len(result.tasks) > 1 else ""
        title = f"{len(sample)} out-of-fold predictions of {model}{of}{unit}"
        yield title, format_sample(sample), []
    yield from _leaderboards(result, args)
    comparable = _comparable(result)
    if len(result.models) > 1 and comparable.tasks:
        differences = comparison_text(compare_models(comparable, result.models[0]))
        if len(result.tasks) == 1:
            differences = differences.drop(columns="task")
        lines = ["fold by fold; 95 % intervals, corrected for overlapping training parts"]
        yield "Paired differences", differences, lines
    if result.unseen:
        for title, table in _score_tables(result, "unseen", times=False):
            yield f"Test rows that pretraining has not seen: {title}", table, []


def _score_tables(
    result: EvaluationResult, rows: str, *, times: bool
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a title and a table for each task kind."""
    from sklearn_kt.evaluation.text import summary_text

    summary = result.summary(rows)
    # all of a table may be known to pretraining: the audit says so
    summary = summary[summary["n_test"] > 0]
    kinds = summary["task"].map({name: task.kind for name, task in result.tasks.items()})
    for kind, part in summary.groupby(kinds, sort=False):
        tasks = [result.tasks[name] for name in part["task"].unique()]
        text = summary_text(part, rows=rows == "unseen", times=times)
        text["task"] = part["task"].map(
            {task.name: with_unit(task.name, task.unit) for task in tasks}
        )
        title = f"{len(tasks)} tasks of {kind}"
        if len(tasks) == 1:
            text = text.drop(columns="task")
            n_test = part["n_test"].iloc[0]
            n_folds = len(tasks[0].folds)
            title = f"{tasks[0].title}, {n_test} rows, {n_folds} fold{'s' * (n_folds > 1)}"
        yield title, text


def _leaderboards(
    result: EvaluationResult, args: argparse.Namespace
) -> Iterator[tuple[str, pd.DataFrame, Sequence[str]]]:
    from sklearn_kt.benchmarking import leaderboard, read_leaderboard
    from sklearn_kt.benchmarking.published import find_leaderboard, leaderboard_text
    from sklearn_kt.datasets import MATBENCH_TASKS

    path = args.leaderboard or find_leaderboard(args.data_dir)
    for name in result.tasks:
        if path is not None and name in MATBENCH_TASKS:
            table = leaderboard_text(leaderboard(result, read_leaderboard(path), name))
            lines = ["* run here; the others are recorded scores of published submissions"]
            yield f"Leaderboard of {name}", table, lines


def _comparable(result: EvaluationResult) -> EvaluationResult:
    """Leave out classes of one split, for which there is no interval."""
    from sklearn_kt.evaluation import EvaluationResult

    tasks = {
        name: task
        for name, task in result.tasks.items()
        if len(task.folds) > 1 or task.kind == "regression"
    }
    records = [record for record in result.records if record.task in tasks]
    return EvaluationResult(tasks, records, result.audit, result.unseen)


def _write(result: EvaluationResult, folder: Path, args: argparse.Namespace) -> list[Path]:
    """Write what can be made of the results; return all files."""
    from sklearn_kt.benchmarking import official, write_official
    from sklearn_kt.datasets import MATBENCH_TASKS
    from sklearn_kt.evaluation import report

    written = [folder / "results.json"]
    with replacing(folder / _PREDICTIONS) as part:
        result.predictions().to_csv(part, index=False)
    written.append(folder / _PREDICTIONS)
    for name, task in result.tasks.items():
        kind = "parity" if task.kind == "regression" else "roc"
        picture = f"{kind}.png" if len(result.tasks) == 1 else f"{kind}-{_stem(name)}.png"
        written.append(report.write_plot(result, folder / picture, task=name))
    title = next(iter(result.tasks))
    if len(result.tasks) > 1:
        title = args.dataset or printable(Path(args.data).name)
    written.append(
        report.write_html_report(result, folder / _REPORT, title=title, command=args.command_line)
    )
    is_matbench = set(result.tasks) <= set(MATBENCH_TASKS)
    for model in official.complete_models(result) if is_matbench else ():
        (folder / model).mkdir(exist_ok=True)
        path = folder / model / _OFFICIAL
        write_official(result, path, model, metadata={"command": args.command_line})
        written.append(path)
    return written


def _stem(task: str) -> str:
    """Name a file after a task; targets are called what columns are, "a/b" among others."""
    return task if re.fullmatch(r"[\w.+-]+", task, re.ASCII) else file_stem(task)
