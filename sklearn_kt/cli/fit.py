"""``sklearn-kt fit``: a model of a table, saved."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sklearn_kt._files import replacing

from .console import spell_scores, tell
from .options import FORMATS, add_columns, add_conditions, add_model_name, add_training
from .problem import Problem, table_problem


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "fit",
        help="train a model and save it",
        description="Train a model on a table and save it (sklearn_kt.save_model)."
        " Loading such a file runs no code from it.",
        examples=(
            "fit gaps.csv --target gap -o gap.model",
            "fit alloys.xlsx --amounts weight --target strength --model imkt-fast -o alloys.model",
        ),
    )
    parser.add_argument("data", metavar="DATA", help=f"table: {FORMATS}, or - (CSV from stdin)")
    add_columns(parser)
    add_conditions(parser)
    add_model_name(parser)
    add_training(parser)
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="file to write")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    problem = table_problem(args, args.data, None)

    from sklearn.pipeline import Pipeline

    from sklearn_kt.evaluation import make_model
    from sklearn_kt.persistence import save_model

    model: Any = make_model(
        args.model,
        problem.task,
        random_state=args.random_state,
        n_jobs=args.n_jobs,
        conditions=bool(args.conditions),
    )
    # a Pipeline would talk to stdout
    if not isinstance(model, Pipeline) and "verbose" in model.get_params():
        model.set_params(verbose=1)
    with replacing(Path(args.output)) as path:
        model.fit(problem.inputs, problem.target)
        scores = getattr(model, "held_out_scores_", {})
        about = {
            "target": problem.target_name,
            "unit": problem.unit,
            "task": problem.task,
            "fitted as": args.model,
            "rows": len(problem.target),
            "elements": " ".join(problem.elements),
            "rows that repeat a composition": problem.repeats,
            "date": datetime.now(UTC).date().isoformat(),
            **{f"held-out {name}": score for name, score in scores.items()},
        }
        save_model(model, path, about=about)
    tell("fitted", _spell(problem))
    tell(
        "held out",
        f"{spell_scores(scores, problem.unit)}, on rows that inner folds held out"
        if scores
        else "unknown, as nothing was held out: 'sklearn-kt evaluate' measures the error",
    )
    tell("wrote", f"{args.output}: {args.model}, {problem.task} of {problem.target_name}")


def _spell(problem: Problem) -> str:
    """Say what a table holds."""
    repeats = f", {problem.repeats:,} rows that repeat a composition" if problem.repeats else ""
    n_rows, n_elements = len(problem.target), len(problem.elements)
    return f"{problem.title}: {n_rows:,} rows, {n_elements} elements{repeats}"
