"""Scripts import, also where they only do so when they run, names that are there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("benchmarks", "making", "sklearn_kt")
SCRIPTS = sorted(p for part in (*OURS[:2], "examples") for p in (ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_imported_names_exist(path: Path) -> None:
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module.partition(".")[0] in OURS:
                for alias in node.names:
                    if not hasattr(importlib.import_module(module), alias.name):
                        importlib.import_module(f"{module}.{alias.name}")
