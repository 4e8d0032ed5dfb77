"""Cross-modal pretraining: corpora, teachers and the pretrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .corpus import PROPERTIES, Corpus, CorpusTable, Property, build_corpus
from .recipes import run_recipe
from .sources import SOURCES, Source, dft_tables
from .teachers import (
    CHGNetTeacher,
    Teacher,
    TextTeacher,
    add_embeddings,
    describe_structure,
    embed_corpus,
)

if TYPE_CHECKING:
    from .pretrainer import CrossModalPretrainer

__all__ = [
    "PROPERTIES",
    "SOURCES",
    "CHGNetTeacher",
    "Corpus",
    "CorpusTable",
    "CrossModalPretrainer",
    "Property",
    "Source",
    "Teacher",
    "TextTeacher",
    "add_embeddings",
    "build_corpus",
    "describe_structure",
    "dft_tables",
    "embed_corpus",
    "run_recipe",
]


def __getattr__(name: str) -> Any:
    # torch is imported when the pretrainer is asked for, not before
    if name == "CrossModalPretrainer":
        from .pretrainer import CrossModalPretrainer

        return CrossModalPretrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
