"""Teachers: models of other modalities whose embeddings the encoder is aligned to.

A teacher has a ``name`` and ``embed(structures)``, which maps crystals to an array
of shape (n, d) with NaN rows for crystals it cannot take. :func:`embed_corpus`
runs one over a corpus and stores a compressed table; :func:`read_embeddings`
brings in vectors made elsewhere. Weights come from installed packages or local
folders; nothing is downloaded.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sklearn_kt._settings import own_settings
from sklearn_kt.encoder.weights import load_backbone
from sklearn_kt.exceptions import CheckpointError, CompositionWarning, InputError
from sklearn_kt.structures.chgnet import chgnet_outputs, load_chgnet
from sklearn_kt.tokenizer import read_tokenizer

from .corpus import Corpus

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = [
    "CHGNetTeacher",
    "Teacher",
    "TextTeacher",
    "add_embeddings",
    "describe_structure",
    "embed_corpus",
    "read_embeddings",
]

_CHUNK = 256


class Teacher(Protocol):
    """What :func:`embed_corpus` needs.

    Attributes
    ----------
    name : str
        Under which the embeddings are stored.

    Examples
    --------
    >>> class Density:
    ...     name = "density"
    ...     def embed(self, structures):
    ...         return np.array([[structure.density] for structure in structures])
    """

    name: str

    def embed(self, structures: Sequence[Structure]) -> np.ndarray:
        """Embed crystals.

        Parameters
        ----------
        structures : sequence of pymatgen.core.Structure
            Crystals.

        Returns
        -------
        embeddings : ndarray of shape (n, d)
            A NaN row for a crystal that cannot be taken.
        """


class CHGNetTeacher:
    """Structure teacher: pooled features of the CHGNet potential.

    The crystal feature, mean and standard deviation of the atom features, and
    mean and maximum of the predicted magnetic moments: 194 numbers.

    Parameters
    ----------
    batch_size : int, default=16
        Crystals at once.

    References
    ----------
    .. [1] B. Deng et al., "CHGNet as a pretrained universal neural network
       potential for charge-informed atomistic modelling", Nature Machine
       Intelligence 5, 1031 (2023).

    Examples
    --------
    Needs the extra ``structures``:

    >>> teacher = CHGNetTeacher()  # doctest: +SKIP
    >>> rows = embed_corpus(corpus, teacher, max_atoms=14, verbose=1)  # doctest: +SKIP
    """

    name = "chgnet"

    def __init__(self, batch_size: int = 16) -> None:
        self.batch_size = batch_size
        load_chgnet()

    def embed(self, structures: Sequence[Structure]) -> np.ndarray:
        """Embed crystals.

        Parameters
        ----------
        structures : sequence of pymatgen.core.Structure
            Crystals.

        Returns
        -------
        embeddings : ndarray of float32, shape (n, 194)
            NaN where CHGNet cannot take a crystal: partial occupancies, an isolated
            atom, or an element that it does not know.
        """
        features, _ = chgnet_outputs(structures, self.batch_size)
        return features


class TextTeacher:
    """Text teacher: a generated description of the crystal through a sentence encoder.

    Parameters
    ----------
    model : str or Path
        Folder of a Hugging Face encoder, such as MiniLM. Nothing is downloaded.
    batch_size : int, default=64
        Descriptions at once.

    See Also
    --------
    describe_structure : Writes the description.

    Examples
    --------
    Needs a model on disk:

    >>> teacher = TextTeacher("path/of/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> rows = embed_corpus(corpus, teacher, verbose=1)  # doctest: +SKIP
    """

    name = "text"

    def __init__(self, model: str | Path, batch_size: int = 64) -> None:
        from sklearn_kt.encoder.modeling import FrozenEncoder, TextEncoder

        self.batch_size = batch_size
        try:
            self._tokenizer = read_tokenizer(model)
            encoder = FrozenEncoder(*load_backbone(model)).backbone
        except CheckpointError as error:
            raise CheckpointError(
                f"the text teacher's model {str(model)!r} cannot be loaded ({error}); pass a local "
                "folder with the weights and tokenizer of a Hugging Face encoder."
            ) from error
        assert isinstance(encoder, TextEncoder)
        self._model = encoder.model

    def embed(self, structures: Sequence[Structure]) -> np.ndarray:
        """Embed descriptions of crystals.

        Parameters
        ----------
        structures : sequence of pymatgen.core.Structure
            Crystals.

        Returns
        -------
        embeddings : ndarray of float32, shape (n, hidden_size)
            Mean token state of each description.
        """
        import torch

        texts = [describe_structure(structure) for structure in structures]
        parts = []
        for start in range(0, len(texts), self.batch_size):
            tokens = self._tokenizer(
                texts[start : start + self.batch_size],
                padding=True,
                truncation=True,
                # not all models take them
                return_token_type_ids=False,
                return_tensors="pt",
            )
            with torch.no_grad():
                states = self._model(**tokens).last_hidden_state
            weights = tokens["attention_mask"].unsqueeze(-1).float()
            parts.append(((states * weights).sum(1) / weights.sum(1)).numpy())
        return np.concatenate(parts)


def describe_structure(structure: Structure) -> str:
    """Describe a crystal in a few sentences of fact.

    Parameters
    ----------
    structure : pymatgen.core.Structure
        Crystal.

    Returns
    -------
    text : str
        Formula, space group, density, volume per atom, and each element's nearest
        neighbours and their distance.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> for sentence in describe_structure(salt.get_primitive_structure()).split(". "):
    ...     print(sentence)
    NaCl crystallises in the cubic space group Fm-3m (225) with 2 atoms in the cell
    Its density is 2.11 g/cm3 and its volume 23.0 cubic angstrom per atom
    Cl has 6 neighbours Na at 2.85 angstrom
    Na has 6 neighbours Cl at 2.85 angstrom.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        symmetry = SpacegroupAnalyzer(structure, symprec=0.01)
        group = (
            f"the {symmetry.get_crystal_system()} space group "
            f"{symmetry.get_space_group_symbol()} ({symmetry.get_space_group_number()})"
        )
    text = (
        f"{structure.composition.reduced_formula} crystallises in {group} with "
        f"{len(structure)} atoms in the cell. Its density is {structure.density:.2f} g/cm3 and "
        f"its volume {structure.volume / len(structure):.1f} cubic angstrom per atom."
    )
    distances = structure.distance_matrix
    first = {site.specie.symbol: i for i, site in reversed(list(enumerate(structure)))}
    for symbol, index in sorted(first.items()):
        site = structure[index]
        others = distances[index][distances[index] > 0.1]
        reach = 1.15 * (others.min() if len(others) else min(structure.lattice.abc))
        shell = structure.get_neighbors(site, reach)
        if not shell:
            continue
        kinds = " ".join(sorted({neighbour.specie.symbol for neighbour in shell}))
        mean = float(np.mean([neighbour.nn_distance for neighbour in shell]))
        text += f" {symbol} has {len(shell)} neighbours {kinds} at {mean:.2f} angstrom."
    return text


def embed_corpus(
    corpus: Corpus,
    teacher: Teacher,
    *,
    n_components: int | None = 64,
    max_atoms: int | None = None,
    max_structures: int | None = None,
    random_state: int = 0,
    verbose: int = 0,
) -> np.ndarray:
    """Embed a corpus's crystals and store the table under the teacher's name.

    Parameters
    ----------
    corpus : Corpus
        Rows without a crystal are left without a vector.
    teacher : Teacher
        Anything with ``name`` and ``embed``.
    n_components : int or None, default=64
        Standardise the features and keep that many principal components, scaled
        together to unit mean square; None stores the features as they are.
    max_atoms : int or None, default=None
        Leave out crystals with more atoms in the cell.
    max_structures : int or None, default=None
        Embed a random sample of that size.
    random_state : int, default=0
        Seed of the sample.
    verbose : int, default=0
        Show progress on stderr.

    Returns
    -------
    rows : ndarray of int64
        Corpus rows that have a vector now.

    Raises
    ------
    InputError
        If no crystal is left.

    Warns
    -----
    CompositionWarning
        If the teacher could not take some crystals.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_kt.pretraining import CorpusTable, build_corpus
    >>> class Density:
    ...     name = "density"
    ...     def embed(self, structures):
    ...         return np.array([[structure.density] for structure in structures])
    >>> iron = {"lattice": [2.9, 2.9, 2.9, 90, 90, 90], "species": [["Fe", 2]],
    ...         "coords": [[0, 0, 0], [0.5, 0.5, 0.5]]}
    >>> with tempfile.TemporaryDirectory() as home:
    ...     table = CorpusTable(["Si", "Fe"], structures=[None, iron])
    ...     corpus = build_corpus(Path(home) / "corpus", [table], [])
    ...     embed_corpus(corpus, Density(), n_components=None).tolist()
    [1]
    """
    from tqdm import tqdm

    sizes = corpus.structure_sizes()
    chosen = np.arange(len(sizes)) if max_atoms is None else np.flatnonzero(sizes <= max_atoms)
    if max_structures is not None and len(chosen) > max_structures:
        generator = np.random.default_rng(random_state)
        chosen = np.sort(generator.choice(chosen, max_structures, replace=False))
    if not len(chosen):
        raise InputError(
            f"the corpus {corpus.folder} has no crystal for the teacher {teacher.name!r}; build "
            "it from tables with structures, or raise max_atoms."
        )
    # like sizes together, so that a batch has no straggler
    chosen = chosen[np.argsort(sizes[chosen], kind="stable")]
    parts = []
    with tqdm(
        total=len(chosen), desc=teacher.name, disable=not verbose, file=sys.stderr
    ) as progress:
        for start in range(0, len(chosen), _CHUNK):
            part = chosen[start : start + _CHUNK]
            parts.append(teacher.embed([corpus.structure(index) for index in part.tolist()]))
            progress.update(len(part))
    features = np.concatenate(parts).astype(np.float64)
    good = np.isfinite(features).all(axis=1)
    if not good.all():
        warnings.warn(
            f"the teacher {teacher.name!r} could not take {np.count_nonzero(~good)} of "
            f"{len(features)} "
            "crystals; their rows have no vector.",
            CompositionWarning,
            stacklevel=2,
        )
    if not good.any():
        raise InputError(f"the teacher {teacher.name!r} could not take any crystal.")
    features, rows = features[good], np.asarray(corpus.structure_rows)[chosen[good]]
    if n_components is not None:
        features = _compress(features, n_components)
    corpus.add_teacher(teacher.name, rows, features)
    return rows


def read_embeddings(path: str | Path, *, formula: str = "formula") -> tuple[list[str], np.ndarray]:
    """Read formulas and vectors made by another model.

    A Parquet file has a formula column and one numeric column per dimension, or one column of
    lists; an ``.npz`` file the arrays `formula` and ``embeddings``. Several vectors of one formula
    are for the caller to merge.
    """
    import pandas as pd

    path = Path(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            missing = {formula, "embeddings"} - set(arrays)
            if missing:
                raise InputError(f"{path} has no array {sorted(missing)[0]!r}.")
            return arrays[formula].astype(str).tolist(), arrays["embeddings"].astype(np.float32)
    if path.suffix != ".parquet":
        raise InputError(f"{path}: embeddings are read from .parquet or .npz files.")
    frame = pd.read_parquet(path)
    if formula not in frame:
        raise InputError(f"{path} has no column {formula!r}; it has {list(frame.columns)[:8]}.")
    vectors = frame.drop(columns=formula)
    if vectors.shape[1] == 1 and pd.api.types.is_object_dtype(vectors.iloc[:, 0]):
        return frame[formula].tolist(), np.stack(vectors.iloc[:, 0].to_numpy()).astype(np.float32)
    numeric = vectors.select_dtypes("number")
    if numeric.shape[1] != vectors.shape[1] or numeric.empty:
        raise InputError(f"{path}: all columns beside {formula!r} must be numbers, or one a list.")
    return frame[formula].tolist(), numeric.to_numpy(np.float32)


def add_embeddings(corpus: Corpus, name: str, formulas: Any, embeddings: np.ndarray) -> np.ndarray:
    """Store vectors of another model in a corpus, matched by reduced composition.

    Parameters
    ----------
    corpus : Corpus
        Where the vectors go.
    name : str
        The teacher's name.
    formulas : array-like of compositions, shape (n,)
        Compositions the vectors belong to.
    embeddings : ndarray of shape (n, d)
        Several vectors of one composition are averaged.

    Returns
    -------
    rows : ndarray of int64
        Corpus rows that have a vector now.

    Raises
    ------
    InputError
        If none of the compositions is in the corpus.

    Warns
    -----
    CompositionWarning
        If some are not.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_kt.pretraining import CorpusTable, build_corpus
    >>> with tempfile.TemporaryDirectory() as home:
    ...     corpus = build_corpus(Path(home) / "corpus", [CorpusTable(["Si", "NaCl"])], [])
    ...     add_embeddings(corpus, "mine", ["NaCl"], np.array([[0.5, 1.5]])).tolist()
    [1]
    """
    embeddings = np.asarray(embeddings, np.float64)
    found = corpus.rows_of(formulas)
    if len(found) != len(embeddings):
        raise InputError(f"teacher {name!r}: {len(found)} formulas, {len(embeddings)} vectors.")
    known = found >= 0
    if not known.any():
        raise InputError(f"teacher {name!r}: none of its {len(found)} formulas is in the corpus.")
    if not known.all():
        warnings.warn(
            f"teacher {name!r}: {int((~known).sum())} of {len(found)} formulas are not in the "
            "corpus and are left out.",
            CompositionWarning,
            stacklevel=2,
        )
    rows, inverse, counts = np.unique(found[known], return_inverse=True, return_counts=True)
    total = np.zeros((len(rows), embeddings.shape[1]))
    np.add.at(total, inverse, embeddings[known])
    corpus.add_teacher(name, rows, total / counts[:, None])
    return rows


@own_settings()
def _compress(features: np.ndarray, n_components: int) -> np.ndarray:
    """Principal components of the standardised features, to unit mean square overall."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    n_components = min(n_components, *features.shape)
    # failed structures have features far out, which would own the first component
    standard = np.clip(StandardScaler().fit_transform(features), -8, 8)
    reduced = PCA(n_components, svd_solver="full").fit_transform(standard)
    return reduced / np.sqrt(np.mean(reduced**2))
