"""The command line: ``sklearn-kt`` and ``python -m sklearn_kt``.

``evaluate`` cross-validates models, ``fit`` and ``predict`` train and use one,
``tokenize`` shows what the models read, ``explain`` which elements made a prediction,
``screen`` predicts for millions of formulas, ``matbench`` runs a public benchmark. Results go
to stdout, progress and messages to stderr. What a user can correct ends with one line on
stderr and exit code 2; files are written under a temporary name and renamed when complete, and
Ctrl-C, SIGTERM and SIGHUP leave none of those behind.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._files import replacing
from ._version import __version__
from .exceptions import InputError, PretrainingOverlapWarning, SklearnKTError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from .compositions import CompositionBatch
    from .evaluation import EvaluationResult, Fold, TaskKind
    from .tables import Batch, Table, TableWriter

__all__ = ["main"]

_BATCH_ROWS = 10_000
_SCREEN_ROWS = 65_536
_DEFAULT_MODELS = "imkt,imkt-fast,rf-magpie"
_MODEL_NAMES = "dummy, et-fractions, rf-magpie, imkt-scratch, imkt-fast, imkt, exkt, blended"
_SEEBECK = "seebeck"
_STDIN = "-"
_RESULTS = "results.json"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# what "<0.1", "8,5", "0.66±0.1", "1 066.5", "5 eV" and "2020-01-01" have in common; classes such as
# 2D, 3d, 4mm and 2/m do not
_LIKE_NUMBER = re.compile(
    r"""[~≈<>≤≥=±+−–$€£\s-]*                                    # bounds and signs
    (?P<number>[\d.,'_\s]*\d[\d.,'_\s]*)
    (?P<rest>[±(×*^%‰°] | [–−/~:-]\s*\d | e[+-]?\d | x\s*10     # errors, powers, ranges
    | ([mk]?eV|K|[kMG]?Pa|[nµp]m|Å|[mk]?V|k?J|[SWg]/)(?!\w))?""",  # noqa: RUF001
    re.VERBOSE | re.IGNORECASE,
)
_NOT_FINITE = {"nan", "inf", "infinity"}
# characters of what may be a number with its unit
_MAX_NUMBER = 60
_FORMATS = ".csv, .tsv or .jsonl (or these with .gz), .parquet or .xlsx"


@dataclass
class _Problem:
    """What ``evaluate`` and ``fit`` learn from."""

    formulas: np.ndarray
    target: np.ndarray
    task: TaskKind
    title: str
    target_name: str
    unit: str = ""
    description: str = ""
    folds: list[Fold] | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        0 on success, 2 for an error that the user can correct, 130 after Ctrl-C, 143 after
        SIGTERM, 129 after SIGHUP, 141 when the reader of stdout went away.
    """
    if sys.stderr is None:
        # messages to None would go to stdout, among the results
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        _message("error", f"stdout is closed; redirect it to a file or to {os.devnull}.")
        return 2
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(arguments)
    args.command_line = _printable(shlex.join(["sklearn-kt", *arguments]))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # formulas and units are not ASCII everywhere, and CSV brings its own line ends
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        with _plain_warnings(), _signals_unwind():
            args.run(args)
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_stdout()
        return 141
    except (KeyboardInterrupt, _Terminated) as stop:
        _message("interrupted", getattr(args, "interrupted", "no file was written"))
        return getattr(stop, "code", 130)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _message("error", f"{place}{error.strerror or error}")
        _let_go_of_stdout()
        return 2
    except ValueError as error:
        from sklearn.utils._param_validation import InvalidParameterError

        # an option out of the range of the parameter that it sets
        if not isinstance(error, SklearnKTError | InvalidParameterError):
            raise
        _message("error", str(error))
        return 2
    return 0


def _let_go_of_stdout() -> None:
    """Drop what stdout does not take: the interpreter would try once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _message(kind: str, text: str) -> None:
    print(f"sklearn-kt: {kind}: {_printable(' '.join(text.split()))}", file=sys.stderr)


def _printable(text: str) -> str:
    """Write out what would command the terminal or cannot be encoded; names come from files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Terminated(SystemExit):
    """A signal that asks the process to end, with the exit code that tells which."""


@contextlib.contextmanager
def _signals_unwind() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, so that temporary files disappear."""
    # Windows has no SIGHUP, nohup ignores it, and only the main thread may ask
    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    caught = [
        number
        for number in numbers
        if number is not None
        and signal.getsignal(number) is signal.SIG_DFL
        and threading.current_thread() is threading.main_thread()
    ]

    def end(number: int, _: object) -> None:
        # they often come together, and one is enough
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        raise _Terminated(128 + number)

    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as one line, without the place in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        _message("warning", str(message))

    original = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = original


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sklearn-kt", description="Predict materials properties from chemical formulas."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_evaluate(commands)
    _add_fit(commands)
    _add_predict(commands)
    _add_screen(commands)
    _add_tokenize(commands)
    _add_explain(commands)
    _add_matbench(commands)
    _add_structures(commands)
    _add_train_crystallm(commands)
    _add_pretrain(commands)
    return parser


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="cross-validate models on identical folds",
        description="Cross-validate models on identical folds and print a table of scores (mean"
        " ± standard deviation over the folds). Rows of one composition stay on one side of"
        " each fold; MatBench tasks use their official folds.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="FILE", help=f"table: {_FORMATS}")
    source.add_argument(
        "--dataset",
        metavar="NAME",
        help="seebeck (47,737 compounds, always there) or a MatBench v0.1 task such as"
        " matbench_expt_gap",
    )
    _add_columns(parser)
    parser.add_argument(
        "--carrier", choices=("p", "n"), default="p", help="doping of seebeck (default: p)"
    )
    _add_data_dir(parser)
    parser.add_argument(
        "--n-samples", type=_positive, metavar="N", help="evaluate on so many rows, drawn at random"
    )
    _add_models(parser)
    parser.add_argument("--folds", type=_positive, metavar="K", help="number of folds (default: 5)")
    _add_training(parser)
    parser.add_argument(
        "--show-predictions",
        type=_positive,
        metavar="N",
        help="also print so many predictions with their uncertainty",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="write results.json, a figure (PNG) and report.html there",
    )
    parser.set_defaults(run=_evaluate)


def _add_fit(commands: Any) -> None:
    parser = commands.add_parser(
        "fit",
        help="train a model and save it",
        description="Train a model on a table and save it (sklearn_kt.persistence.save_model)."
        " Loading such a file runs no code from it.",
    )
    parser.add_argument("data", metavar="DATA", help=f"table: {_FORMATS}, or - (CSV from stdin)")
    _add_columns(parser)
    parser.add_argument(
        "--model",
        default="imkt",
        metavar="NAME",
        help=f"one of {_MODEL_NAMES} (default: %(default)s)",
    )
    _add_training(parser)
    parser.add_argument("--output", required=True, metavar="MODEL", help="file to write")
    parser.set_defaults(run=_fit)


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="predict with a saved model",
        description="Predict with a saved model: the columns of the table, then 'prediction' (and"
        " probabilities of classes). Reads and writes in batches, so tables may be larger than"
        " memory.",
    )
    _add_model(parser)
    _add_stream(parser)
    parser.add_argument(
        "--return-std",
        action="store_true",
        help="add 'prediction_std', the standard deviation that the model predicts",
    )
    _add_errors(parser)
    parser.set_defaults(run=_predict)


def _add_screen(commands: Any) -> None:
    parser = commands.add_parser(
        "screen",
        help="predict for a table of any length and keep the best",
        description="Stream a table through a saved model into another table, with filters or"
        " ranking. A run that was stopped goes on when it is started again.",
    )
    _add_model(parser)
    parser.add_argument(
        "source", metavar="SOURCE", help=f"table: {_FORMATS}, or a folder of .parquet"
    )
    parser.add_argument(
        "--columns", metavar="A,B,...", help="columns of SOURCE to keep (default: all)"
    )
    parser.add_argument(
        "--numbers",
        metavar="A,B,...",
        help="columns of a text file to read as numbers, for --where and --sort-by (default: none,"
        " all stay text)",
    )
    parser.add_argument(
        "--where",
        metavar="FILTER",
        help="rows to keep, as in 'prediction > 1.5 and prediction_std < 0.3'",
    )
    parser.add_argument(
        "--top-k", type=int, metavar="K", help="keep the K rows of the highest --sort-by"
    )
    parser.add_argument(
        "--sort-by",
        default="prediction",
        metavar="COLUMN",
        help="column that ranks (default: %(default)s)",
    )
    parser.add_argument("--ascending", action="store_true", help="rank the lowest first")
    parser.add_argument(
        "--no-std", action="store_true", help="no standard deviations, which take time"
    )
    parser.add_argument(
        "--keep-duplicates",
        action="store_true",
        help="keep rows of a composition that was there before (LiFePO4, Li2Fe2P2O8)",
    )
    _add_errors(parser)
    _add_batch_size(parser, _SCREEN_ROWS)
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask cluster to predict on, as in tcp://host:8786 (needs the extra 'distributed')",
    )
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="run the encoder with 8 bits of precision, faster on processors made for it",
    )
    _add_quiet(parser)
    _add_formula_column(parser)
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="file to write: .parquet, .csv, .tsv or .jsonl",
    )
    parser.set_defaults(run=_screen, interrupted="the same command goes on")


def _add_tokenize(commands: Any) -> None:
    parser = commands.add_parser(
        "tokenize",
        help="write the tokens of formulas",
        description="Write formulas and the columns that CompositionTokenizer makes of them.",
    )
    _add_stream(parser)
    parser.add_argument(
        "--scheme",
        choices=("element", "formula", "fraction"),
        default="element",
        help="kind of tokens (default: element)",
    )
    parser.add_argument("--max-length", type=_positive, metavar="L", help="tokens in a row")
    parser.set_defaults(run=_tokenize)


def _add_pretrain(commands: Any) -> None:
    parser = commands.add_parser(
        "pretrain",
        help="pretrain an encoder by a recipe",
        description="Build a corpus, embed it by teachers, pretrain an encoder and save it as a"
        " checkpoint, as a recipe says (sklearn_kt.pretraining.run_recipe lists its keys). A run"
        " that was stopped goes on. Several processes share the work under 'accelerate launch -m"
        " sklearn_kt pretrain ...'.",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="recipe, JSON or YAML")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="data of the corpus (default: SKLEARN_KT_DATA)"
    )
    _add_quiet(parser)
    parser.set_defaults(
        run=_pretrain, interrupted="with a checkpoint_dir, the same command goes on"
    )


def _pretrain(args: argparse.Namespace) -> None:
    from .pretraining import read_recipe, run_recipe

    data_home = args.data_dir or os.environ.get("SKLEARN_KT_DATA")
    recipe = read_recipe(args.config)
    print(run_recipe(recipe, data_home=data_home, verbose=0 if args.quiet else 1))


def _add_explain(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="show what each element adds to a prediction",
        description="Share the prediction for a formula out among its elements and their"
        " interactions (Shapley interactions, by shapiq from the extra 'explain'): print a table"
        " and write a figure.",
    )
    _add_model(parser)
    parser.add_argument("formula", metavar="FORMULA", help="as in LiFePO4")
    parser.add_argument(
        "--index",
        choices=("k-SII", "SII", "STII", "FSII", "SV"),
        default="k-SII",
        help="interaction index (default: k-SII)",
    )
    parser.add_argument(
        "--max-order",
        type=_positive,
        default=2,
        metavar="N",
        help="most elements in an interaction (default: 2)",
    )
    parser.add_argument(
        "--players",
        choices=("elements", "tokens"),
        default="elements",
        help="tokens: symbols and amounts apart (default: elements)",
    )
    parser.add_argument(
        "--baseline",
        choices=("drop", "background", "mask"),
        default="drop",
        help="an absent element is taken out, replaced by the background, or masked"
        " (default: drop)",
    )
    parser.add_argument(
        "--background",
        metavar="FILE",
        help=f"table of formulas, such as the training data: {_FORMATS}",
    )
    _add_compositions(parser)
    parser.add_argument(
        "--budget", type=_positive, metavar="N", help="most coalitions to predict (default: 4096)"
    )
    parser.add_argument(
        "--target", metavar="NAME", help="class of a classifier, or number of an output"
    )
    parser.add_argument(
        "--response",
        choices=("log-odds", "probability"),
        default="log-odds",
        help="what is explained of a classifier (default: log-odds)",
    )
    parser.add_argument(
        "--label", default="prediction", metavar="TEXT", help="what is predicted, for the figure"
    )
    _add_seed(parser)
    parser.add_argument(
        "--output", metavar="FILE", help="image to write (default: the formula, .png)"
    )
    parser.set_defaults(run=_explain)


def _add_matbench(commands: Any) -> None:
    parser = commands.add_parser(
        "matbench",
        help="run MatBench and print the leaderboard",
        description="Run models on the official folds of MatBench v0.1 and print where they stand"
        " among published submissions, with an audit of what test rows share with training and"
        " pretraining.",
    )
    parser.add_argument(
        "--tasks",
        default="composition",
        metavar="A,B,...",
        help="tasks, or 'composition' (the four whose input is a formula) or 'all' (structure"
        " tasks by composition) (default: %(default)s)",
    )
    _add_models(parser)
    _add_data_dir(parser)
    parser.add_argument(
        "--leaderboard",
        metavar="PATH",
        help="recorded scores of published submissions by fold: a CSV file, or a folder with"
        " leaderboard_scores.csv (default: the data folder, if it has that file)",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="keep the predictions of each fold there, so that a stopped run goes on, and write"
        " matbench.json and the official results files",
    )
    parser.add_argument(
        "--pool",
        metavar="FILE",
        help="compositions that the checkpoint was pretrained on (default: those beside it)",
    )
    _add_seed(parser)
    parser.add_argument(
        "--n-jobs", type=int, default=1, metavar="N", help="folds run at the same time (default: 1)"
    )
    parser.set_defaults(run=_matbench, interrupted="with an --output-dir, the same command goes on")


def _add_structures(commands: Any) -> None:
    parser = commands.add_parser(
        "structures",
        help="propose crystal structures for formulas",
        description="Propose crystal structures by substitution into known prototypes or by a"
        " language model: print the ranked candidates and write a CIF file for each.",
    )
    parser.add_argument("formulas", nargs="+", metavar="FORMULA", help="as in BaTiO3")
    parser.add_argument(
        "--n", type=_positive, default=5, metavar="N", help="candidates of each (default: 5)"
    )
    parser.add_argument(
        "--generator",
        choices=("prototype", "crystallm", "both", "random"),
        default="prototype",
        help="crystallm is a language model of crystals, both asks it and the prototypes; random "
        "places atoms by chance, from the extra 'structures-random' (default: prototype)",
    )
    parser.add_argument(
        "--rank-by",
        choices=("similarity", "energy", "both"),
        default="similarity",
        help="energy is that of CHGNet, from the extra 'structures' (default: similarity)",
    )
    parser.add_argument(
        "--relax",
        type=int,
        default=0,
        metavar="STEPS",
        help="relax with CHGNet for so many steps (default: 0)",
    )
    parser.add_argument(
        "--known",
        metavar="PATH",
        help="your own crystals, tried first: a folder of CIFs or a table",
    )
    parser.add_argument(
        "--output-dir", default=".", metavar="DIR", help="where to write CIF files (default: here)"
    )
    parser.add_argument("--n-jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.set_defaults(run=_structures, interrupted="the files that were listed are complete")


def _add_train_crystallm(commands: Any) -> None:
    parser = commands.add_parser(
        "train-crystallm",
        help="train a language model that writes crystals",
        description="Train a CrystaLLM on crystals. The same command goes on with a run that was"
        " stopped.",
    )
    parser.add_argument(
        "structures", metavar="PATH", help="a folder of CIF files, a table, or a .jsonl.gz file"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="where the model goes")
    for name, default, text in (
        ("steps", 20_000, "updates of the weights"),
        ("batch-tokens", 4096, "tokens per update"),
        ("n-layer", 4, "layers"),
        ("n-head", 4, "heads of attention"),
        ("n-embd", 256, "width"),
        ("context", 256, "most tokens of a text"),
    ):
        parser.add_argument(
            f"--{name}",
            type=_positive,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    parser.add_argument(
        "--learning-rate", type=float, default=2e-3, metavar="X", help="peak (default: 0.002)"
    )
    parser.add_argument(
        "--form",
        choices=("short", "full"),
        default="short",
        help="texts without what follows from the rest, or the published form with about 1000"
        " tokens (default: short)",
    )
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out crystals that cannot be read"
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="as in cuda (default: cpu)")
    _add_seed(parser)
    parser.set_defaults(run=_train_crystallm, interrupted="the same command goes on")


def _add_columns(parser: argparse.ArgumentParser) -> None:
    _add_compositions(parser)
    parser.add_argument("--target", metavar="COLUMN", help="column to predict")
    parser.add_argument(
        "--task",
        choices=("auto", "regression", "classification"),
        default="auto",
        help="auto: numbers are regression, text is classification (default: auto)",
    )
    parser.add_argument(
        "--decimal",
        choices=(".", ","),
        default=".",
        help="mark before the decimals of the target, as in 8,5 (default: .)",
    )


def _add_formula_column(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--formula-column",
        default="formula",
        metavar="COLUMN",
        help="column of the formulas (default: formula)",
    )


def _add_compositions(parser: argparse.ArgumentParser) -> None:
    _add_formula_column(parser)
    parser.add_argument(
        "--amounts",
        choices=("atomic", "weight"),
        help="what amounts count: atoms, or mass as in weight per cent; where there is no column of"
        " formulas, they are those of the columns that elements name (default: atoms, and formulas"
        " only)",
    )


def _add_stream(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        nargs="?",
        default=_STDIN,
        metavar="DATA",
        help=f"table: {_FORMATS}, or - (default: CSV from stdin)",
    )
    _add_compositions(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="table to write: .csv, .tsv, .jsonl or .parquet (default: CSV to stdout)",
    )
    _add_batch_size(parser, _BATCH_ROWS)


def _add_training(parser: argparse.ArgumentParser) -> None:
    _add_seed(parser)
    parser.add_argument(
        "--n-jobs",
        type=int,
        default=-1,
        metavar="N",
        help="jobs in parallel within a model; -1 uses every core (default: -1)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="file written by fit or save_model")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="full name of a further type that MODEL may hold, as its refusal gives it; once for "
        "each (building one may run its code)",
    )


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        default=_DEFAULT_MODELS,
        metavar="A,B,...",
        help=f"models to compare, of {_MODEL_NAMES} (default: %(default)s)",
    )


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of the MatBench files (default: $SKLEARN_KT_DATA, $MATMINER_DATA)",
    )


def _add_errors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--errors",
        choices=("raise", "nan"),
        default="raise",
        help="rows that are not compositions: stop, or leave their prediction empty"
        " (default: raise)",
    )


def _add_batch_size(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--batch-size",
        type=_positive,
        default=default,
        metavar="N",
        help="rows held in memory (default: %(default)s)",
    )


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--random-state", type=int, default=0, metavar="SEED", help="seed (default: 0)"
    )


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def _evaluate(args: argparse.Namespace) -> None:
    from .evaluation import cross_validate_models, make_folds, make_model

    names = [name.strip() for name in args.models.split(",")]
    if len(set(names)) < len(names):
        raise InputError(f"A model is named twice in --models {args.models}.")
    problem = _dataset(args) if args.dataset else _table_problem(args, args.data, args.n_samples)
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
        _message("wrote", ", ".join(written))


def _print_evaluation(
    result: EvaluationResult, problem: _Problem, args: argparse.Namespace
) -> None:
    from .report import format_sample, prediction_sample, summary_table

    in_unit = f" in {problem.unit}" if problem.unit else ""
    title = (
        f"{problem.title}: {problem.task} of {problem.target_name}{in_unit},"
        f" {len(problem.target)} rows, {result.n_folds} folds"
    )
    _print_table(title, summary_table(result))
    if args.show_predictions:
        model, sample = prediction_sample(
            result, args.show_predictions, random_state=args.random_state
        )
        print()
        title = f"{len(sample)} out-of-fold predictions of {model}{in_unit}"
        _print_table(title, format_sample(sample))


def _dataset(args: argparse.Namespace) -> _Problem:
    from .datasets import MATBENCH_TASKS, load_matbench, load_seebeck

    if args.target is not None or args.decimal != ".":
        raise InputError("--target and --decimal belong to --data; a data set has its own target.")
    if args.dataset == _SEEBECK:
        seebeck: Any = load_seebeck(
            args.carrier, n_samples=args.n_samples, random_state=args.random_state
        )
        problem = _Problem(
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
            _message(
                "warning",
                f"the checkpoint of {' and '.join(sorted(pretrained))} was pretrained on data like"
                f" those of {args.dataset}; a score there says nothing, and imkt-scratch is the"
                " one to read.",
            )
        problem = _Problem(
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


def _table_problem(args: argparse.Namespace, source: str, n_samples: int | None) -> _Problem:
    """Read formulas and targets of a whole table, and find out what to predict."""
    import numpy as np

    from .tables import open_table

    if args.target is None:
        raise InputError("--target is needed: the column to predict.")
    formulas: list[Any] = []
    values: list[Any] = []
    places: list[str] = []
    with open_table(source, _BATCH_ROWS) as table:
        compositions_of = _composition_reader(table, args, args.target)
        target_at = table.column(args.target)
        for batch in table.batches:
            formulas += compositions_of(batch)
            values += batch.values(target_at)
            places += map(batch.place, range(len(batch.table)))
    if not formulas:
        raise InputError(f"{table.name} has a header but no rows.")
    formulas = _checked_formulas(formulas, places.__getitem__, table.name, args)
    if n_samples is not None:
        if n_samples > len(formulas):
            raise InputError(f"--n-samples {n_samples}: {table.name} has {len(formulas)} rows.")
        rng = np.random.default_rng(args.random_state)
        rows = np.sort(rng.choice(len(formulas), n_samples, replace=False)).tolist()
        formulas = [formulas[row] for row in rows]
        values = [values[row] for row in rows]
        places = [places[row] for row in rows]
    task, target = _targets(values, places, args, table.name)
    return _Problem(
        np.array(formulas, dtype=object),
        target,
        task,
        title=_printable(table.name),
        target_name=args.target,
    )


def _targets(
    values: list[Any], places: list[str], args: argparse.Namespace, name: str
) -> tuple[TaskKind, np.ndarray]:
    """Turn the target column into numbers or labels."""
    import numpy as np

    missing = [
        place
        for place, value in zip(places, values, strict=True)
        if value is None or (isinstance(value, str) and not value.strip())
    ]
    if missing:
        raise InputError(
            f"{name}, {missing[0]}: column {args.target!r} is empty ({len(missing)} such rows)."
            " Correct or drop them."
        )
    numbers = [_as_number(value, args.decimal) for value in values]
    finite = {number for number in numbers if number is not None and np.isfinite(number)}
    task = args.task
    bad: list[int] = []
    if task == "auto":
        task = "regression" if finite else "classification"
        if len(finite) == 2 and finite == set(numbers):
            raise InputError(
                f"Column {args.target!r} of {name} holds two different numbers only: say --task"
                " classification or --task regression."
            )
        if task == "classification":
            bad = [row for row, value in enumerate(values) if not _names_a_class(value)]
            distinct = len(set(map(str, values)))
            if not bad and distinct > max(2, len(values) / 2):
                raise InputError(
                    f"Column {args.target!r} of {name} holds {distinct} different texts in"
                    f" {len(values)} rows, such as {values[0]!r}. If they are numbers, correct"
                    " them; if they are class labels, say --task classification."
                )
    if task == "regression":
        bad = [
            row for row, number in enumerate(numbers) if number is None or not np.isfinite(number)
        ]
    if bad:
        value = values[bad[0]]
        count = f" ({len(bad)} such rows of {len(values)})" if len(bad) > 1 else ""
        decimal = (
            " for a decimal comma say --decimal ,;"
            if args.decimal == "." and all(_is_decimal_comma(values[row]) for row in bad)
            else ""
        )
        raise InputError(
            f"{name}, {places[bad[0]]}: {value!r} in column {args.target!r} is not a finite"
            f" number{count}. Correct or drop such rows;{decimal} for class labels say --task"
            " classification."
        )
    if task == "classification":
        return task, np.array([str(value) for value in values], dtype=object)
    return task, np.array(numbers, dtype=np.float64)


def _as_number(value: Any, decimal: str) -> float | None:
    """Read a number, or text that is one and nothing else; what is not finite stays that."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip().replace("−", "-")  # noqa: RUF001
        if decimal != ".":
            # a point would separate thousands
            text = text.replace(".", "_").replace(decimal, ".")
        if not _NUMBER.fullmatch(text) and text.lower().lstrip("+-") not in _NOT_FINITE:
            return None
        return float(text)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _names_a_class(value: Any) -> bool:
    """Tell labels from spoiled numbers, missing values, dates and what cannot be a label."""
    if not isinstance(value, str):
        return isinstance(value, bool)
    text = value.strip()
    if text.lower().lstrip("+-") in _NOT_FINITE:
        return False
    found = _LIKE_NUMBER.match(text) if len(text) <= _MAX_NUMBER else None
    if found is None:
        return True
    number = found["number"]
    whole = found.end() == len(text) or found["rest"]
    return not (whole or number[-1].isspace() or re.search(r"[.,]\d", number))


def _is_decimal_comma(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[+−-]?\d*,\d+", value.strip()))  # noqa: RUF001


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


def _write_results(result: EvaluationResult, problem: _Problem, command: str, path: Path) -> None:
    dataset = {
        "name": problem.title,
        "target": problem.target_name,
        "unit": problem.unit,
        "description": problem.description,
    }
    content = result.to_dict(dataset=dataset, command=command)
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _draw_results(
    result: EvaluationResult, problem: _Problem, command: str, figure: Path, page: Path
) -> None:
    from .report import write_html_report, write_parity_plot, write_roc_plot

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


def _print_table(title: str, table: pd.DataFrame) -> None:
    """Print text aligned: names to the left, figures to the right."""
    print(_printable(title), end="\n\n")
    columns = [[_printable(cell) for cell in (name, *table[name])] for name in table]
    widths = [max(map(len, column)) for column in columns]
    for name, *figures in zip(*columns, strict=True):
        cells = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        print("  ".join([name.ljust(widths[0]), *cells]))


def _fit(args: argparse.Namespace) -> None:
    from sklearn.pipeline import Pipeline

    from .evaluation import make_model
    from .persistence import save_model

    problem = _table_problem(args, args.data, None)
    model: Any = make_model(
        args.model, problem.task, random_state=args.random_state, n_jobs=args.n_jobs
    )
    # a Pipeline would talk to stdout
    if not isinstance(model, Pipeline) and "verbose" in model.get_params():
        model.set_params(verbose=1)
    with replacing(Path(args.output)) as path:
        model.fit(problem.formulas, problem.target)
        save_model(model, path)
    _message("wrote", f"{args.output}: {args.model}, {problem.task} of {problem.target_name}")


def _predict(args: argparse.Namespace) -> None:
    import numpy as np
    import pyarrow as pa

    from .screening.screener import predictions
    from .tables import open_table, writable_format

    if args.output is not None:
        writable_format(args.output)
    model = _load_model(args.model, args.trust)
    classes = list(model.classes_) if hasattr(model, "predict_proba") else []
    if args.return_std:
        from .evaluation import offers_std

        if not offers_std(model):
            raise InputError(
                f"The model in {args.model} gives no standard deviation: leave out --return-std."
            )
    added = ["prediction", *(["prediction_std"] if args.return_std else [])]
    added += [f"probability_{label}" for label in classes]
    kinds = [pa.float64()] * len(added)
    if hasattr(model, "classes_"):
        kinds[0] = pa.array(np.asarray(model.classes_).tolist()).type
    new = [pa.field(name, kind) for name, kind in zip(added, kinds, strict=True)]
    rejected: list[str] = []

    def predicted(name: str, batch: Batch, formulas: list[Any]) -> pa.Table:
        compositions = _checked(formulas, batch.place, name, args, args.errors)
        rejected.extend(
            f"{batch.place(row)} ({formulas[row]!r})"
            for row in np.flatnonzero(~compositions.valid).tolist()
        )
        rows = np.flatnonzero(compositions.valid)
        columns = [pa.nulls(len(formulas), kind) for kind in kinds]
        if len(rows):
            text = np.array(_texts(formulas, compositions, args), dtype=object)[rows]
            found = predictions(model, compositions[rows], text, args.return_std)
            if list(found) != added:
                raise InputError("The model predicts several targets; the command line writes one.")
            # position of each row's prediction; rows without one are null
            positions = np.cumsum(compositions.valid) - 1
            chosen = pa.array(positions, mask=~compositions.valid)
            columns = [column.take(chosen) for column in found.values()]
        table = batch.table
        for field, column in zip(new, columns, strict=True):
            table = table.append_column(field, column.cast(field.type))
        return table

    with open_table(args.data, args.batch_size) as table:
        compositions_of = _composition_reader(table, args)
        clash = sorted(set(added) & set(table.schema.names))
        if clash:
            raise InputError(f"{table.name} already has a column {clash[0]!r}: rename it.")
        schema = pa.schema([*table.schema.remove_metadata(), *new])
        with _table_writer(args.output, schema) as writer:
            for batch in table.batches:
                found = predicted(table.name, batch, compositions_of(batch))
                writer.write_table(found.cast(schema))
    if rejected:
        _message(
            "warning",
            f"{len(rejected)} rows of {table.name} are not compositions and have no prediction;"
            f" the first is {rejected[0]}.",
        )


def _load_model(path: str, trusted: Sequence[str]) -> Any:
    from .estimators.readouts import forests_in_order
    from .persistence import load_model

    model = forests_in_order(load_model(path, trusted=trusted))
    if not hasattr(model, "predict"):
        raise InputError(f"{path} holds a {type(model).__name__}, which cannot predict.")
    return model


def _screen(args: argparse.Namespace) -> None:
    from .screening.command import run
    from .tables import writable_format

    writable_format(args.output)
    result = run(_load_model(args.model, args.trust), args)
    _message(
        "wrote",
        f"{result.path}: {result.n_written} rows, of {result.n_rows} with"
        f" {result.n_rejected} that are no compositions",
    )


def _tokenize(args: argparse.Namespace) -> None:
    import pyarrow as pa

    from .tables import open_table, writable_format
    from .tokenizer import CompositionTokenizer

    if args.output is not None:
        writable_format(args.output)
    tokenizer = CompositionTokenizer(args.scheme, max_length=args.max_length)
    kind = pa.from_numpy_dtype(tokenizer.transform(["H"]).dtype)
    with open_table(args.data, args.batch_size) as table:
        compositions_of = _composition_reader(table, args)
        names = tokenizer.get_feature_names_out().tolist()
        schema = pa.schema(
            [
                pa.field(args.formula_column, pa.string()),
                *(pa.field(name, kind) for name in names),
            ]
        )
        with _table_writer(args.output, schema) as writer:
            for batch in table.batches:
                formulas = compositions_of(batch)
                compositions = _checked(formulas, batch.place, table.name, args, "raise")
                try:
                    tokens = tokenizer.transform(compositions)
                except InputError as error:
                    raise InputError(f"{table.name}, from {batch.place(0)} on: {error}") from error
                text = pa.array(_texts(formulas, compositions, args), pa.string())
                columns = [pa.array(column) for column in tokens.T]
                writer.write_table(pa.Table.from_arrays([text, *columns], schema=schema))


def _explain(args: argparse.Namespace) -> None:
    from .compositions import file_stem
    from .explain_command import explanation_of, explanation_table
    from .plotting import image_format, write_explanation
    from .tables import open_table

    if args.output is not None:
        image_format(args.output)
    model = _load_model(args.model, args.trust)
    background: list[Any] | None = None
    if args.background:
        background = []
        with open_table(args.background, _BATCH_ROWS) as table:
            compositions_of = _composition_reader(table, args)
            for batch in table.batches:
                background += _checked_formulas(
                    compositions_of(batch), batch.place, table.name, args
                )
    values = explanation_of(model, args, background)
    output = Path(args.output or f"{file_stem(values.formula)}.png")
    with replacing(output) as path:
        # the numbers are there whatever happens to the picture
        title, rows = explanation_table(values)
        _print_table(title, rows)
        write_explanation(values, path, label=args.label)
    _message("wrote", str(output))


def _matbench(args: argparse.Namespace) -> None:
    from .benchmarking.command import matbench_tables

    for title, table, lines in matbench_tables(args):
        _print_table(title, table)
        print("", *lines, sep="\n", end="\n\n")
    if args.output_dir:
        _message("wrote", f"{Path(args.output_dir) / 'matbench.json'} and the files beside it")


def _structures(args: argparse.Namespace) -> None:
    from .structures.command import structure_tables

    for title, table in structure_tables(args):
        _print_table(title, table)
        if len(table):
            print()
    _message("wrote", f"CIF files to {args.output_dir}")


def _train_crystallm(args: argparse.Namespace) -> None:
    from .structures.command import train

    print(train(args))


def _composition_reader(
    table: Table, args: argparse.Namespace, target: str | None = None
) -> Callable[[Batch], list[Any]]:
    """Tell how the compositions of a table are read: a column of formulas, or one per element."""
    from .compositions import ELEMENTS

    names = table.schema.names
    elements = [name for name in names if name in ELEMENTS and name != target]
    if args.formula_column in names or not elements:
        at = table.column(args.formula_column)
        return lambda batch: batch.values(at)
    if args.amounts is None:
        raise InputError(
            f"Column {args.formula_column!r} is not among the columns of {table.name}:"
            f" {', '.join(names)}. To read the columns that are named by elements, say --amounts"
            " atomic or --amounts weight."
        )
    columns = {name: table.column(name) for name in elements}

    def rows(batch: Batch) -> list[Any]:
        values = [map(_amount, batch.values(at)) for at in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]

    return rows


def _amount(value: Any) -> Any:
    """Read the text of an amount; what is no number is left for the gate to name."""
    if isinstance(value, str):
        if not value.strip():
            return None
        number = _as_number(value, ".")
        return value if number is None else number
    return value


def _checked_formulas(
    values: list[Any], place: Callable[[int], str], name: str, args: argparse.Namespace
) -> list[Any]:
    """Formulas of rows all of which are compositions."""
    return _texts(values, _checked(values, place, name, args, "raise"), args)


def _texts(values: list[Any], batch: CompositionBatch, args: argparse.Namespace) -> list[Any]:
    """Formulas as they are in the table; other compositions are written in atoms."""
    return values if args.amounts is None else batch.formulas()


def _checked(
    values: list[Any],
    place: Callable[[int], str],
    name: str,
    args: argparse.Namespace,
    errors: str,
) -> CompositionBatch:
    """Read compositions; messages name the places in the file."""
    from .compositions import read_rows

    batch, findings = read_rows(values, amounts=args.amounts or "atomic")
    if findings.rejected and errors == "raise":
        raise InputError(f"{name}, {findings.rejection(place)}")
    findings.warn(lambda row: f"{name}, {place(row)}")
    return batch


@contextlib.contextmanager
def _table_writer(output: str | None, schema: pa.Schema) -> Iterator[TableWriter]:
    """Open the table to write: a file that appears when it is complete, or stdout."""
    from .tables import open_writer, writable_format

    if output is None:
        with open_writer(None, ".csv", schema) as writer:
            yield writer
        return
    with (
        replacing(Path(output)) as path,
        open_writer(path, writable_format(output), schema) as writer,
    ):
        yield writer
