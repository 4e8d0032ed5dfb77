"""What is run: a table of compositions and targets with its folds."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import type_of_target

from sklearn_kt._cells import FORMULA_COLUMN, unit_of_name
from sklearn_kt._targets import as_numbers
from sklearn_kt.compositions import (
    CompositionBatch,
    composition_groups,
    read_compositions,
)
from sklearn_kt.conditions import ConditionEncoder, has_conditions
from sklearn_kt.conditions import composition_column as find_composition_column
from sklearn_kt.exceptions import CompositionWarning, ConditionWarning, InputError

from .scores import TaskKind, check_kind

__all__ = ["Fold", "Sibling", "Task", "make_folds", "table_task"]

Fold: TypeAlias = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Sibling:
    """Another table that gives the answers of a task away.

    Parameters
    ----------
    why : str
        What its labels say about the task.
    formulas : callable
        Takes nothing and returns the formulas of the other table, or None if it is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.evaluation import Sibling
    >>> sibling = Sibling("says which of these are metals", lambda: np.array(["Cu", "GaAs"]))
    >>> sibling.formulas().tolist()
    ['Cu', 'GaAs']
    """

    why: str
    formulas: Callable[[], np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Task:
    """A table with its folds.

    Parameters
    ----------
    name : str
        Used in tables and files.
    kind : {"regression", "classification"}
        What is predicted.
    formulas : object ndarray of shape (n_samples,)
        Compositions, as models read them.
    y : ndarray of shape (n_samples,)
        Targets: float64, or class labels.
    ids : object ndarray of shape (n_samples,)
        Distinct names of the rows.
    folds : dict of int to (train, test) pairs of int64 ndarray
        Row positions by the number of the fold.
    target : str, default=""
        Name of the target.
    unit : str, default=""
        Unit of the target.
    quantity : str or None, default=None
        What is predicted, in the words of :data:`~sklearn_kt.evaluation.QUANTITIES`.
    description : str, default=""
        What the data are, in plain text.
    siblings : mapping of str to Sibling, default={}
        Other tables that give the answers away, by name.
    notes : mapping, default={}
        What else a result should say about the table; of plain Python values.
    conditions : DataFrame of n_samples rows or None, default=None
        What else is known of each row, such as the temperature of a measurement.

    See Also
    --------
    table_task : Makes a task of a table of your own.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.evaluation import Task
    >>> formulas, y = np.array(["GaAs", "ZnO", "NaCl"], object), np.array([1.4, 3.4, 8.5])
    >>> folds = {0: (np.array([0, 1]), np.array([2]))}
    >>> task = Task("gaps", "regression", formulas, y, np.arange(3), folds, target="gap", unit="eV")
    >>> task.title
    'gaps: regression of gap in eV'
    >>> train, test = task.folds[0]
    >>> task.inputs(test).tolist(), task.y[test].tolist()
    (['NaCl'], [8.5])
    """

    name: str
    kind: TaskKind
    formulas: np.ndarray
    y: np.ndarray
    ids: np.ndarray
    folds: Mapping[int, Fold]
    target: str = ""
    unit: str = ""
    quantity: str | None = None
    description: str = ""
    siblings: Mapping[str, Sibling] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    conditions: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if not len(self.formulas) == len(self.y) == len(self.ids) == len(set(self.ids)):
            raise InputError(f"{self.name}: formulas, targets and distinct ids differ in number.")
        if self.conditions is not None and len(self.conditions) != len(self.y):
            raise InputError(
                f"{self.name}: there are {len(self.conditions)} rows of conditions for "
                f"{len(self.y)} targets."
            )
        if self.conditions is not None and FORMULA_COLUMN in self.conditions:
            raise InputError(f"{self.name}: no condition can be called {FORMULA_COLUMN!r}.")
        if not self.folds:
            raise InputError(f"{self.name} has no folds.")
        for number, fold in self.folds.items():
            self._check_fold(number, *fold)

    @property
    def classes(self) -> np.ndarray | None:
        """Class labels in sorted order; None for numbers."""
        if self.kind == "regression":
            return None
        return np.array([False, True]) if self.y.dtype == bool else np.unique(self.y)

    @property
    def title(self) -> str:
        """What is predicted, for people."""
        unit = f" in {self.unit}" if self.unit and self.unit != unit_of_name(self.target) else ""
        return f"{self.name}: {self.kind} of {self.target or 'the target'}{unit}"

    def inputs(self, rows: np.ndarray) -> np.ndarray | pd.DataFrame:
        """Give what models read of some rows.

        Parameters
        ----------
        rows : ndarray of int
            Row positions.

        Returns
        -------
        X : object ndarray of formulas, or DataFrame
            With conditions, a table: the column ``formula``, then they.
        """
        if self.conditions is None:
            return self.formulas[rows]
        table = self.conditions.iloc[rows].reset_index(drop=True)
        table.insert(0, FORMULA_COLUMN, self.formulas[rows])
        return table

    def digest(self, fold: int) -> str:
        """Hash of everything that a fold's result depends on.

        Parameters
        ----------
        fold : int
            Number of the fold.

        Returns
        -------
        digest : str
            SHA-256 of ids, formulas, conditions, targets and split.
        """
        digest = hashlib.sha256(repr((self.name, self.kind)).encode())
        digest.update("\n".join(map(str, self.ids)).encode())
        digest.update("\n".join(map(str, self.formulas)).encode())
        if self.y.dtype.kind in "biuf":
            digest.update(np.ascontiguousarray(self.y, dtype=np.float64).tobytes())
        else:
            digest.update("\n".join(map(str, self.y)).encode())
        if self.conditions is not None:
            digest.update(self.conditions.to_csv(index=False).encode())
        for part in self.folds[fold]:
            digest.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
        return digest.hexdigest()

    def check_conditions(self, numbers: Iterable[int]) -> None:
        """Check that folds can be learned and predicted by models that read the conditions.

        Parameters
        ----------
        numbers : iterable of int
            Of the folds.

        Raises
        ------
        InputError
            If a condition cannot be read, or the training part of a fold does not know it or a
            category that the test part has.
        """
        if self.conditions is None:
            return
        with warnings.catch_warnings():
            # models say so when they read a fold
            warnings.simplefilter("ignore", ConditionWarning)
            # of the whole table, for messages that name its rows
            ConditionEncoder(FORMULA_COLUMN).fit(self.inputs(np.arange(len(self.y))))
            for number in numbers:
                train, test = self.folds[number]
                try:
                    encoder = ConditionEncoder(FORMULA_COLUMN).fit(self.inputs(train))
                    places = [f"row {row}" for row in test]
                    encoder.unlike_training(self.inputs(test), places.__getitem__)
                except InputError as error:
                    raise InputError(
                        f"{self.name}, fold {number}: {error} No model can learn it there: leave "
                        "such rows or the condition out, or name with it what more rows have."
                    ) from error

    def _check_fold(self, number: int, train: np.ndarray, test: np.ndarray) -> None:
        for part, rows in (("train", train), ("test", test)):
            rows = np.asarray(rows)
            if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) == 0:
                raise InputError(
                    f"{self.name}: the {part} part of fold {number} must be row positions"
                    " (integers), at least one."
                )
            if rows.min() < 0 or rows.max() >= len(self.y):
                raise InputError(
                    f"{self.name}: the {part} part of fold {number} has row {rows.min()} or"
                    f" {rows.max()}, outside 0 to {len(self.y) - 1}."
                )
            if len(np.unique(rows)) < len(rows):
                raise InputError(f"{self.name}: the {part} part of fold {number} repeats a row.")
        shared = np.intersect1d(train, test)
        if len(shared):
            raise InputError(
                f"{self.name}: train and test parts must be disjoint, but fold {number} has"
                f" {len(shared)} rows in both, such as row {shared[0]}."
            )


def table_task(
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    kind: TaskKind,
    composition_column: str | None = None,
    folds: Iterable[Fold] | None = None,
    n_splits: int = 5,
    random_state: int | None = 0,
    name: str = "table",
    target: str = "target",
    unit: str = "",
    quantity: str | None = None,
    description: str = "",
) -> Task:
    """Make a task of a table of your own.

    Parameters
    ----------
    X : array-like of compositions, shape (n_samples,) or (n_samples, 1), or DataFrame
        Anything :func:`~sklearn_kt.read_compositions` takes. Models see formulas. Of a table
        with several columns, one holds compositions and the others are conditions, which models
        see too.
    y : array-like of shape (n_samples,)
        Targets: numbers, or class labels.
    groups : array-like of shape (n_samples,) or None, default=None
        Rows of one group stay on one side of each fold, as those of one composition do.
    kind : {"regression", "classification"}
        What is predicted.
    composition_column : str or None, default=None
        Of a table with conditions, the column of compositions; None finds it.
    folds : iterable of (train, test) pairs of int array-like or None, default=None
        Row positions; None takes those of :func:`make_folds`.
    n_splits : int, default=5
        Number of folds, if none are given.
    random_state : int or None, default=0
        Seed of the shuffling, if no folds are given.
    name, target, unit : str
        Used in tables.
    quantity : str or None, default=None
        What is predicted, in the words of :data:`~sklearn_kt.evaluation.QUANTITIES`.
    description : str, default=""
        What the data are, in plain text.

    Returns
    -------
    task : Task
        Its rows have their positions as ids; folds are numbered from 0.

    Raises
    ------
    InputError
        If targets or folds cannot be used.
    CompositionError
        If a row is not a composition.

    Warns
    -----
    CompositionWarning
        If test rows of the folds given have a composition that the same fold trains on.

    Examples
    --------
    >>> from sklearn_kt.evaluation import evaluate, table_task
    >>> X, y = ["NaCl", "KCl", "LiF", "NaF"], [5.0, 4.0, 9.0, 8.0]
    >>> task = table_task(X, y, kind="regression", n_splits=2)
    >>> evaluate("dummy", task).summary()[["model", "mae"]]
       model  mae
    0  dummy  4.0
    """
    check_kind(kind)
    conditions = None
    if has_conditions(X):
        column = find_composition_column(X, composition_column)
        conditions = pd.DataFrame({name: X[name] for name in X.columns if name != column})
        X = X[column]
    batch = read_compositions(X)
    y = _check_targets(y, len(batch), kind)
    if folds is None:
        folds = make_folds(
            batch, y, groups, kind=kind, n_splits=n_splits, random_state=random_state
        )
    elif groups is not None:
        raise InputError("groups= are for folds that are made here: leave out one of the two.")
    task = Task(
        name,
        kind,
        _as_formulas(X, batch),
        y,
        np.arange(len(y)),
        {
            number: (np.asarray(train), np.asarray(test))
            for number, (train, test) in enumerate(folds)
        },
        target=target,
        unit=unit,
        quantity=quantity,
        description=description,
        conditions=conditions,
    )
    _warn_repeated(composition_groups(batch), list(task.folds.values()))
    return task


def make_folds(
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    kind: TaskKind,
    n_splits: int = 5,
    random_state: int | None = 0,
) -> list[Fold]:
    """Split a table into folds that share no composition.

    When every composition occurs once, the folds are those of a shuffled
    :class:`~sklearn.model_selection.KFold` (or
    :class:`~sklearn.model_selection.StratifiedKFold` for classes). When compositions
    repeat, all rows of one stay on the same side
    (:class:`~sklearn.model_selection.GroupKFold` and
    :class:`~sklearn.model_selection.StratifiedGroupKFold`), since a model that has
    seen a composition in training would only have to remember it.

    Parameters
    ----------
    X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
        Anything :func:`~sklearn_kt.read_compositions` takes.
    y : array-like of shape (n_samples,)
        Targets; used to stratify classes.
    groups : array-like of shape (n_samples,) or None, default=None
        Rows of one group, such as one publication, stay on one side too.
    kind : {"regression", "classification"}
        What is predicted.
    n_splits : int, default=5
        Number of folds.
    random_state : int or None, default=0
        Seed of the shuffling.

    Returns
    -------
    folds : list of (train, test) pairs of int64 ndarray
        Row positions; each row is in exactly one test part.

    Raises
    ------
    InputError
        If there are fewer compositions or groups, or fewer rows of a class, than folds.

    Examples
    --------
    >>> from sklearn_kt.evaluation import make_folds
    >>> formulas = ["NaCl", "KCl", "Cl2Na2", "LiF"]
    >>> folds = make_folds(formulas, [1, 2, 3, 4], kind="regression", n_splits=2)
    >>> [test.tolist() for _, test in folds]
    [[1, 3], [0, 2]]
    """
    check_kind(kind)
    together, of_what = composition_groups(X), "compositions"
    y = np.asarray(y)
    check_consistent_length(together, y)
    if groups is not None:
        check_consistent_length(together, groups)
        together, of_what = _joined(together, groups), "groups"
    n_distinct = len(np.unique(together))
    if not 2 <= n_splits <= n_distinct:
        raise InputError(
            f"The number of folds must be between 2 and the number of distinct {of_what},"
            f" {n_distinct}; got {n_splits}."
        )
    repeated = n_distinct < len(together)
    settings: dict[str, Any] = {"shuffle": True, "random_state": random_state}
    if kind == "regression":
        splitter = (GroupKFold if repeated else KFold)(n_splits, **settings)
    else:
        labels, counts = np.unique(y, return_counts=True)
        if counts.min() < n_splits:
            raise InputError(
                f"Class {labels.tolist()[counts.argmin()]!r} has {counts.min()} rows, fewer than"
                f" the {n_splits} folds. Use fewer folds or drop the class."
            )
        splitter = (StratifiedGroupKFold if repeated else StratifiedKFold)(n_splits, **settings)
    return list(splitter.split(together, y, together if repeated else None))


def _joined(compositions: np.ndarray, groups: Any) -> np.ndarray:
    """Give rows that share a composition or a group, also by way of others, one number."""
    codes, names = pd.factorize(np.asarray(groups))
    if (codes < 0).any():
        raise InputError(f"row {np.flatnonzero(codes < 0)[0]} has no group: groups must be whole.")
    _, compositions = np.unique(compositions, return_inverse=True)
    n = len(names) + compositions.max() + 1
    edges = coo_array((np.ones(len(codes)), (codes, len(names) + compositions)), shape=(n, n))
    return connected_components(edges, directed=False)[1][codes]


def _as_formulas(X: Any, batch: CompositionBatch) -> np.ndarray:
    """Formulas as the user wrote them, else as the gate writes them."""
    column = X.iloc[:, 0] if isinstance(X, pd.DataFrame) else X
    written: list = []
    if isinstance(column, Sequence | np.ndarray | pd.Series):
        written = list(column)
    if not all(isinstance(value, str) for value in written) or len(written) != len(batch):
        written = batch.formulas()
    return np.array(written, dtype=object)


def _check_targets(y: Any, n_rows: int, kind: TaskKind) -> np.ndarray:
    y = np.asarray(y)
    if y.shape != (n_rows,):
        raise InputError(f"y must have one target for each of the {n_rows} rows, got {y.shape}.")
    if kind == "regression":
        y = as_numbers(y)
        if not np.isfinite(y).all():
            row = int(np.flatnonzero(~np.isfinite(y))[0])
            raise InputError(f"The target of row {row} is {y[row]}; drop or correct such rows.")
    elif type_of_target(y) not in ("binary", "multiclass"):
        raise InputError(
            "The targets of a classification must be labels of at least two classes; these are"
            f" {type_of_target(y)}."
        )
    elif len(np.unique(y)) < 2:
        raise InputError(f"All targets are {y.tolist()[0]!r}: one class only.")
    return y


def _warn_repeated(groups: np.ndarray, folds: Sequence[Fold]) -> None:
    repeated = sum(int(np.isin(groups[test], groups[train]).sum()) for train, test in folds)
    if repeated:
        warnings.warn(
            f"{repeated} of {sum(len(test) for _, test in folds)} test rows have a composition"
            " that is also in the training part of their fold, which flatters every model. Folds"
            " of make_folds keep compositions together.",
            CompositionWarning,
            stacklevel=3,
        )
