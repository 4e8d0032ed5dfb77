"""Measured thermoelectrics: seven properties with the temperature, on recorded folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sklearn_kt.datasets import load_thermoelectrics

if TYPE_CHECKING:
    from sklearn_kt.evaluation import Task

__all__ = ["thermoelectric_tasks"]

# measured, where the pool has what is calculated for the same composition
_QUANTITY_OF = {"S": "Seebeck coefficient", "PF": "power factor"}


def thermoelectric_tasks(
    targets: str | Iterable[str] | None = None, *, seed: int = 1
) -> list[Task]:
    """Make tasks of the measured thermoelectrics, with temperature as a condition (offline).

    Parameters
    ----------
    targets : str, iterable of str or None, default=None
        Targets of :func:`~sklearn_kt.datasets.load_thermoelectrics`, such as ``"S"``; None takes
        all seven.
    seed : {1, 88, 123, 1201}, default=1
        Which of the recorded splits.

    Returns
    -------
    tasks : list of Task
        ``thermoelectrics_S`` and so on, with five folds each; rows that are in no recorded fold
        are in none here.

    Raises
    ------
    InputError
        If there is no such target or split.

    See Also
    --------
    sklearn_kt.datasets.load_thermoelectrics : The table.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import thermoelectric_tasks
    >>> task = thermoelectric_tasks("zT")[0]
    >>> task.title, len(task.y), list(task.conditions)
    ('thermoelectrics_zT: regression of zT', 7807, ['temperature'])
    """
    if targets is None:
        everything: Any = load_thermoelectrics(None)
        targets = everything.target_names
    names = [targets] if isinstance(targets, str) else targets
    return [_task(name, seed) for name in names]


def _task(target: str, seed: int) -> Task:
    from sklearn_kt.evaluation import Task

    table: Any = load_thermoelectrics(target, seed=seed)
    return Task(
        f"thermoelectrics_{target}",
        "regression",
        table.data["formula"].to_numpy(dtype=object),
        table.target,
        table.frame["id"].to_numpy(dtype=object),
        dict(enumerate(table.folds)),
        target=target,
        unit=table.unit,
        quantity=_QUANTITY_OF.get(target),
        description=table.DESCR,
        conditions=table.data[["temperature"]],
    )
