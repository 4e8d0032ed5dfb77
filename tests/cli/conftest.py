"""A folder to run in, a table and a model."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from _commands import FORMULAS, GAPS, Run
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer
from sklearn_kt.cli import main
from sklearn_kt.persistence import save_model


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def run(*arguments: Any, stdin: str | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def _few_trees(few_trees: None) -> None:
    """Keep forests small in all tests of commands."""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "gaps.csv"
    pd.DataFrame({"id": range(12), "formula": FORMULAS, "gap": GAPS}).to_csv(path, index=False)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "gap.model"
    bayes = make_pipeline(CompositionTokenizer("fraction"), BayesianRidge())
    save_model(bayes.fit(FORMULAS, GAPS), path)
    return path
