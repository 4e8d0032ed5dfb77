"""``sklearn-kt predict``: formulas, or a table, through a saved model."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sklearn_kt._cells import as_number, is_decimal_comma
from sklearn_kt.exceptions import InputError

from .checks import check_conditions, check_table_output, is_classifier
from .console import spell_scores, tell
from .formulas import FormulaReader, check_added, extended, given_table, with_values, write_rows
from .options import (
    HELD_OUT,
    add_errors,
    add_model,
    add_quiet,
    add_set,
    add_stream,
    load_model,
    model_targets,
    positive,
    set_conditions,
    spell_units,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from sklearn_kt.compositions import CompositionBatch
    from sklearn_kt.evaluation.scores import TaskKind
    from sklearn_kt.screening.conditions import Conditions
    from sklearn_kt.tables import Batch, Table

# beginnings of the names of columns of numbers that are added
_STEMS = ("prediction", "prediction_std", "prediction_low", "prediction_high")
# part of the error of held-out rows below which rows are hardly new
_TOO_GOOD = 0.5
# decimals on a terminal
_PROBABILITY_DIGITS = 6


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "predict",
        help="predict with a saved model",
        description="Predict with a saved model: the columns of the table, then 'prediction_TARGET'"
        " for each target (and probabilities of classes). Reads and writes in batches, so tables"
        " may be larger than memory. Where the table has a column that the model was fitted to, the"
        " predictions of that target are scored as well.",
        examples=(
            "predict gap.model GaN CuInSe2",
            "predict gap.model new.csv --interval 0.9 -o predictions.xlsx",
            "predict seebeck.model PbTe --set temperature=300:900:50",
        ),
    )
    add_model(parser)
    add_stream(parser)
    parser.add_argument(
        "--return-std",
        action="store_true",
        help="add 'prediction_std_TARGET', the standard deviation that the model predicts",
    )
    parser.add_argument(
        "--interval",
        type=_coverage,
        metavar="P",
        help="add 'prediction_low_TARGET' and 'prediction_high_TARGET', between which a value lies"
        " with this probability, such as 0.9",
    )
    parser.add_argument(
        "--digits",
        type=positive,
        metavar="N",
        help="round what is added to so many significant digits (default: not at all; on a"
        " terminal, to a thousandth of the error on held-out rows)",
    )
    add_set(parser)
    add_errors(parser)
    add_quiet(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_table_output(args.output, args.model, *args.data)

    from sklearn_kt.persistence import describe_model

    about = describe_model(args.model)["about"]
    with given_table(args) as table:
        # what is wrong with the columns is said before the seconds that libraries take
        reader = FormulaReader(table, args)
        check_conditions(about, args, table.schema.names)
        targets = model_targets(about)
        check_added(table, _names_to_add(args, targets))
        if is_classifier(about):
            if args.return_std:
                raise _without_std(args)
            if args.interval:
                raise _without_intervals(args)
        reader.check(args.errors)
        model = load_model(args)
        from sklearn_kt.estimators.base import UnseenElements, elements_of
        from sklearn_kt.evaluation.scores import HEADLINES
        from sklearn_kt.screening.conditions import Conditions

        given = set_conditions(model, args)
        table = with_values(table, reader, given)
        conditions = Conditions.of(model, {}, table.schema.names, args.decimal)
        reader.batches = _checked(reader.batches, reader.name, conditions)
        predict = _predictor(model, args, conditions, list(targets))
        unseen = UnseenElements(elements_of(model))
        rows = extended(table, reader, args, _added(predict), predict, unseen)
        task: Any = str(about.get("task"))
        scorers = [
            _Scorer(model, task, target, unit, table, args.decimal, _held_out(about, target))
            for target, unit in targets.items()
            if task in HEADLINES and table.schema.names.count(target) == 1
        ]
        if scorers and (tried := math.prod(map(len, given.values()))) > 1:
            tell(
                "note",
                f"column {scorers[0].target!r} of {table.name} is not scored: it was measured"
                f" under one of the {tried} conditions that --set tries.",
            )
            scorers = []
        schema = next(rows).schema
        parts = _taken(_shown(rows, table, args), scorers)
        if args.output is None and args.digits is None and sys.stdout.isatty():
            parts = _legible(parts, len(table.schema), about)
        write_rows(parts, schema, args.output, spell_units(targets))
    for scorer in scorers:
        scorer.tell()


def _coverage(text: str) -> float:
    """Read a probability."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text}")
    return value


def _names_to_add(args: argparse.Namespace, targets: Iterable[str]) -> list[str]:
    """Name the columns that the model will add, as far as it says what it predicts."""
    stems = ["prediction"]
    stems += ["prediction_std"] if args.return_std else []
    stems += ["prediction_low", "prediction_high"] if args.interval else []
    return [f"{stem}_{target}" for target in targets for stem in stems]


def _without_std(args: argparse.Namespace) -> InputError:
    return InputError(
        f"The model in {args.model} gives no standard deviation: leave out --return-std."
    )


def _without_intervals(args: argparse.Namespace) -> InputError:
    return InputError(f"The model in {args.model} gives no intervals: leave out --interval.")


def _checked(batches: Iterator[Batch], name: str, conditions: Conditions | None) -> Iterator[Batch]:
    """Give batches whose conditions the model can read; messages name the places in the file."""
    for batch in batches:
        if conditions is not None:
            conditions.check(batch.table, partial(_place, name, batch))
        yield batch


def _place(name: str, batch: Batch, row: int) -> str:
    return f"{name}, {batch.place(row)}"


def _predictor(
    model: Any, args: argparse.Namespace, conditions: Conditions | None, targets: list[str]
) -> Callable[..., dict[str, pa.Array]]:
    """Make what predicts all columns that the options ask for."""
    import numpy as np
    import pyarrow as pa

    from sklearn_kt.estimators.readouts import offers_intervals, offers_std
    from sklearn_kt.screening.tasks import predictions

    if args.return_std and not offers_std(model):
        raise _without_std(args)
    if args.interval and not offers_intervals(model):
        raise _without_intervals(args)

    def predict(
        batch: CompositionBatch, formulas: np.ndarray, rows: pa.Table | None = None
    ) -> dict[str, pa.Array]:
        found = predictions(
            model,
            batch,
            formulas,
            args.return_std,
            conditions,
            rows,
            targets=targets,
            coverage=args.interval,
        )
        if args.digits:
            for name, column in found.items():
                if pa.types.is_floating(column.type):
                    text = np.char.mod(f"%.{args.digits}g", column.to_numpy())
                    found[name] = pa.array(text.astype(np.float64))
        return found

    return predict


def _added(predict: Callable[..., dict[str, pa.Array]]) -> pa.Schema:
    """Name the columns that the model adds, with their types, by a first prediction."""
    import numpy as np
    import pyarrow as pa

    from sklearn_kt.compositions import read_compositions

    found = predict(read_compositions(["NaCl"]), np.array(["NaCl"], dtype=object))
    return pa.schema([(name, column.type) for name, column in found.items()])


def _shown(rows: Iterator[pa.Table], table: Table, args: argparse.Namespace) -> Iterator[pa.Table]:
    """Show on a terminal how far the rows are."""
    from tqdm.auto import tqdm

    # None is silent where stderr is no terminal
    with tqdm(desc="predicting", unit=" rows", disable=args.quiet or None) as bar:
        for part in rows:
            yield part
            bar.total = table.total(bar.n + len(part)) or bar.total
            bar.update(len(part))


def _taken(rows: Iterator[pa.Table], scorers: list[_Scorer]) -> Iterator[pa.Table]:
    """Pass rows with their predictions on, and let each target be scored."""
    for part in rows:
        yield part
        for scorer in scorers:
            scorer.take(part)


def _legible(
    rows: Iterator[pa.Table], n_given: int, about: Mapping[str, Any]
) -> Iterator[pa.Table]:
    """Round what was added for people to read, to digits that can mean something."""
    import numpy as np
    import pyarrow as pa

    targets = model_targets(about)
    digits: dict[str, int] = {}
    for target in targets:
        error = _held_out(about, target)
        if error is not None and error > 0:
            places = 3 - math.floor(math.log10(error))
            digits |= {f"{stem}_{target}": places for stem in _STEMS}
    for part in rows:
        shown = part
        for at, field in [*enumerate(part.schema)][n_given:]:
            known = digits.get(field.name)
            if field.name.startswith("probability_") and pa.types.is_floating(field.type):
                known = _PROBABILITY_DIGITS
            if known is not None:
                # no minus before a zero
                values = np.round(part.column(at).to_numpy(), known) + 0.0
                shown = shown.set_column(at, field, pa.array(values, field.type, from_pandas=True))
        yield shown


def _held_out(about: Mapping[str, Any], target: str) -> float | None:
    """Give the mean absolute error that the fit held out; None where it is not known."""
    several = f" of {target}" if len(model_targets(about)) > 1 else ""
    error = about.get(HELD_OUT.format("mae") + several)
    return error if isinstance(error, float) and math.isfinite(error) else None


class _Scorer:
    """Compares predictions with a column that the model was fitted to."""

    def __init__(
        self,
        model: Any,
        task: TaskKind,
        target: str,
        unit: str,
        table: Table,
        decimal: str,
        held_out: float | None,
    ) -> None:
        self.model = model
        self.task = task
        self.target = target
        self.unit = unit
        self.name = table.name
        self.decimal = decimal
        self.held_out = held_out
        self.truth: list[Any] = []
        self.found: list[tuple[Any, ...]] = []
        self.missing = 0
        self.has_commas = False

    def take(self, rows: pa.Table) -> None:
        """Take the measured values of some rows, and what is predicted of them."""
        classes = [f"probability_{label}" for label in getattr(self.model, "classes_", ())]
        names = [f"prediction_{self.target}", *(n for n in classes if n in rows.schema.names)]
        columns = [rows.column(name).to_pylist() for name in names]
        for value, *found in zip(rows.column(self.target).to_pylist(), *columns, strict=True):
            known = _number(value, self.decimal) if self.task == "regression" else _label(value)
            if known is None or found[0] is None:
                self.missing += 1
                self.has_commas |= self.decimal == "." and is_decimal_comma(value)
            else:
                self.truth.append(known)
                self.found.append(tuple(found))

    def tell(self) -> None:
        """Say how well the predictions did."""
        import numpy as np

        from sklearn_kt.evaluation import score_predictions

        if not self.truth:
            if self.missing:
                decimal = " For a decimal comma say --decimal ,." if self.has_commas else ""
                tell(
                    "note",
                    f"column {self.target!r} of {self.name} holds nothing to score by.{decimal}",
                )
            return
        predicted, *probabilities = (np.array(column) for column in zip(*self.found, strict=True))
        scores = score_predictions(
            self.task,
            np.array(self.truth),
            predicted,
            np.column_stack(probabilities) if probabilities else None,
            getattr(self.model, "classes_", None),
        )
        shown = ("mae", "r2") if self.task == "regression" else ("accuracy", "roc_auc")
        left = f"; {self.missing:,} rows lack a value or a prediction" if self.missing else ""
        tell(
            "scored",
            f"{spell_scores({name: scores[name] for name in shown}, self.unit)}, against column"
            f" {self.target!r} of {self.name} ({len(self.truth):,} rows{left})",
        )
        if self.held_out is not None and scores["mae"] < _TOO_GOOD * self.held_out:
            tell(
                "note",
                f"rows that a model was fitted on look better than new ones: those that the fit "
                f"held out had {spell_scores({'mae': self.held_out}, self.unit)}.",
            )


def _number(value: Any, decimal: str) -> float | None:
    """Read a measured value; None where there is none."""
    number = as_number(value, decimal)
    return number if number is not None and math.isfinite(number) else None


def _label(value: Any) -> str | None:
    """Spell a class as ``fit`` does; None where there is none."""
    return None if value is None or not str(value).strip() else str(value)
