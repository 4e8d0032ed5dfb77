"""Materials properties from chemical formulas, as scikit-learn estimators.

Public names load on first use, so that ``import sklearn_kt`` stays light:
torch, transformers and matminer are imported by the estimators that need them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .compositions import read_compositions
    from .estimators.blending import BlendedKTClassifier, BlendedKTRegressor
    from .estimators.embedder import CompositionEmbedder
    from .estimators.explicit import ExplicitKTClassifier, ExplicitKTRegressor
    from .estimators.implicit import ImplicitKTClassifier, ImplicitKTRegressor
    from .explanation import explain
    from .persistence import load_model, save_model
    from .tokenizer import CompositionTokenizer

_PUBLIC = {
    "BlendedKTClassifier": "estimators.blending",
    "BlendedKTRegressor": "estimators.blending",
    "CompositionEmbedder": "estimators.embedder",
    "CompositionTokenizer": "tokenizer",
    "ExplicitKTClassifier": "estimators.explicit",
    "ExplicitKTRegressor": "estimators.explicit",
    "ImplicitKTClassifier": "estimators.implicit",
    "ImplicitKTRegressor": "estimators.implicit",
    "explain": "explanation",
    "load_model": "persistence",
    "read_compositions": "compositions",
    "save_model": "persistence",
}

__all__ = [
    "BlendedKTClassifier",
    "BlendedKTRegressor",
    "CompositionEmbedder",
    "CompositionTokenizer",
    "ExplicitKTClassifier",
    "ExplicitKTRegressor",
    "ImplicitKTClassifier",
    "ImplicitKTRegressor",
    "__version__",
    "explain",
    "load_model",
    "read_compositions",
    "save_model",
]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
