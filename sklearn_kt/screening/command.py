"""What ``sklearn-kt screen`` does."""

from __future__ import annotations

import argparse
from typing import Any

from sklearn_kt.exceptions import InputError
from sklearn_kt.export import reduce_precision

from .screener import ScreeningResult, screen

__all__ = ["run"]


def run(estimator: Any, args: argparse.Namespace) -> ScreeningResult:
    """Screen as the options say.

    Parameters
    ----------
    estimator : estimator
        Loaded.
    args : Namespace
        Options.

    Returns
    -------
    ScreeningResult
        Counts.
    """
    options: dict[str, Any] = {
        "formula_column": args.formula_column,
        "columns": None if args.columns is None else args.columns.split(","),
        "numbers": None if args.numbers is None else args.numbers.split(","),
        "return_std": not args.no_std,
        "where": args.where,
        "top_k": args.top_k,
        "sort_by": args.sort_by,
        "ascending": args.ascending,
        "deduplicate": not args.keep_duplicates,
        "errors": args.errors,
        "batch_rows": args.batch_size,
        "verbose": 0 if args.quiet else 1,
    }
    if args.bfloat16:
        estimator = reduce_precision(estimator)
    if args.scheduler is None:
        return screen(estimator, args.source, args.output, **options)
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "--scheduler needs Dask: pip install 'sklearn_kt[distributed]'."
        ) from error
    try:
        client = Client(args.scheduler, timeout=5)
    except (OSError, ValueError) as error:
        raise InputError(f"There is no Dask scheduler at {args.scheduler}: {error}") from error
    with client:
        return screen(estimator, args.source, args.output, client=client, **options)
