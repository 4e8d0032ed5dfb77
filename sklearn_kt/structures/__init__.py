"""Crystal structures of compositions: generators, and what is computed from crystals.

Every generator has ``generate(compositions, n_candidates)``, which gives a list of
:class:`Candidate` for each composition, best first, and is a scikit-learn
transformer. :class:`PrototypeGenerator` substitutes into known crystals,
:class:`CrystaLLMGenerator` lets a language model write them,
:class:`StructureLookup` gives crystals of your own, :class:`RandomGenerator` draws
them by chance, :class:`EnsembleGenerator` asks several, and :class:`Cached` keeps what any
of them gives.
"""

from __future__ import annotations

from .base import BaseStructureGenerator, FormulaGenerator
from .cache import Cached
from .candidate import Candidate
from .chance import RandomGenerator
from .crystal_graph import CrystalGraphClassifier, CrystalGraphRegressor
from .crystallm import CrystaLLMGenerator
from .embedder import StructureEmbedder
from .ensemble import EnsembleGenerator
from .library import PrototypeLibrary, load_library
from .lookup import StructureLookup
from .prototypes import PrototypeGenerator

__all__ = [
    "BaseStructureGenerator",
    "Cached",
    "Candidate",
    "CrystaLLMGenerator",
    "CrystalGraphClassifier",
    "CrystalGraphRegressor",
    "EnsembleGenerator",
    "FormulaGenerator",
    "PrototypeGenerator",
    "PrototypeLibrary",
    "RandomGenerator",
    "StructureEmbedder",
    "StructureLookup",
    "load_library",
]
