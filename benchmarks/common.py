"""What the benchmarks share: where results are, how they were made, results that are kept."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sklearn_kt._files import file_digest, replacing
from sklearn_kt.compositions import composition_groups
from sklearn_kt.encoder.weights import checkpoint_folder
from sklearn_kt.evaluation import EvaluationResult, Task
from sklearn_kt.evaluation.records import FoldRecord, read_records
from sklearn_kt.evaluation.result import plain, summarize
from sklearn_kt.evaluation.runner import library_versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SCORES, TASKS = "scores.csv", "tasks.parquet"

_ABOUT = b"about"
_SCHEMA = pa.schema(
    {
        "task": pa.string(),
        "fold": pa.int64(),
        "kind": pa.string(),
        "target": pa.string(),
        "unit": pa.string(),
        "digest": pa.string(),
        "n_samples": pa.int64(),
        # of the test part, row by row: targets (of classes their numbers), compositions by
        # number, whether pretraining has not seen them, and what else groups them
        "y": pa.list_(pa.float64()),
        "composition": pa.list_(pa.int64()),
        "unseen": pa.list_(pa.bool_()),
        "labels": pa.map_(pa.string(), pa.list_(pa.string())),
    }
)


def how_made() -> dict[str, Any]:
    """Command, day and versions of this run; folders outside are nobody's business."""
    module = sys.modules["__main__"].__spec__
    name = module.name if module is not None else Path(sys.argv[0]).stem
    given = ["FOLDER" if Path(text).is_absolute() else text for text in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "-m", name, *given]),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": library_versions(),
    }


def weights_of(checkpoint: str | None = "default") -> dict[str, str]:
    """SHA-256 of the weights in a checkpoint, by its name; empty without one."""
    if checkpoint is None:
        return {}
    return {checkpoint: file_digest(checkpoint_folder(checkpoint) / "model.safetensors")}


def weights_named(estimator: str) -> dict[str, str]:
    """SHA-256 of weights, by checkpoint, that the text of an estimator names."""
    return dict(re.findall(r"# (\S+): sha256 ([0-9a-f]{64})", estimator))


def name_weights(estimator: str, weights: Mapping[str, str]) -> str:
    """Add to the text of an estimator what :func:`weights_named` finds."""
    return " # ".join([estimator, *(f"{name}: sha256 {sha}" for name, sha in weights.items())])


def write_json(name: str, content: Mapping[str, Any], results: Path = RESULTS) -> Path:
    """Write a small result, in one piece."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{name}.json"
    text = json.dumps(plain(dict(content)), indent=1, ensure_ascii=False)
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")
    return path


def read_json(name: str, results: Path = RESULTS) -> dict[str, Any] | None:
    """Read a small result; None where there is none."""
    path = results / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@dataclass(frozen=True, eq=False)
class TestPart:
    """The test part of one fold of a table, without the table."""

    # pytest would take it for tests
    __test__ = False

    task: str
    fold: int
    kind: str
    target: str
    unit: str
    digest: str
    n_samples: int
    y: np.ndarray
    composition: np.ndarray
    unseen: np.ndarray
    labels: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Kept:
    """Results of a benchmark as they are in the repository: scores, predictions, test parts.

    It can be asked what statistics ask of an
    :class:`~sklearn_kt.evaluation.EvaluationResult`, and needs no tables.

    Parameters
    ----------
    folder : Path
        With ``scores.csv``, ``tasks.parquet`` and ``folds/<model>.parquet``.
    scores : DataFrame
        As of ``to_frame`` of a result, with a column ``rows``: "all" or "unseen".
    parts : dict of (str, int) to TestPart
        By task and fold.
    about : dict
        Command, date, audit and what else the benchmark says.
    """

    folder: Path
    scores: pd.DataFrame
    parts: dict[tuple[str, int], TestPart]
    about: dict[str, Any]
    _records: dict[str, list[FoldRecord]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Kept | None:
        """Read what :func:`keep` has written; None where there is nothing."""
        if not (folder / TASKS).exists():
            return None
        table = pq.read_table(folder / TASKS)
        parts = {}
        for row in table.to_pylist():
            labels = {name: np.array(values) for name, values in row["labels"]}
            arrays = {
                "y": np.array(row["y"], np.float64),
                "composition": np.array(row["composition"], np.int64),
                "unseen": np.array(row["unseen"], bool),
            }
            part = TestPart(**{**row, **arrays, "labels": labels})
            parts[part.task, part.fold] = part
        scores = pd.read_csv(folder / SCORES, float_precision="round_trip")
        return cls(folder, scores, parts, json.loads(table.schema.metadata[_ABOUT]))

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return list(dict.fromkeys(self.scores["model"]))

    @property
    def tasks(self) -> dict[str, TestPart]:
        """One test part of each task, by name: its kind, target and unit."""
        shown = set(self.scores["task"])
        return {part.task: part for part in self.parts.values() if part.task in shown}

    def complete(self, tasks: Collection[str] | None = None) -> list[str]:
        """Models with all folds of all these tasks."""
        wanted = {key for key in self.parts if tasks is None or key[0] in tasks}
        frame = self.scores[self.scores["rows"] == "all"]
        done = {
            model: set(zip(part["task"], part["fold"], strict=True))
            for model, part in frame.groupby("model", sort=False)
        }
        return [model for model, folds in done.items() if folds >= wanted]

    def only(
        self, tasks: Collection[str] | None = None, models: Collection[str] | None = None
    ) -> Kept:
        """Leave out other tasks and models."""
        chosen = pd.Series(True, index=self.scores.index)
        for name, values in (("task", tasks), ("model", models)):
            if values is not None:
                chosen &= self.scores[name].isin(list(values))
        return replace(self, scores=self.scores[chosen])

    def finished(self) -> Kept:
        """Leave out tasks of which a model has not all folds, model by model."""
        folds = pd.Series([task for task, _ in self.parts]).value_counts()
        counts = self.scores.groupby(["rows", "model", "task"])["fold"].transform("size")
        return replace(self, scores=self.scores[counts == self.scores["task"].map(folds)])

    def to_frame(self, rows: str = "all") -> pd.DataFrame:
        """Scores of all test rows, or of those that pretraining has not seen."""
        return self.scores[self.scores["rows"] == rows].drop(columns="rows")

    def summary(self, rows: str = "all") -> pd.DataFrame:
        """Means over the folds."""
        return summarize(self.to_frame(rows))

    def records(self, task: str, model: str) -> list[FoldRecord]:
        """Predictions of a model on a task, fold by fold."""
        if model not in self._records:
            tasks: Any = [_AsTask(name, self.parts) for name in {name for name, _ in self.parts}]
            self._records[model] = read_records(self.folder, tasks, [model])
        return [record for record in self._records[model] if record.task == task]

    def absolute_errors(self, task: str, model: str) -> tuple[np.ndarray, np.ndarray]:
        """Absolute errors of the test rows (of classes: of the probability), and compositions."""
        errors, groups = [], []
        for record in self.records(task, model):
            part = self.parts[task, record.fold]
            values = record.predictions
            if record.probabilities is not None:
                values = record.probabilities[:, 1]
            errors.append(np.abs(part.y - values))
            groups.append(part.composition)
        return np.concatenate(errors), np.concatenate(groups)


class _AsTask:
    """Test parts where :func:`read_records` wants a table; classes are known by their numbers."""

    def __init__(self, name: str, parts: Mapping[tuple[str, int], TestPart]) -> None:
        self.name = name
        self._parts = {fold: part for (task, fold), part in parts.items() if task == name}
        self.folds = {fold: (None, part.y) for fold, part in self._parts.items()}
        kind = next(iter(self._parts.values())).kind
        self.classes = None if kind == "regression" else np.array([0.0, 1.0])

    def digest(self, fold: int) -> str:
        return self._parts[fold].digest


def keep(
    result: EvaluationResult,
    folder: Path,
    about: Mapping[str, Any],
    labels: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> None:
    """Write scores and test parts beside the predictions that :func:`evaluate` left in a folder.

    Parameters
    ----------
    result : EvaluationResult
        With all records of the folder.
    folder : Path
        ``output_dir`` of the runs.
    about : mapping
        What is said of the benchmark.
    labels : mapping of str to mapping of str to ndarray, or None
        By task what groups its rows: name and a label for each row.
    """
    parts = [
        _part(task, fold, result.unseen.get(task.name), (labels or {}).get(task.name, {}))
        for task in result.tasks.values()
        for fold in task.folds
    ]
    content = json.dumps(plain({**about, "audit": result.audit}), ensure_ascii=False)
    schema = _SCHEMA.with_metadata({_ABOUT: content.encode("utf-8")})
    with replacing(folder / TASKS) as path:
        pq.write_table(pa.Table.from_pylist(parts, schema), path, compression="zstd")
    kinds: Iterable[str] = ("all", "unseen") if result.unseen else ("all",)
    scores = pd.concat([result.to_frame(rows).assign(rows=rows) for rows in kinds])
    with replacing(folder / SCORES) as path:
        scores.to_csv(path, index=False)


def _part(
    task: Task, fold: int, unseen: np.ndarray | None, labels: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    test = task.folds[fold][1]
    y = task.y if task.classes is None else np.searchsorted(task.classes, task.y)
    return {
        "task": task.name,
        "fold": fold,
        "kind": task.kind,
        "target": task.target,
        "unit": task.unit,
        "digest": task.digest(fold),
        "n_samples": len(task.y),
        "y": y[test].astype(float),
        "composition": composition_groups(task.formulas[test]),
        "unseen": np.zeros(len(test), bool) if unseen is None else unseen[test],
        "labels": [(name, values[test].tolist()) for name, values in labels.items()],
    }
