"""Small tables under the names of MatBench's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sklearn_kt import datasets
from sklearn_kt.benchmarking import matbench, official, published
from sklearn_kt.datasets import MatbenchTask

# binaries and ternaries, all different
SYMBOLS = ["Li", "Na", "K", "Rb", "Mg", "Ca", "Al", "Ga", "Fe", "Ni", "Cu", "Zn", "Si", "Ge"]
MADE = [f"{a}{n}{b}{m}O{k}" for a in SYMBOLS for b in ("S", "Se", "Te") for n in (1, 2, 3)
        for m in (1, 5) for k in range(1, 24)]  # fmt: skip


def formulas(n: int) -> list[str]:
    assert len(set(MADE)) == len(MADE)
    return MADE[:n]


def _spec(y: np.ndarray, kind: Any, target: str) -> MatbenchTask:
    weights = np.arange(1, len(y) + 1)
    return MatbenchTask(
        len(y), target, "", kind, "Made for tests.", y.mean(), np.average(y, weights=weights), False
    )


def small_matbench(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Two tables of forty rows under the names of real tasks, in a folder."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"composition": formulas(40), "gap expt": rng.normal(size=40) ** 2})
    table["is_metal"] = table["gap expt"] < 0.4
    specs = {
        "matbench_expt_gap": _spec(table["gap expt"].to_numpy(), "regression", "gap expt"),
        "matbench_expt_is_metal": _spec(
            table["is_metal"].to_numpy(float), "classification", "is_metal"
        ),
    }
    for module in (datasets, matbench, official, published):
        monkeypatch.setattr(module, "MATBENCH_TASKS", specs)
    monkeypatch.setattr(matbench, "COMPOSITION_TASKS", tuple(specs))
    folder.mkdir()
    for name, spec in specs.items():
        table[["composition", spec.target]].to_csv(folder / f"{name}.csv", index=False)
    return folder
