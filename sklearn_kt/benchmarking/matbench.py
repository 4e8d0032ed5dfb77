"""MatBench v0.1: its tables with the official folds.

Notes
-----
``matbench`` 0.6 pins versions of 2022 and cannot be installed by a resolver; ``pip install
--no-deps matbench==0.6`` works, and is needed only for submitting. Its folds are those
of :func:`sklearn_kt.datasets.load_matbench`, row by row.

Structure tasks are run by composition: a model sees the formula of the full cell.

References
----------
A. Dunn, Q. Wang, A. Ganose, D. Dopp and A. Jain, "Benchmarking materials property
prediction methods: the Matbench test set and Automatminer reference algorithm",
npj Comput. Mater. 6, 138 (2020). https://doi.org/10.1038/s41524-020-00406-3
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from sklearn_kt.datasets import MATBENCH_TASKS, load_matbench
from sklearn_kt.evaluation import Sibling, Task
from sklearn_kt.exceptions import DatasetError, PretrainingOverlapWarning

__all__ = ["COMPOSITION_TASKS", "QUANTITY_OF", "matbench_tasks", "siblings_of"]

COMPOSITION_TASKS: tuple[str, ...] = tuple(
    name for name, spec in MATBENCH_TASKS.items() if not spec.has_structures
)
"""The four tasks whose official input is a formula."""

QUANTITY_OF = {
    "matbench_expt_gap": "band gap",
    "matbench_expt_is_metal": "metallicity",
    "matbench_phonons": "last phonon peak",
    "matbench_dielectric": "refractive index",
    "matbench_log_gvrh": "shear modulus",
    "matbench_log_kvrh": "bulk modulus",
    "matbench_perovskites": "perovskite heat of formation",
    "matbench_mp_gap": "band gap",
    "matbench_mp_is_metal": "metallicity",
    "matbench_mp_e_form": "formation energy",
}
"""What the tasks ask for, in the words of :data:`~sklearn_kt.evaluation.QUANTITIES`."""

# tasks whose labels are in the tables of other tasks
_RELATED = (
    (
        {"matbench_expt_gap", "matbench_expt_is_metal"},
        "every composition of matbench_expt_gap is in matbench_expt_is_metal with is_metal equal "
        "to (gap == 0), and the folds differ",
    ),
    (
        {"matbench_mp_gap", "matbench_mp_is_metal"},
        "the two have the same materials, with is_metal equal to (gap == 0)",
    ),
    ({"matbench_log_gvrh", "matbench_log_kvrh"}, "the two have the same materials"),
)


def matbench_tasks(
    names: str | Iterable[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
) -> list[Task]:
    """Load tasks of MatBench v0.1: tables with their official folds.

    Parameters
    ----------
    names : str, iterable of str or None, default=None
        Of :data:`~sklearn_kt.datasets.MATBENCH_TASKS`; None takes :data:`COMPOSITION_TASKS`.
    data_dir : path-like or None, default=None
        As for :func:`~sklearn_kt.datasets.load_matbench`.
    download : bool, default=False
        As for :func:`~sklearn_kt.datasets.load_matbench`.

    Returns
    -------
    tasks : list of Task
        Rows in the official order, with the official ids; folds 0 to 4.

    Raises
    ------
    DatasetError
        If no file is found, or the file is not the official table.

    See Also
    --------
    write_official : What a submission to MatBench needs.
    leaderboard : Compares with published submissions.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import matbench_tasks
    >>> from sklearn_kt.evaluation import evaluate
    >>> result = evaluate(  # doctest: +SKIP
    ...     "rf-magpie", matbench_tasks("matbench_steels"), output_dir="steels", verbose=1
    ... )
    >>> matbench_tasks("matbench_steels", "no/such/folder")
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.DatasetError: None of matbench_steels.csv, ...
    """
    if names is None:
        names = COMPOSITION_TASKS
    chosen = [names] if isinstance(names, str) else list(names)
    return [_task(name, data_dir, download) for name in chosen]


def siblings_of(name: str, data_dir: str | os.PathLike[str] | None) -> dict[str, Sibling]:
    """Tables that give the answers of a task away."""
    return {
        other: Sibling(why, partial(_formulas_of, other, data_dir))
        for pair, why in _RELATED
        if name in pair
        for other in pair - {name}
    }


def _task(name: str, data_dir: str | os.PathLike[str] | None, download: bool) -> Task:
    data = _load(name, data_dir, download)
    spec = MATBENCH_TASKS[name]
    return Task(
        name,
        spec.kind,
        data.data,
        data.target,
        data.frame["mbid"].to_numpy(dtype=object),
        dict(enumerate(data.folds)),
        target=spec.target,
        unit=spec.unit,
        quantity=QUANTITY_OF.get(name),
        description=data.DESCR,
        siblings=siblings_of(name, data_dir),
    )


def _load(name: str, data_dir: str | os.PathLike[str] | None, download: bool) -> Any:
    with warnings.catch_warnings():
        # the audit tells it for the models that it concerns
        warnings.simplefilter("ignore", PretrainingOverlapWarning)
        return load_matbench(name, data_dir, download=download)


def _formulas_of(name: str, data_dir: str | os.PathLike[str] | None) -> np.ndarray | None:
    try:
        return _load(name, data_dir, False).data
    except DatasetError:
        # without its table the audit says that it was not checked
        return None
