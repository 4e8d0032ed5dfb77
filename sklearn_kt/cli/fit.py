"""``sklearn-kt fit``: a model of a table, saved."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sklearn_kt._files import replacing

from .checks import CATEGORIES, CONDITIONS, check_output
from .console import spell_scores, tell
from .options import (
    FORMATS,
    HELD_OUT,
    add_columns,
    add_conditions,
    add_dropping,
    add_model_name,
    add_training,
)
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
    add_dropping(parser)
    add_conditions(parser)
    add_model_name(parser)
    add_training(parser)
    parser.add_argument(
        "--weights",
        metavar="COLUMN",
        help="how much each row counts, such as one over the square of its uncertainty; 0 leaves a"
        " row out (default: all count alike). 'evaluate' takes none: it scores rows alike",
    )
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="file to write")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_output(args.output, args.data)
    problem = table_problem(args, args.data)

    from sklearn.pipeline import Pipeline

    from sklearn_kt.estimators.base import fit_rows
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
    name = ",".join(problem.target_names)
    with replacing(Path(args.output)) as path:
        # baselines take no gaps, and are fitted to one target at a time
        model = fit_rows(model, problem.inputs, problem.target, weights=problem.weights)
        scores = _scores_of_targets(getattr(model, "held_out_scores_", {}), problem)
        about = {
            "target": name,
            **({"targets": len(problem.units)} if len(problem.units) > 1 else {}),
            "unit": ",".join(problem.units),
            "task": problem.task,
            "fitted as": args.model,
            "rows": len(problem.target) - problem.n_weightless,
            **({"rows without a target": problem.n_dropped} if problem.n_dropped else {}),
            **({"rows that are no compositions": problem.n_rejected} if problem.n_rejected else {}),
            **({"rows of weight 0": problem.n_weightless} if problem.n_weightless else {}),
            "elements": " ".join(problem.elements),
            "classes": ", ".join(map(str, getattr(model, "classes_", ()))),
            CONDITIONS: ", ".join(args.conditions or ()),
            CATEGORIES: ", ".join(problem.categories),
            "rows that repeat a composition": problem.repeats,
            "weights": args.weights or "",
            "date": datetime.now(UTC).date().isoformat(),
            **{
                HELD_OUT.format(score) + (f" of {target}" if len(scores) > 1 else ""): value
                for target, found in scores.items()
                for score, value in found.items()
            },
        }
        save_model(model, path, about=about)
    tell("fitted", _spell(problem))
    tell(
        "held out",
        f"{_spell_scores(scores, problem)}, on rows that inner folds held out"
        if scores
        else "unknown, as nothing was held out: 'sklearn-kt evaluate' measures the error",
    )
    tell("wrote", f"{args.output}: {args.model}, {problem.task} of {name}")


def _scores_of_targets(scores: Mapping[str, Any], problem: Problem) -> dict[str, dict[str, float]]:
    """Give the scores of each target."""
    import numpy as np

    if not scores:
        return {}
    return {
        target: {name: float(np.ravel(score)[at]) for name, score in scores.items()}
        for at, target in enumerate(problem.target_names)
    }


def _spell_scores(scores: Mapping[str, Mapping[str, float]], problem: Problem) -> str:
    spelled = {
        target: spell_scores(found, unit)
        for (target, found), unit in zip(scores.items(), problem.units, strict=True)
    }
    if len(spelled) == 1:
        return spelled[problem.target_names[0]]
    return "; ".join(f"{target}: {text}" for target, text in spelled.items())


def _spell(problem: Problem) -> str:
    """Say what a table holds."""
    repeats = f", {problem.repeats:,} rows that repeat a composition" if problem.repeats else ""
    left = f" and {problem.n_weightless:,} of weight 0" if problem.n_weightless else ""
    n_rows, n_elements = len(problem.target) - problem.n_weightless, len(problem.elements)
    return f"{problem.title}: {n_rows:,} rows{left}, {n_elements} elements{repeats}"
