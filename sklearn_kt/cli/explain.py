"""``sklearn-kt explain``: which elements made a prediction."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._cells import with_unit
from sklearn_kt._files import image_format, replacing
from sklearn_kt.exceptions import InputError

from .checks import check_conditions, check_output
from .console import print_table, tell
from .formulas import FormulaReader, read_formulas
from .options import (
    BATCH_ROWS,
    FORMATS,
    add_compositions,
    add_model,
    add_seed,
    add_set,
    load_model,
    model_targets,
    positive,
    set_conditions,
)
from .problem import with_conditions

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_kt.explanation import CompositionInteractions


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "explain",
        help="show what each element adds to a prediction",
        description="Share the prediction for a formula out among its elements and their"
        " interactions (Shapley interactions, by shapiq from the extra 'explain'): print a table"
        " and write a figure.",
        examples=(
            "explain gap.model LiFePO4 GaN",
            "explain gap.model GaN --label 'band gap (eV)' --players tokens -o GaN.svg",
            "explain seebeck.model PbTe --set temperature=600",
        ),
    )
    add_model(parser)
    parser.add_argument("formulas", nargs="+", metavar="FORMULA", help="as in LiFePO4")
    add_set(parser)
    parser.add_argument(
        "--index",
        choices=("k-SII", "SII", "STII", "FSII", "SV"),
        default="k-SII",
        help="interaction index (default: k-SII)",
    )
    parser.add_argument(
        "--max-order",
        type=positive,
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
        help=f"table of formulas, such as the training data: {FORMATS}",
    )
    add_compositions(parser)
    parser.add_argument(
        "--budget", type=positive, metavar="N", help="most coalitions to predict (default: 4096)"
    )
    parser.add_argument(
        "--target", metavar="NAME", help="class of a classifier, or one of several targets"
    )
    parser.add_argument(
        "--response",
        choices=("log-odds", "probability"),
        default="log-odds",
        help="what is explained of a classifier (default: log-odds)",
    )
    parser.add_argument(
        "--label",
        metavar="TEXT",
        help="what is predicted, for the figure (default: the target of the model, in its unit)",
    )
    add_seed(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="image to write, of one formula (default: the formula, .png)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.output is not None:
        image_format(args.output)
        check_output(args.output, args.model, args.background)
        if len(args.formulas) > 1:
            raise InputError(
                f"--output names one image, and there are {len(args.formulas)} formulas: leave it"
                " out, and each image is named after its formula."
            )

    from sklearn_kt.persistence import describe_model

    about = describe_model(args.model)["about"]
    check_conditions(about, args, ())
    read_formulas(args.formulas)

    from sklearn_kt.plotting import write_explanation

    stems = [_stem(formula, args) for formula in args.formulas]
    found = _explanations(args, [*model_targets(about)])
    for number, (stem, values) in enumerate(zip(stems, found, strict=True)):
        output = Path(args.output or f"{stem}.png")
        with replacing(output) as path:
            if number:
                print()
            # the numbers are there whatever happens to the picture
            print_table(*_table(values))
            write_explanation(values, path, label=args.label or _label(args, about))
        tell("wrote", str(output))


def _stem(formula: str, args: argparse.Namespace) -> str:
    """Name a file after a formula and the conditions, which are the same for all of a command."""
    from sklearn_kt._formula import file_stem

    given = [f"{name}_{value}" for name, values in args.conditions.items() for value in values]
    return "_".join([file_stem(formula), *(re.sub(r"[^\w.+-]+", "_", text) for text in given)])


def _label(args: argparse.Namespace, about: dict[str, Any]) -> str:
    """Name what is predicted, with its unit: what a classifier gives is no quantity of a table."""
    targets = model_targets(about)
    if not targets or about.get("task") == "classification":
        return "prediction"
    # one of several may be named by its number
    name = args.target if args.target in targets else [*targets][int(args.target or 0)]
    return with_unit(name, targets[name])


def _explanations(
    args: argparse.Namespace, targets: list[str]
) -> Iterator[CompositionInteractions]:
    from sklearn.exceptions import NotFittedError

    from sklearn_kt.explanation import explain

    model = load_model(args)
    background = _background(args) if args.background else None
    conditions = {}
    for name, values in set_conditions(model, args).items():
        if len(values) > 1:
            raise InputError(f"--set {name}: an explanation is of one value, got {len(values)}.")
        [conditions[name]] = values
    try:
        for formula in args.formulas:
            yield explain(
                model,
                formula,
                conditions=conditions,
                index=args.index,
                max_order=args.max_order,
                players=args.players,
                baseline=args.baseline,
                background=background,
                budget=args.budget,
                target=_target(model, args.target, targets),
                response=args.response,
                random_state=args.random_state,
            )
    except NotFittedError as error:
        raise InputError(f"The model is not fitted: {error}") from error


def _background(args: argparse.Namespace) -> Any:
    from sklearn_kt.tables import open_table

    formulas: list[Any] = []
    conditions: dict[str, list[Any]] = {name: [] for name in args.conditions}
    where: list[str] = []
    with open_table(args.background, BATCH_ROWS) as table:
        places = {name: table.column(name) for name in conditions}
        reader = FormulaReader(table, args)
        for batch in reader.batches:
            values = reader.values(batch)
            formulas += reader.formulas(values, reader.read(values, batch.place))
            where += map(batch.place, range(len(values)))
            for name, at in places.items():
                conditions[name] += batch.values(at)
    return with_conditions(
        formulas, conditions, lambda row: f"{table.name}, {where[row]}", args.decimal
    )


def _target(model: Any, text: str | None, targets: list[str]) -> Any:
    """Find a class by its spelling, or the number of one of several targets."""
    if text is None:
        return None
    if len(targets) > 1 and text in targets:
        return targets.index(text)
    for label in getattr(model, "classes_", ()):
        if str(label) == text:
            return label
    return int(text) if text.isdecimal() and not hasattr(model, "classes_") else text


def _table(values: CompositionInteractions) -> tuple[str, pd.DataFrame]:
    """Spell where the values lead from and to, and the values, the strongest first."""
    table = values.to_frame()
    start = values.baseline_value
    kind = "estimated" if values.estimated else "exact"
    title = f"{values.formula}: {values.index} up to order {values.max_order}, {kind}"
    title += f"; baseline {start:.6g}"
    # the other indices share out the whole difference
    if values.index != "SII":
        title += f", prediction {start + table['value'].sum():.6g}"
    table["order"] = table["order"].astype(str)
    table["value"] = table["value"].map("{:+.4g}".format)
    return title, table
