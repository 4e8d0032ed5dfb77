"""Arguments that several commands take, and the model that one of them names."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sklearn_kt._cells import FORMULA_COLUMN, as_number, unit_of_name
from sklearn_kt.exceptions import InputError

BATCH_ROWS = 10_000
DEFAULT_MODELS = "imkt,imkt-fast,rf-magpie"
FORMATS = ".csv, .tsv or .jsonl (or these with .gz), .txt (CSV), .parquet or .xlsx"
# what a saved model says of its error: of several targets, with " of " and the target
HELD_OUT = "held-out {}"
MODEL_FILE = "file written by fit or save_model"
# of a condition that is tried at several values
_MOST_VALUES = 10_000


def add_model(parser: argparse.ArgumentParser) -> None:
    """Take a saved model; ``load_model`` reads it."""
    parser.add_argument("model", metavar="MODEL", help=MODEL_FILE)
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="full name of a further type that MODEL may hold, as its refusal gives it; once for "
        "each (building one may run its code)",
    )


def load_model(args: argparse.Namespace) -> Any:
    """Load the model that ``add_model`` took."""
    from sklearn_kt import persistence

    model = persistence.load_model(args.model, trusted=args.trust)
    # after the file is known to be there and sound: this takes seconds to import
    from sklearn_kt.estimators.readouts import forests_in_order

    model = forests_in_order(model)
    if not hasattr(model, "predict"):
        raise InputError(f"{args.model} holds a {type(model).__name__}, which cannot predict.")
    return model


def model_targets(about: Mapping[str, Any]) -> dict[str, str]:
    """Give the targets of a saved model, by what it says of itself, and the unit of each.

    There are none where whoever saved it told no name.
    """
    name, unit = str(about.get("target", "")), str(about.get("unit", ""))
    if not name:
        return {}
    if about.get("targets", 1) == 1:
        return {name: unit}
    return dict(zip_longest(name.split(","), unit.split(","), fillvalue=""))


def spell_units(targets: Mapping[str, str]) -> str:
    """Say what the units of targets are, at the end of a line."""
    return "".join(
        f"; {target} in {unit}"
        for target, unit in targets.items()
        if unit and unit != unit_of_name(target)
    )


def add_models(parser: argparse.ArgumentParser) -> None:
    """Take names of models to compare."""
    parser.add_argument(
        "--models",
        default=DEFAULT_MODELS,
        metavar="A,B,...",
        help="models to compare (default: %(default)s)",
    )
    _add_list_of_models(parser)


def add_model_name(parser: argparse.ArgumentParser) -> None:
    """Take the name of a model to fit."""
    parser.add_argument(
        "--model", default="imkt", metavar="NAME", help="model to train (default: %(default)s)"
    )
    _add_list_of_models(parser)


class _ListModels(argparse.Action):
    """Print the names that there are, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        # slow to import, and only for who asks
        from sklearn_kt.evaluation import MODELS

        for name, model in MODELS.items():
            print(f"{name:14}{model.label}")
        parser.exit()


def _add_list_of_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--list-models", action=_ListModels, nargs=0, help="print the names of models and exit"
    )


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Take the columns of formulas and of the target."""
    add_compositions(parser)
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        help="column to predict, or several, a,b,..., some cells of which may be empty",
    )
    parser.add_argument(
        "--unit",
        metavar="TEXT",
        help="unit of the target, of several with commas between them (default: what stands in"
        " brackets at the end of the column's name, as in 'gap (eV)')",
    )
    parser.add_argument(
        "--task",
        choices=("auto", "regression", "classification"),
        default="auto",
        help="auto: numbers are regression, text is classification (default: auto)",
    )


def add_dropping(parser: argparse.ArgumentParser) -> None:
    """Take what becomes of rows that nothing can be learned from."""
    parser.add_argument(
        "--missing",
        choices=("error", "drop"),
        default="error",
        help="rows whose target is empty, or NaN, NA and the like among numbers (of several"
        " targets, all): stop, or drop and count them (default: error)",
    )
    parser.add_argument(
        "--errors",
        choices=("raise", "drop"),
        default="raise",
        help="rows that are not compositions: stop, or drop and count them (default: raise)",
    )
    parser.set_defaults(remedy="--errors drop leaves them out.")


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """Take the columns that models see beside the composition."""
    parser.add_argument(
        "--conditions",
        type=comma_separated,
        metavar="A,B,...",
        help="columns that the model sees beside the composition, such as temperature: numbers, or"
        " categories such as a processing route (default: none)",
    )


def add_compositions(parser: argparse.ArgumentParser) -> None:
    """Take where compositions stand, what their amounts count, and how numbers are written."""
    parser.add_argument(
        "--formula-column",
        metavar="COLUMN",
        help=f"column of the formulas (default: {FORMULA_COLUMN}, or the only one that reads as"
        " formulas)",
    )
    parser.add_argument(
        "--amounts",
        choices=("atomic", "weight"),
        help="what amounts count: atoms, or mass as in weight per cent; where there is no column of"
        " formulas, they are those of the columns that elements name (default: atoms, and formulas"
        " only)",
    )
    parser.add_argument(
        "--decimal",
        choices=(".", ","),
        default=".",
        help="mark before the decimals of numbers in a text file, as in 8,5 (default: .)",
    )


def add_stream(parser: argparse.ArgumentParser) -> None:
    """Take a table that is read, and one that is written, in batches."""
    parser.add_argument(
        "data",
        nargs="*",
        default=["-"],
        metavar="DATA",
        help=f"formulas, or one table: {FORMATS}, or - (default: CSV from stdin)",
    )
    add_compositions(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="table to write: .csv, .tsv, .jsonl, .txt, .parquet or .xlsx (default: CSV to stdout)",
    )
    add_batch_size(parser, BATCH_ROWS)


@contextlib.contextmanager
def output_folder(name: str) -> Iterator[Path]:
    """Make the folder; with an error before anything is in it, it goes away again."""
    folder = Path(name)
    if folder.is_file():
        raise InputError(f"{name} is a file; name a folder, which is made if it is not there.")
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        if created and not any(folder.iterdir()):
            folder.rmdir()
        raise


def add_training(parser: argparse.ArgumentParser) -> None:
    """Take what every fit needs."""
    add_seed(parser)
    parser.add_argument(
        "--n-jobs",
        type=int,
        default=-1,
        metavar="N",
        help="jobs in parallel within a model; -1 uses every core (default: -1)",
    )


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Take the folder of data sets."""
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of the MatBench files, or with one `matbench` of them (default:"
        " $SKLEARN_KT_DATA, $MATMINER_DATA)",
    )


def add_properties(parser: argparse.ArgumentParser) -> None:
    """Take names of computed properties."""
    parser.add_argument(
        "--properties",
        metavar="A,B,...",
        help="computed properties to predict without a fit, as in 'energy above hull,band gap'"
        " ('sklearn-kt properties --list' names them)",
    )


def property_names(args: argparse.Namespace) -> list[str] | None:
    """Return the names that ``add_properties`` took, of properties that there are."""
    if args.properties is None:
        return None
    from sklearn_kt._property_names import bundled_properties, choose_properties

    return list(choose_properties(args.properties.split(","), bundled_properties(), "default"))


def add_errors(parser: argparse.ArgumentParser) -> None:
    """Take what becomes of rows that are no compositions, of a command that predicts."""
    parser.add_argument(
        "--errors",
        choices=("raise", "nan"),
        default="raise",
        help="rows that are not compositions: stop, or leave their prediction empty"
        " (default: raise)",
    )
    parser.set_defaults(remedy="--errors nan leaves their predictions empty.")


def add_batch_size(parser: argparse.ArgumentParser, default: int) -> None:
    """Take a number of rows."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=default,
        metavar="N",
        help="rows held in memory (default: %(default)s)",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Take a seed."""
    parser.add_argument(
        "--random-state", type=int, default=0, metavar="SEED", help="seed (default: 0)"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Take the wish for silence."""
    parser.add_argument("--quiet", action="store_true", help="no progress")


def add_set(parser: argparse.ArgumentParser) -> None:
    """Take values of conditions; ``args.conditions`` holds a list for each name."""
    parser.add_argument(
        "--set",
        action=_SetConditions,
        default={},
        dest="conditions",
        metavar="NAME=VALUE",
        help="value of a condition for all rows, as in temperature=600; several, as in"
        " temperature=300:900:50 (first, last, step) or route=cast,SPS; once for each condition",
    )


class _SetConditions(argparse.Action):
    """Add a condition and its values."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None
    ) -> None:
        name, equals, text = values.partition("=")
        if not equals or not name.strip() or not text.strip():
            parser.error(f"argument --set: NAME=VALUE is needed, got {values!r}")
        conditions = dict(getattr(namespace, self.dest))
        if name.strip() in conditions:
            parser.error(f"argument --set: {name.strip()} is set twice")
        try:
            conditions[name.strip()] = _values(text.strip())
        except ValueError as error:
            parser.error(f"argument --set: {error}")
        setattr(namespace, self.dest, conditions)


def set_conditions(model: Any, args: argparse.Namespace) -> dict[str, list[Any]]:
    """Give the values that ``add_set`` took: numbers, unless they are names of categories."""
    import pandas as pd

    from sklearn_kt.estimators.base import encoder_of
    from sklearn_kt.screening.conditions import condition_names
    from sklearn_kt.screening.names import check_given

    encoder = encoder_of(model)
    check_given(condition_names(encoder), args.conditions)
    counted = () if encoder is None else encoder.numbers_
    given = {}
    for name, values in args.conditions.items():
        given[name] = set_numbers(name, values) if name in counted else values
        if encoder is not None:
            # told as what they are, and not as values of the rows that they are given to
            places = [f"--set {name}"] * len(values)
            encoder.unlike_training(pd.DataFrame({name: given[name]}), places.__getitem__)
    return given


def set_numbers(name: str, values: list[Any]) -> list[float]:
    """Read the values of a condition that is a number."""
    numbers = []
    for value in values:
        number = as_number(value, ".")
        if number is None:
            raise InputError(
                f"--set {name}: {value!r} is not a number, as the model's {name!r} is."
            )
        numbers.append(number)
    return numbers


def _values(text: str) -> list[Any]:
    """Take a value, several between commas, or numbers from first to last."""
    parts = text.split(":")
    if len(parts) == 3:
        first, last, step = map(float, parts)
        if not all(map(math.isfinite, (first, last, step))):
            raise ValueError(f"{text!r} must be of finite numbers")
        count = round((last - first) / step, 9) if step else -1.0
        if count < 0 or count > _MOST_VALUES:
            raise ValueError(f"{text!r} must go from first to last in at most {_MOST_VALUES} steps")
        return [first + step * place for place in range(int(count) + 1)]
    values = listed(text)
    if not all(values):
        raise ValueError(f"an empty value in {text!r}")
    return values


def listed(text: str) -> list[str]:
    """Take apart what has commas between."""
    return [part.strip() for part in text.split(",")]


def comma_separated(text: str) -> list[str]:
    """Read names between commas."""
    names = listed(text)
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"an empty or repeated name in {text!r}")
    return names


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number
