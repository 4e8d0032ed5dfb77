"""CBFV's mat2vec features and a random forest."""

from __future__ import annotations

from _cbfv import Forest

PACKAGES = ("CBFV", "scikit-learn", "numpy", "pandas")


class Model(Forest):
    """The peer."""

    def __init__(self, kind: str, seed: int) -> None:
        super().__init__("mat2vec", kind, seed)
