"""Streaming a source of formulas through a fitted model into a table."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import secrets
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from sklearn_kt._files import file_digest, new_folder, remove_folder, replacing
from sklearn_kt._version import __version__
from sklearn_kt.compositions import read_compositions
from sklearn_kt.estimators.base import UnseenElements, elements_of
from sklearn_kt.exceptions import CompositionWarning, InputError
from sklearn_kt.tables import has_types, open_writer, writable_format

from .conditions import Conditions
from .expressions import compared_columns, parse_expression
from .identity import SourceFiles, model_digest
from .sources import Source, Task, open_source
from .tasks import (
    COUNTS,
    ELEMENT_COUNTS,
    KEY,
    KEY_TYPE,
    Plan,
    added_columns,
    best_rows,
    check_plan,
    output_schema,
    write_part,
)

if TYPE_CHECKING:
    from distributed import Client
    from pyarrow.compute import Expression

__all__ = ["ScreeningResult", "screen"]

_FORMAT = 5
# in the folder of parts: what they belong to, the parts as one file, and its counts
_MANIFEST = "screening.json"
_MERGED = "merged"
_DONE = "done.json"
# seconds, for a process that is about to let go
_PATIENCE = 0.5
# Keys that are sorted in memory at a time, 24 bytes each.
_KEYS_AT_ONCE = 4_000_000
# Of a plan; a run that goes on has the same.
_SETTINGS = (
    "formula_column",
    "amounts",
    "return_std",
    "properties",
    "top_k",
    "sort_by",
    "ascending",
    "deduplicate",
    "errors",
    "batch_rows",
)
# A model that goes on with a run must predict these as before.
_PROBE = ["NaCl", "Fe2O3", "GaAs", "LiFePO4", "BaTiO3", "Cu", "CoCrFeNi", "CaMgC2O6"]


@dataclass(frozen=True)
class ScreeningResult:
    """What a screening read and wrote.

    Parameters
    ----------
    path : Path
        The file.
    n_rows : int
        Rows read.
    n_rejected : int
        Rows that are not compositions, with ``errors="nan"``.
    n_predicted : int
        Predictions made; equal compositions of a batch share one.
    n_written : int
        Rows in the file.
    n_unseen : int
        Rows with elements that no training row of the model had.
    unseen_elements : dict of str to int
        Those elements, and how many rows hold each.
    n_unpretrained : int
        Rows with elements that no formula had which the properties were pretrained on; 0 without
        properties.
    unpretrained_elements : dict of str to int
        Those elements, and how many rows hold each.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn_kt import ImplicitKTRegressor
    >>> from sklearn_kt.screening import screen
    >>> model = ImplicitKTRegressor(
    ...     None, backbone="tiny", readout="head", n_estimators=1, max_epochs=2, random_state=0
    ... ).fit(["NaCl", "KCl", "LiF", "NaF"], [5.0, 4.0, 9.0, 8.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = screen(model, ["KF", "K2F2", "LiCl"], f"{folder}/found.csv", return_std=False)
    >>> result.n_rows, result.n_predicted, result.n_written, result.n_unseen
    (3, 2, 2, 0)
    """

    path: Path
    n_rows: int
    n_rejected: int
    n_predicted: int
    n_written: int
    n_unseen: int
    unseen_elements: dict[str, int]
    n_unpretrained: int
    unpretrained_elements: dict[str, int]


def screen(
    estimator: Any,
    source: str | Path | Iterable[str],
    sink: str | Path,
    *,
    formula_column: str = "formula",
    amounts: str | None = None,
    columns: list[str] | None = None,
    numbers: list[str] | None = None,
    decimal: str = ".",
    return_std: bool = True,
    properties: Sequence[str] = (),
    conditions: Mapping[str, Any] | None = None,
    targets: str | Sequence[str] = (),
    where: str | Expression | None = None,
    top_k: int | None = None,
    sort_by: str | None = None,
    ascending: bool = False,
    deduplicate: bool = True,
    errors: str = "raise",
    batch_rows: int = 8_192,
    client: Client | None = None,
    verbose: int = 0,
) -> ScreeningResult:
    """Predict for a table or enumeration of any length, and keep what is wanted.

    Parameters
    ----------
    estimator : estimator
        Fitted on formulas: one of ours, or a pipeline or search around one.
    source : str, Path or iterable of str
        A ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.xlsx`` file, a folder of ``.parquet``
        files, or formulas (:func:`charge_neutral_formulas`). An iterable must give the same
        formulas again if a run is to go on.
    sink : str or Path
        File to write: ``.parquet``, ``.xlsx``, ``.csv``, ``.tsv`` or ``.jsonl``, the last three
        also ``.gz``; it must not exist.
    formula_column : str, default="formula"
        Column of the formulas.
    amounts : {"atomic", "weight"} or None, default=None
        What amounts count: atoms, or mass as in weight per cent. A source without the column of
        formulas is then read from its columns that are named by elements. None is atoms, in
        formulas only.
    columns : list of str or None, default=None
        Columns of the source to keep beside the compositions; None keeps all.
    numbers : list of str or None, default=None
        Columns of a text file (CSV) to read as numbers. Those that `where`, as text, compares
        with numbers, and that of `sort_by`, are read so anyway, and all that hold nothing else
        where the sink has types (not CSV); others are kept as the text they are.
    decimal : {".", ","}, default="."
        Mark before the decimals of `numbers`, conditions and amounts in a text file, as in ``8,5``.
    return_std : bool, default=True
        Of a regressor, also write the standard deviation of its errors. Classifiers always
        give their probabilities.
    properties : sequence of str, default=()
        Computed properties to predict as well, in their units and without a fit, as of
        :func:`~sklearn_kt.properties.predict_properties`: ``["energy above hull", "band gap"]``
        adds the columns ``energy_above_hull`` and ``band_gap``.
    conditions : mapping of str to value or list of values, default=None
        Of a model with conditions, those that are the same for all rows; of several values
        (``{"temperature": [300, 400, 500]}``) all are tried, and the one with the highest
        prediction counts (the lowest with `ascending`). They are columns of the output. The
        other conditions of the model are columns of the source; rows that differ in one are no
        duplicates.
    targets : str or sequence of str, default=()
        Name of what the estimator predicts, or of each of several targets: the columns are then
        ``prediction_<target>`` and ``prediction_std_<target>``. Without names they are
        ``prediction`` and ``prediction_std``, of several targets with the number of each.
    where : str, pyarrow.compute.Expression or None, default=None
        Keep the rows for which this is true. It may name kept columns and those that are added:
        predictions, ``probability_<class>`` and properties; as text, for example
        ``"prediction > 1.5 and energy_above_hull < 0.05"``.
    top_k : int or None, default=None
        Keep so many rows with the highest ``sort_by``, best first; of rows with equal
        predictions those with the smaller standard deviation, then those read first.
    sort_by : str or None, default=None
        Column that ranks; None is the prediction, of the first of several targets.
    ascending : bool, default=False
        Rank the lowest first instead.
    deduplicate : bool, default=True
        Of rows whose compositions are equal (``LiFePO4``, ``Li2Fe2P2O8``), keep the first that
        passes ``where``. False keeps all. Either way equal compositions of a batch are
        predicted once.
    errors : {"raise", "nan"}, default="raise"
        A row that is not a composition stops the run, or keeps an empty prediction (which no
        ``where`` about predictions and no ranking lets through).
    batch_rows : int, default=8192
        Rows in memory at a time, and rows of a task, which is lost if the run is killed; of a row
        group of a parquet file at least a 256th, rounded up to a multiple.
    client : distributed.Client or None, default=None
        Dask cluster to predict on; None predicts in this process. Each worker gets the model
        once, and reads parquet files itself, by their absolute path.
    verbose : int, default=0
        1 shows rows, rate and time left on stderr; first, how far the checksum of the source is.

    Returns
    -------
    result : ScreeningResult
        Counts.

    Raises
    ------
    InputError
        If an argument, the source or the sink cannot be used.
    CompositionError
        If a row is not a composition; the text names its place.
    EngineError
        If the cluster lost too many workers; the same call goes on.

    Warns
    -----
    UnseenElementWarning
        Once, at the end: if rows hold elements that no training row of the model had; and once if
        they hold some that no formula had which the `properties` were pretrained on.

    See Also
    --------
    charge_neutral_formulas : An enumeration to screen.

    Notes
    -----
    Finished tasks (of `batch_rows` rows) are kept in the folder
    ``<sink>.parts`` until all are done and ``sink`` appears in one piece. However a run ended, the
    same call goes on and writes what it would have written at once. What has another content is
    refused: files of the source (read once more for their checksum, at the speed of the disk; an
    iterable is compared as it is read), all that the model has learned, and settings.

    Memory does not grow with the source: duplicates across tasks are found by 128-bit
    hashes of the reduced amounts, in buckets on disk, of rows that passed
    ``where`` alone. A coincidence of two hashes among 1e9 compositions has a probability of
    about 1e-21.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from sklearn_kt import ImplicitKTRegressor
    >>> from sklearn_kt.screening import screen
    >>> model = ImplicitKTRegressor(
    ...     None, backbone="tiny", readout="head", n_estimators=1, max_epochs=2, random_state=0
    ... ).fit(["NaCl", "MgO", "Si"], [8.5, 7.8, 1.1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = screen(
    ...         model, ["LiF", "Li2F2", "GaAs"], f"{folder}/out.parquet", return_std=False
    ...     )
    ...     pd.read_parquet(result.path)["formula"].tolist()
    ['LiF', 'GaAs']
    """
    sink = Path(sink)
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k must be at least 1, got {top_k!r}.")
    if batch_rows < 1:
        raise InputError(f"batch_rows must be at least 1, got {batch_rows!r}.")
    if amounts not in (None, "atomic", "weight"):
        raise InputError(f"amounts must be 'atomic', 'weight' or None, got {amounts!r}.")
    if decimal not in (".", ","):
        raise InputError(f"decimal must be '.' or ',', got {decimal!r}.")
    if errors not in ("raise", "nan"):
        raise InputError(f"errors must be 'raise' or 'nan', got {errors!r}.")
    if sink.is_dir():
        raise InputError(f"{sink} is a folder; name a file.")
    if sink.exists() and not sink.is_file():
        raise InputError(f"{sink} is no file, and a screening is kept in one; choose another name.")
    kind = writable_format(sink)
    # before it predicts, which may fill caches
    model = model_digest(estimator)
    filtered = compared_columns(where) if isinstance(where, str) else {}
    opened = open_source(
        source,
        formula_column,
        amounts,
        columns,
        numbers or [],
        batch_rows,
        decimal,
        compared={*(name for name, kinds in filtered.items() if kinds == {float}), sort_by or ""},
        texts=[name for name, kinds in filtered.items() if str in kinds],
        typed=has_types(kind),
    )
    return_std = return_std and not hasattr(estimator, "classes_")
    wanted = tuple(properties)
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    found = Conditions.of(estimator, conditions or {}, opened.schema.names, decimal)
    probe = added_columns(
        estimator,
        read_compositions(_PROBE),
        np.array(_PROBE, object),
        return_std,
        wanted,
        found,
        targets=names,
    )
    plan = Plan(
        formula_column,
        amounts,
        opened.compositions,
        return_std,
        wanted,
        parse_expression(where) if isinstance(where, str) else where,
        tuple(filtered),
        top_k,
        sort_by or next(iter(probe)),
        ascending,
        deduplicate,
        errors,
        found,
        names,
        None if (elements := elements_of(estimator)) is None else tuple(elements),
        batch_rows,
        kind,
        output_schema(opened.schema, probe),
    )
    check_plan(plan)
    files = SourceFiles(opened.files, verbose)
    identity = {
        "format": _FORMAT,
        "sklearn_kt": __version__,
        "source": [*opened.identity, *files.digests],
        "model": model,
        "probe": {name: column.to_pylist() for name, column in probe.items()},
        "settings": {
            "schema": plan.schema.to_string(),
            # as text, long lists are cut short
            "conditions": None if found is None else found.grid.to_dict("list"),
            "decimal": decimal,
            "where": [str(plan.where), hashlib.sha256(pickle.dumps(plan.where)).hexdigest()],
            **{name: getattr(plan, name) for name in _SETTINGS},
        },
    }
    return _Run(estimator, opened, files, sink, plan, identity, client, verbose).finish()


class _Run:
    """One screening: its folder of parts, and the file they become."""

    def __init__(
        self,
        estimator: Any,
        source: Source,
        files: SourceFiles,
        sink: Path,
        plan: Plan,
        identity: dict[str, Any],
        client: Client | None,
        verbose: int,
    ) -> None:
        self.estimator = estimator
        self.source = source
        self.files = files
        self.path = sink
        # what a link leads to
        self.sink = Path(os.path.realpath(sink))
        self.plan = plan
        self.identity = identity
        self.client = client
        self.verbose = verbose
        self.folder = self.sink.with_name(f"{self.sink.name}.parts")
        # random name, in the records of its parts
        self.run: str | None = secrets.token_hex(16)

    def finish(self) -> ScreeningResult:
        """Do what is left to do."""
        if not self.sink.parent.is_dir():
            raise InputError(f"The folder {self.sink.parent} does not exist.")
        with self._lock():
            done, merged = self.folder / _DONE, self.folder / _MERGED
            # by a run that was killed before it could remove its parts
            is_written = self.sink.exists() and done.exists() and not merged.exists()
            if self.sink.exists() and not is_written:
                raise InputError(f"{self.path} exists already: delete it, or choose another name.")
            self._claim()
            if not is_written:
                try:
                    self._write(done, merged)
                except BaseException:
                    # a run that finished nothing binds nobody
                    if not self._has_parts():
                        remove_folder(self.folder)
                    raise
            try:
                result = ScreeningResult(self.path, **json.loads(done.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{done} is damaged ({error}). {self.path} is complete: delete the folder "
                    f"{self.folder} to keep it."
                ) from error
            remove_folder(self.folder)
        unseen = Counter(result.unseen_elements)
        UnseenElements(None, result.n_rows, result.n_unseen, unseen).warn(stacklevel=3)
        told = (result.n_unpretrained, Counter(result.unpretrained_elements))
        UnseenElements(None, result.n_rows, *told, pretraining=True).warn(stacklevel=3)
        return result

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other processes from the same sink."""
        from filelock import FileLock, Timeout

        # not in the folder, which comes and goes while others wait
        path = self.sink.with_name(f".{self.sink.name}.lock")
        lock = FileLock(path)
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise InputError(
                f"Another process is screening to {self.path}: wait for it, or choose another name."
            ) from None
        try:
            yield
        finally:
            # while it is held: whoever locks a file that has lost its name tries again. Windows
            # does not let go of an open file
            with suppress(OSError):
                path.unlink()
            lock.release()

    def _claim(self) -> None:
        """Begin a folder of parts, or see that the one there belongs to the same run."""
        path = self.folder / _MANIFEST
        bound = self._has_parts() or (self.folder / _DONE).exists()
        if path.exists() and not bound:
            remove_folder(self.folder)
        remedy = (
            f"Call as then to go on; to begin anew, delete the folder {self.folder}"
            f"{f' and {self.path}' if self.sink.exists() else ''}."
        )
        if not path.exists():
            if bound:
                raise InputError(f"Nothing tells what {self.folder} belongs to. {remedy}")
            with new_folder(self.folder) as staging:
                text = json.dumps({"run": self.run, **self.identity}, default=str)
                (staging / _MANIFEST).write_text(text, encoding="utf-8")
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            age = before["format"] - _FORMAT
            self.run = before.get("run")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}). {remedy}") from error
        if age:
            which = "a newer" if age > 0 else "an older"
            raise InputError(f"{self.folder} was begun by {which} sklearn_kt. {remedy}")
        now = json.loads(json.dumps(self.identity, default=str))
        for key, name in (
            ("sklearn_kt", "version of sklearn_kt"),
            ("source", "source"),
            ("settings", "settings"),
        ):
            if before.get(key) != now[key]:
                raise InputError(
                    f"{self.folder} was begun with another {name}: {before.get(key)}. {remedy}"
                )
        if before.get("model") != now["model"] or not _same(before.get("probe"), now["probe"]):
            raise InputError(f"{self.folder} was begun with another model. {remedy}")

    def _write(self, done: Path, merged: Path) -> None:
        """Run what has no part, and let the sink appear."""
        counts = self._run_tasks()
        parts = [self._part(index) for index in range(counts.pop("tasks"))]
        with replacing(merged) as staging:
            counts["n_written"] = _merge(parts, self.plan, staging, self.folder)
        with replacing(done) as staging:
            staging.write_text(json.dumps(counts), encoding="utf-8")
        merged.replace(self.sink)

    def _has_parts(self) -> bool:
        return next(self.folder.glob("part-*.parquet"), None) is not None

    def _part(self, index: int) -> Path:
        return self.folder / f"part-{index:08d}.parquet"

    def _run_tasks(self) -> dict[str, Any]:
        """Run the tasks that have no part yet, and add up the counts of all."""
        counts = {"tasks": 0, **_no_counts()}
        with (
            tqdm(
                desc="screening",
                total=self.source.rows(0),
                unit=" formulas",
                unit_scale=True,
                disable=not self.verbose,
            ) as bar,
            closing(self._open_tasks(counts, bar)) as open_tasks,
        ):

            def advance(rows: int) -> None:
                bar.total = self.source.rows(counts["n_rows"] + rows) or bar.total
                bar.update(rows)

            if self.client is None:
                for task in open_tasks:
                    with self._staging(task, counts) as (staging, about):
                        about |= write_part(task, self.plan, self.estimator, staging, advance)
            else:
                from .dask_engine import run_tasks

                for task, found, content in run_tasks(
                    self.client, self.estimator, self.plan, open_tasks
                ):
                    with self._staging(task, counts) as (staging, about):
                        about |= found
                        staging.write_bytes(content)
                    advance(task.rows)
        return counts

    def _open_tasks(self, counts: dict[str, Any], bar: Any) -> Generator[Task]:
        """Tasks without an intact part."""
        for task in self.source.tasks():
            counts["tasks"] += 1
            about = self._read_record(task)
            if about is None:
                yield task
                continue
            if about.get("digest") != task.digest(self.plan.compositions):
                raise InputError(
                    f"{task.place} gives other formulas from row {task.first_row} on than when "
                    f"{self.folder} was begun; delete that folder to begin anew."
                )
            _add(counts, about)
            if self.verbose:
                # no part of the rate
                bar.initial += task.rows
                bar.update(task.rows)

    @contextmanager
    def _staging(self, task: Task, counts: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Give a part its name once it is written; with its record, it counts as done."""
        part = self._part(task.index)
        about: dict[str, Any] = {"run": self.run, "index": task.index}
        with replacing(part) as staging:
            yield staging, about
            about["digest"] = task.digest(self.plan.compositions)
            about["sha256"] = file_digest(staging)
            self.files.check()
        with replacing(part.with_suffix(".json")) as staging:
            staging.write_text(json.dumps(about), encoding="utf-8")
        _add(counts, about)

    def _read_record(self, task: Task) -> dict[str, Any] | None:
        """Read what is known of a part; None if it is missing, damaged or of another run."""
        part = self._part(task.index)
        record = part.with_suffix(".json")
        # the record comes last
        if not part.exists() or not record.exists():
            return None
        try:
            about = json.loads(record.read_text(encoding="utf-8"))
            if (about["run"], about["index"]) != (self.run, task.index):
                raise ValueError("it belongs to another run or place")
            if about["sha256"] != file_digest(part):
                raise ValueError("its content has changed")
            _add(_no_counts(), about)
        except (OSError, KeyError, TypeError, ValueError) as error:
            warnings.warn(
                f"{part} is damaged ({error}) and is made again.", CompositionWarning, stacklevel=2
            )
            return None
        return about


def _no_counts() -> dict[str, Any]:
    return dict.fromkeys(COUNTS.values(), 0) | {name: Counter() for name in ELEMENT_COUNTS}


def _add(counts: dict[str, Any], about: dict[str, Any]) -> None:
    for name, total in COUNTS.items():
        counts[total] += about[name]
    for name in ELEMENT_COUNTS:
        counts[name].update(about[name])


def _same(before: Any, now: dict[str, list]) -> bool:
    """Whether predictions agree, but for the rounding of another machine."""
    if not isinstance(before, dict) or before.keys() != now.keys():
        return False
    for name, values in now.items():
        if isinstance(values[0], float):
            if not np.allclose(before[name], values, rtol=1e-5, atol=1e-12, equal_nan=True):
                return False
        elif before[name] != values:
            return False
    return True


def _merge(parts: list[Path], plan: Plan, path: Path, scratch: Path) -> int:
    """Write the parts as one file; return its rows."""
    with open_writer(path, plan.format, plan.schema) as writer:
        if plan.top_k is not None:
            best = plan.schema.append(pa.field(KEY, KEY_TYPE)).empty_table()
            for part in parts:
                best = best_rows(pa.concat_tables([best, pq.read_table(part)]), plan)
            writer.write_table(best.drop_columns([KEY]))
            return len(best)
        keep = _first_of_each(parts, scratch) if plan.deduplicate else None
        read = n_written = n_held = 0
        held: list[pa.Table] = []
        for part in parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(plan.batch_rows):
                    table = pa.Table.from_batches([batch])
                    if keep is not None:
                        table = table.filter(pa.array(keep[read : read + len(table)]))
                    read += len(batch)
                    held.append(table.drop_columns([KEY]))
                    n_held += len(table)
                    if n_held >= plan.batch_rows:
                        writer.write_table(pa.concat_tables(held))
                        n_written, n_held, held = n_written + n_held, 0, []
        if n_held:
            writer.write_table(pa.concat_tables(held))
        return n_written + n_held


def _first_of_each(parts: list[Path], scratch: Path) -> np.ndarray:
    """Tell, for each row of all parts, whether its key was not there before; in a file.

    Keys are dealt out to buckets by their first bits; each bucket is sorted in memory.
    """
    kind = np.dtype([("key", "<u8", 2), ("at", "<i8")])
    total = sum(pq.read_metadata(part).num_rows for part in parts)
    if total == 0:
        return np.ones(0, dtype=bool)
    n_buckets = math.ceil(total / _KEYS_AT_ONCE)
    buckets = [scratch / f"keys-{number:05d}" for number in range(n_buckets)]
    for bucket in buckets:
        bucket.unlink(missing_ok=True)
    at = 0
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(_KEYS_AT_ONCE, columns=[KEY]):
                column = batch.column(0)
                rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
                found = np.empty(len(rows), kind)
                joined = b"".join(column.drop_null().to_pylist())
                found["key"] = np.frombuffer(joined, "<u8").reshape(-1, 2)
                found["at"] = at + rows
                at += len(batch)
                where = found["key"][:, 0] % np.uint64(n_buckets)
                for number, bucket in enumerate(buckets):
                    with bucket.open("ab") as out:
                        found[where == number].tofile(out)
    keep = np.memmap(scratch / "keep", dtype=bool, mode="w+", shape=total)
    keep[:] = True
    for bucket in buckets:
        found = np.fromfile(bucket, kind)
        order = np.lexsort((found["at"], found["key"][:, 1], found["key"][:, 0]))
        again = (found["key"][order][1:] == found["key"][order][:-1]).all(axis=1)
        keep[found["at"][order[1:][again]]] = False
        bucket.unlink()
    return keep
