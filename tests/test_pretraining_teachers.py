"""Teachers: crystals in, embedding tables out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_kt.exceptions import CheckpointError, CompositionWarning, DatasetError, InputError
from sklearn_kt.pretraining import (
    CHGNetTeacher,
    Corpus,
    CorpusTable,
    TextTeacher,
    add_embeddings,
    build_corpus,
    describe_structure,
    embed_corpus,
)
from sklearn_kt.pretraining.teachers import read_embeddings
from sklearn_kt.structures.chgnet import chgnet_outputs


def crystal(first: str, second: str, a: float) -> dict:
    return {
        "lattice": [a, a, a, 60, 60, 60],
        "species": [[first, 1], [second, 1]],
        "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
    }


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    crystals = [crystal("Na", "Cl", 4.02), crystal("Mg", "O", 2.98), crystal("Ga", "As", 4.0)]
    table = CorpusTable(["Si", "NaCl", "MgO", "GaAs"], structures=[None, *crystals])
    return build_corpus(tmp_path / "corpus", [table], [])


class Volume:
    """A teacher that knows cells only, and nothing about gallium."""

    name = "volume"

    def embed(self, structures: list) -> np.ndarray:
        out = np.array([[s.volume, len(s), 1.0] for s in structures])
        out[[row for row, s in enumerate(structures) if "Ga" in s.composition]] = np.nan
        return out


def test_rows_without_a_crystal_or_embedding(corpus: Corpus) -> None:
    with pytest.warns(CompositionWarning, match="could not take 1 of 3 crystals"):
        rows = embed_corpus(corpus, Volume(), n_components=None)
    assert_array_equal(rows, [1, 2])
    index, embeddings = corpus.teacher("volume")
    assert_array_equal(index, [-1, 0, 1, -1])
    assert embeddings.shape == (2, 3)
    assert embeddings[0, 0] > embeddings[1, 0]
    assert corpus.teachers == ["volume"]


def test_components_have_unit_mean_square(corpus: Corpus) -> None:
    with pytest.warns(CompositionWarning):
        embed_corpus(corpus, Volume(), n_components=64)
    _, embeddings = corpus.teacher("volume")
    assert embeddings.shape == (2, 2)
    assert np.mean(embeddings**2) == pytest.approx(1, abs=1e-5)


def test_selections(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="no crystal for the teacher"):
        embed_corpus(corpus, Volume(), max_atoms=1)

    class Constant(Volume):
        def embed(self, structures: list) -> np.ndarray:
            return np.ones((len(structures), 2))

    assert len(embed_corpus(corpus, Constant(), n_components=None, max_structures=2)) == 2

    class Nothing(Volume):
        def embed(self, structures: list) -> np.ndarray:
            return np.full((len(structures), 2), np.nan)

    with (
        pytest.warns(CompositionWarning),
        pytest.raises(InputError, match="could not take any crystal"),
    ):
        embed_corpus(corpus, Nothing())


def test_unknown_teacher_and_bad_vectors(corpus: Corpus) -> None:
    with pytest.raises(DatasetError, match="no embeddings of a teacher 'multimat'"):
        corpus.teacher("multimat")
    with pytest.raises(InputError, match="vector 1 is not finite"):
        corpus.add_teacher("x", np.array([0, 1]), np.array([[1.0], [np.inf]]))
    with pytest.raises(InputError, match="two vectors"):
        corpus.add_teacher("x", np.array([1, 1]), np.ones((2, 1)))
    with pytest.raises(InputError, match="one vector per row"):
        corpus.add_teacher("x", np.array([1]), np.ones((2, 1)))


@pytest.mark.parametrize("layout", ["npz", "columns", "lists"])
def test_external_tables(corpus: Corpus, tmp_path: Path, layout: str) -> None:
    formulas = ["Cl2Na2", "NaCl", "MgO", "XeF2"]
    vectors = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
    if layout == "npz":
        path = tmp_path / "table.npz"
        np.savez(path, formula=formulas, embeddings=vectors)
    elif layout == "columns":
        path = tmp_path / "table.parquet"
        pd.DataFrame({"formula": formulas, "a": vectors[:, 0], "b": vectors[:, 1]}).to_parquet(path)
    else:
        path = tmp_path / "table.parquet"
        pd.DataFrame({"formula": formulas, "v": list(vectors)}).to_parquet(path)
    read, embeddings = read_embeddings(path)
    assert read == formulas
    assert_allclose(embeddings, vectors)
    with pytest.warns(CompositionWarning, match="1 of 4 formulas are not in the corpus"):
        rows = add_embeddings(corpus, "multimat", read, embeddings)
    assert_array_equal(rows, [1, 2])
    index, stored = corpus.teacher("multimat")
    assert_allclose(stored[index[1]], [2, 3])
    with pytest.raises(InputError, match="none of its 1 formulas"):
        add_embeddings(corpus, "multimat", ["XeF2"], vectors[:1])
    with pytest.raises(InputError, match="2 formulas, 1 vectors"):
        add_embeddings(corpus, "multimat", ["Si", "MgO"], vectors[:1])


def test_tables_of_another_layout(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", formula=["Si"])
    with pytest.raises(InputError, match="no array 'embeddings'"):
        read_embeddings(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"from \.parquet or \.npz"):
        read_embeddings(tmp_path / "a.csv")
    pd.DataFrame({"name": ["Si"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no column 'formula'"):
        read_embeddings(tmp_path / "a.parquet")
    pd.DataFrame({"formula": ["Si"], "a": [1.0], "b": ["x"]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="must be numbers"):
        read_embeddings(tmp_path / "b.parquet")


def test_chgnet(corpus: Corpus) -> None:
    pytest.importorskip("chgnet", reason="the extra 'structures' is not installed")
    rows = embed_corpus(corpus, CHGNetTeacher(), n_components=None)
    assert_array_equal(np.sort(rows), [1, 2, 3])
    _, embeddings = corpus.teacher("chgnet")
    assert embeddings.shape == (3, 194)
    assert len(np.unique(embeddings[:, 0])) == 3


def test_chgnet_leaves_out_isolated_atoms() -> None:
    pytest.importorskip("chgnet", reason="the extra 'structures' is not installed")
    from pymatgen.core import Lattice, Structure

    alone = Structure(Lattice.cubic(30), ["He"], [[0, 0, 0]])
    salt = Structure(Lattice.cubic(3.0), ["Fe"], [[0, 0, 0]])
    embeddings = CHGNetTeacher().embed([alone, salt])
    assert_array_equal(np.isnan(embeddings).all(axis=1), [True, False])


def test_chgnet_is_that_of_the_structures(capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("chgnet", reason="the extra 'structures' is not installed")
    from pymatgen.core import Lattice, Structure

    crystals = [
        Structure(Lattice.cubic(4.12), species, [[0, 0, 0], [0.5, 0.5, 0.5]])
        for species in (["Cs", "Cl"], ["Po", "O"], ["Og", "O"], [{"Fe": 0.5, "Ni": 0.5}, "O"])
    ]
    embeddings = CHGNetTeacher().embed(crystals)
    assert_array_equal(embeddings, chgnet_outputs(crystals)[0])
    assert_array_equal(np.isnan(embeddings).all(axis=1), [False, True, True, True])
    assert_allclose(
        embeddings[0, [0, 1, 64, 65, 128, 129, 192, 193]],
        [0.016205, 0.050588, 4.273609, 0.576994, 1.372529, 0.611880, 0.010598, 0.012633],
        atol=1e-5,
    )
    assert not capsys.readouterr().out


def test_text_teacher(corpus: Corpus, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "na", "##cl", "mg", "##o", "has", "at"]
    model = tmp_path / "model"
    model.mkdir()
    BertTokenizer({word: number for number, word in enumerate(words)}).save_pretrained(model)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(model)
    rows = embed_corpus(corpus, TextTeacher(model), n_components=None)
    assert len(rows) == 3
    assert corpus.teacher("text")[1].shape == (3, 16)
    with pytest.raises(CheckpointError, match="pass a local folder"):
        TextTeacher(tmp_path / "nothing")


def test_description_states_facts(corpus: Corpus) -> None:
    text = describe_structure(corpus.structure(0))
    assert text.startswith("NaCl crystallises in the cubic space group Fm-3m (225) with 2 atoms")
    assert "Na has 6 neighbours Cl at 2.84 angstrom." in text
