"""What the tests of commands share."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

FORMULAS = ["NaN", "NaCl", "KCl", "LiF", "Fe2O3", "SiO2", "MgO", "CO", "Co", "GaAs", "ZnS", "KBr"]
GAPS = [0.5, 8.5, 8.4, 14.2, 2.2, 9.0, 7.8, 5.0, 0.0, 1.4, 3.7, 7.4]

Run = Callable[..., tuple[int, str, str]]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def assert_one_line(text: str, *parts: str) -> None:
    assert text.startswith("sklearn-kt: error: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    for part in parts:
        assert part in text
