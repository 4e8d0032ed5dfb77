"""``sklearn-kt evaluate``: models on the same folds."""

from __future__ import annotations

import argparse
import contextlib
import json
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._files import replacing
from sklearn_kt.exceptions import InputError, PretrainingOverlapWarning

from .console import print_table, tell
from .options import FORMATS, add_columns, add_data_dir, add_models, add_training, positive
from .problem import Problem, table_problem

if TYPE_CHECKING:
    from sklearn_kt.evaluation import EvaluationResult, TaskKind

_SEEBECK = "seebeck"
_RESULTS = "results.json"


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "evaluate",
        help="cross-validate models on identical folds",
        description="Cross-validate models on identical folds and print a table of scores (mean"
        " ± standard deviation over the folds). Rows of one composition stay on one side of"
        " each fold; MatBench tasks use their official folds.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="FILE", help=f"table: {FORMATS}")
    source.add_argument(
        "--dataset",
        metavar="NAME",
        help="seebeck (47,737 compounds, always there) or a MatBench v0.1 task such as"
        " matbench_expt_gap",
    )
    add_columns(parser)
    parser.add_argument(
        "--carrier", choices=("p", "n"), default="p", help="doping of seebeck (default: p)"
    )
    add_data_dir(parser)
    parser.add_argument(
        "--n-samples", type=positive, metavar="N", help="evaluate on so many rows, drawn at random"
    )
    add_models(parser)
    parser.add_argument("--folds", type=positive, metavar="K", help="number of folds (default: 5)")
    add_training(parser)
    parser.add_argument(
        "--show-predictions",
        type=positive,
        metavar="N",
        help="also print so many predictions with their uncertainty",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="write results.json, a figure (PNG) and report.html there",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from sklearn_kt.evaluation import cross_validate_models, make_folds, make_model

    names = [name.strip() for name in args.models.split(",")]
    if len(set(names)) < len(names):
        raise InputError(f"A model is named twice in --models {args.models}.")
    problem = _dataset(args) if args.dataset else table_problem(args, args.data, args.n_samples)
    for name in names:
        make_model(name, problem.task)
    folds = problem.folds or make_folds(
        problem.formulas,
        problem.target,
        task_kind=problem.task,
        n_splits=args.folds or 5,
        random_state=args.random_state,
    )
    with _output_files(args.output_dir, problem.task) as (results, pictures):
        with results as path:
            result = cross_validate_models(
                names,
                problem.formulas,
                problem.target,
                folds,
                task_kind=problem.task,
                random_state=args.random_state,
                n_jobs=args.n_jobs,
                verbose=1,
            )
            if path is not None:
                _write_results(result, problem, args.command_line, path)
        if path is not None:
            # whatever happens to the pictures
            args.interrupted = f"{_RESULTS} was written"
        _print_evaluation(result, problem, args)
        if pictures:
            _draw_results(result, problem, args.command_line, *pictures)
    if args.output_dir:
        written = [str(Path(args.output_dir) / name) for name in _file_names(problem.task)]
        tell("wrote", ", ".join(written))


def _dataset(args: argparse.Namespace) -> Problem:
    from sklearn_kt.datasets import MATBENCH_TASKS, load_matbench, load_seebeck

    if args.target is not None or args.decimal != ".":
        raise InputError("--target and --decimal belong to --data; a data set has its own target.")
    if args.dataset == _SEEBECK:
        seebeck: Any = load_seebeck(
            args.carrier, n_samples=args.n_samples, random_state=args.random_state
        )
        problem = Problem(
            seebeck.data,
            seebeck.target,
            "regression",
            title="Seebeck coefficients at 300 K",
            target_name=f"{args.carrier}-type Seebeck coefficient",
            unit="µV/K",
            description=seebeck.DESCR,
        )
    elif args.dataset in MATBENCH_TASKS:
        if args.n_samples or args.folds not in (None, 5):
            raise InputError(
                f"{args.dataset} has five official folds of all its rows: leave out --n-samples"
                " and --folds."
            )
        with warnings.catch_warnings():
            # told below if it concerns one of the models
            warnings.simplefilter("ignore", PretrainingOverlapWarning)
            bunch: Any = load_matbench(args.dataset, args.data_dir)
        spec = MATBENCH_TASKS[args.dataset]
        pretrained = {"imkt", "imkt-fast", "exkt", "blended"} & set(args.models.split(","))
        if spec.has_structures and pretrained:
            tell(
                "warning",
                f"the checkpoint of {' and '.join(sorted(pretrained))} was pretrained on data like"
                f" those of {args.dataset}; a score there says nothing, and imkt-scratch is the"
                " one to read.",
            )
        problem = Problem(
            bunch.data,
            bunch.target,
            spec.kind,
            title=args.dataset,
            target_name=spec.target,
            unit=spec.unit,
            description=bunch.DESCR,
            folds=bunch.folds,
        )
    else:
        raise InputError(
            f"Unknown data set {args.dataset!r}. There are: {_SEEBECK},"
            f" {', '.join(MATBENCH_TASKS)}."
        )
    if args.task not in ("auto", problem.task):
        raise InputError(f"{args.dataset} is a {problem.task}, not a {args.task}.")
    return problem


def _file_names(task: TaskKind) -> tuple[str, str, str]:
    return _RESULTS, "parity.png" if task == "regression" else "roc.png", "report.html"


@contextlib.contextmanager
def _output_files(
    folder: str | None, task: TaskKind
) -> Iterator[tuple[AbstractContextManager[Path | None], list[Path]]]:
    """Yield what gives a path for the results, and temporary paths of the pictures."""
    if folder is None:
        yield contextlib.nullcontext(), []
        return
    path = Path(folder)
    created = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        results, *pictures = [path / name for name in _file_names(task)]
        with contextlib.ExitStack() as stack:
            yield replacing(results), [stack.enter_context(replacing(p)) for p in pictures]
    except BaseException:
        if created and not any(path.iterdir()):
            path.rmdir()
        raise


def _write_results(result: EvaluationResult, problem: Problem, command: str, path: Path) -> None:
    dataset = {
        "name": problem.title,
        "target": problem.target_name,
        "unit": problem.unit,
        "description": problem.description,
    }
    content = result.to_dict(dataset=dataset, command=command)
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _print_evaluation(result: EvaluationResult, problem: Problem, args: argparse.Namespace) -> None:
    from sklearn_kt.report import format_sample, prediction_sample, summary_table

    in_unit = f" in {problem.unit}" if problem.unit else ""
    title = (
        f"{problem.title}: {problem.task} of {problem.target_name}{in_unit},"
        f" {len(problem.target)} rows, {result.n_folds} folds"
    )
    print_table(title, summary_table(result))
    if args.show_predictions:
        model, sample = prediction_sample(
            result, args.show_predictions, random_state=args.random_state
        )
        print()
        title = f"{len(sample)} out-of-fold predictions of {model}{in_unit}"
        print_table(title, format_sample(sample))


def _draw_results(
    result: EvaluationResult, problem: Problem, command: str, figure: Path, page: Path
) -> None:
    from sklearn_kt.report import write_html_report, write_parity_plot, write_roc_plot

    labels = {"target_name": problem.target_name, "unit": problem.unit}
    if result.task_kind == "regression":
        write_parity_plot(result, figure, **labels)
    else:
        write_roc_plot(result, figure)
    write_html_report(
        result,
        page,
        title=problem.title,
        description=problem.description,
        command=command,
        **labels,
    )
