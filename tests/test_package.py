"""What holds for the package as a whole: import rules, public names, documentation."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import get_overloads

import pytest
from numpydoc.validate import validate

import sklearn_kt
from sklearn_kt import _settings
from sklearn_kt.fitting import fit_context

PACKAGE = Path(sklearn_kt.__file__).parent

# A module imports only from those on lines above its own; those on one line are strangers.
LAYERS = [
    {"exceptions"},
    {"_cells", "_files", "_formula", "_model_guards", "fitting"},
    {"_headers", "_property_names", "_scaling"},
    {"_settings", "_targets", "compositions", "datasets", "hub", "randomness", "tables"},
    {"traces"},
    {"_numbers", "conditions", "descriptors", "tokenizer"},
    {"encoder"},
    {"persistence"},
    {"structures"},
    {"estimators", "pretraining"},
    {"export"},
    {"explanation"},
    {"plotting"},
    {"evaluation"},
    {"benchmarking", "properties"},
    {"screening"},
    {"cli"},
]
# narrower than the layers
ONLY = {"datasets": {"_files", "exceptions"}, "__main__": {"cli"}}
# values draw themselves, by the display that can also compute them: neither can be below the other
LATE = {"explanation": {"plotting"}}
# whose own names, and the types of whose own list, are found by text
BY_TEXT = {"__init__", "persistence"}

# what `import sklearn_kt` must not load: seconds, and hundreds of megabytes
HEAVY = {
    "chgnet",
    "matminer",
    "matplotlib",
    "pandas",
    "polars",
    "pymatgen",
    "scipy",
    "shapiq",
    "sklearn",
    "skorch",
    "torch",
    "transformers",
}

# numpydoc's codes: no docstring; no summary; parameters missing, unknown or in another order;
# no type; no description; no Returns section; no Examples section
REQUIRED = {"GL08", "SS01", "PR01", "PR02", "PR03", "PR04", "PR07", "RT01", "EX01"}


def _module_of(path: Path) -> str:
    """Name of the layer that a file belongs to: its first part below the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(path: Path) -> Iterator[str]:
    """First parts of what a file imports from this package, wherever in the file."""
    package = ("sklearn_kt", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import a` names modules, `from .a import b` what is in one
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            # a name that is put together may be any, which no layer allows
            name = node.args[0]
            names = [name.value if isinstance(name, ast.Constant) else "sklearn_kt.*"]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "sklearn_kt":
                yield parts[1] if len(parts) > 1 else "__init__"


def _allowed(module: str) -> set[str]:
    if module in ONLY:
        return ONLY[module]
    allowed: set[str] = set()
    for layer in LAYERS:
        if module in layer:
            return allowed | {module} | LATE.get(module, set())
        allowed |= layer
    if module == "__init__":
        return allowed - LAYERS[-1]
    pytest.fail(f"{module} has no place in LAYERS: decide what it may import")


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "_version.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    module = _module_of(path)
    wrong = set(_imports(path)) - _allowed(module) - {"_version"}
    if module in BY_TEXT:
        wrong -= {"*"}
    assert not wrong, f"{module} must not import {sorted(wrong)}"


def test_import_is_light() -> None:
    code = "import json, sys, sklearn_kt; print(json.dumps([*sys.modules]))"
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(out.stdout)}
    assert "sklearn_kt" in loaded
    assert not loaded & HEAVY


def _modules() -> Iterator[ModuleType]:
    for path in FILES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] != "__main__":
            yield importlib.import_module(
                ".".join(["sklearn_kt", *(p for p in parts if p != "__init__")])
            )


def test_all_names_resolve() -> None:
    for module in _modules():
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{module.__name__}.__all__ names {name}"
    assert set(dir(sklearn_kt)) >= set(sklearn_kt.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        sklearn_kt.no_such_name  # noqa: B018


def test_modules_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not [f"{path.name}: {n}" for path, n in lengths.items() if n > 800]


def test_few_names_at_the_top() -> None:
    assert len(set(sklearn_kt.__all__) - {"__version__"}) <= 12


@pytest.mark.parametrize("name", [name for name in sklearn_kt.__all__ if name[-2:] in ("or", "er")])
def test_type_checkers_learn_what_methods_return(name: str) -> None:
    estimator = getattr(sklearn_kt, name)
    assert estimator.fit.__annotations__["return"] == "Self"
    if hasattr(estimator, "predict"):
        returned = [f.__annotations__["return"] for f in get_overloads(estimator.predict)]
        assert returned[0] == "np.ndarray"
        assert all(text.startswith("tuple[np.ndarray, ") for text in returned[1:])
        assert len(returned) > 1
    else:
        assert estimator.transform.__annotations__["return"] == "np.ndarray"


def test_decorators_keep_types() -> None:
    # an unknown type here would be that of every method below it
    assert fit_context.__annotations__["return"] == "Callable[[_Fit], _Fit]"
    assert "own_settings" in _settings.__annotations__


def test_version_is_that_of_the_metadata() -> None:
    assert importlib.metadata.version("sklearn_kt") == sklearn_kt.__version__


def test_no_absolute_paths() -> None:
    pattern = re.compile(
        r"(?<![\w.:/-])/(?:home|mnt|opt|root|srv|tmp|usr|var|work|Users)/|[A-Z]:\\\\"
    )
    for path in PACKAGE.rglob("*"):
        if path.suffix in {".py", ".html", ".json", ".md", ".toml", ".txt"}:
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.name} names {found.group()}..."


def _problems(name: str, codes: set[str]) -> list[str]:
    return [f"{name}: {code} {text}" for code, text in validate(name)["errors"] if code in codes]


@pytest.mark.parametrize(
    "module",
    [
        "sklearn_kt",
        "sklearn_kt.benchmarking",
        "sklearn_kt.datasets",
        "sklearn_kt.evaluation",
        "sklearn_kt.explanation",
    ],
)
def test_public_docstrings_are_complete(module: str) -> None:
    namespace = importlib.import_module(module)
    public = [obj for name in namespace.__all__ if callable(obj := getattr(namespace, name))]
    problems = []
    for obj in public:
        name = f"{obj.__module__}.{obj.__qualname__}"
        # a record is seen in the example of the function that returns it
        problems += _problems(name, REQUIRED - ({"EX01"} if is_dataclass(obj) else set()))
        if inspect.isclass(obj):
            for key, member in vars(obj).items():
                if inspect.isfunction(member) and not key.startswith("_"):
                    # the class has the example for its methods, which are scikit-learn's
                    problems += _problems(f"{name}.{key}", REQUIRED - {"EX01"})
    assert public
    assert not problems, "\n".join(problems)
