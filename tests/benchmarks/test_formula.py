"""The language model of formulas that stands beside ours in the ablation."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.formula import FormulaPretrainer, formula_tokenizer
from sklearn_kt import CompositionTokenizer, ImplicitKTRegressor, read_compositions
from sklearn_kt.pretraining import CorpusTable, Property, build_corpus
from sklearn_kt.tokenizer import composition_text

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def test_names_of_elements_get_the_ids_of_their_symbols() -> None:
    formulas = ["LiFePO4", "Fe0.62Ni0.38", "CO", "Co", "Og"]
    batch = read_compositions(formulas)
    ids = CompositionTokenizer("formula", max_length=32).fit_transform(formulas)
    encoded = formula_tokenizer()(composition_text(batch))["input_ids"]
    assert [row[row != 0].tolist() for row in ids] == encoded


def test_what_is_pretrained_is_a_backbone(tmp_path: Path) -> None:
    formulas = ["NaCl", "KCl", "MgO", "CaO", "Si", "GaAs", "Fe0.3Co0.7", "Ti2O3"]
    table = CorpusTable(formulas, {"gap": np.linspace(0, 7, len(formulas))})
    corpus = build_corpus(tmp_path / "corpus", [table], [Property("gap", "eV")])
    corpus.add_teacher("crystal", np.arange(4), np.eye(4))
    pretrainer = FormulaPretrainer(
        SIZES,
        max_steps=40,
        batch_size=8,
        learning_rate=1e-2,
        checkpoint_every=20,
        stability_temperature=None,
        unknown_stability=1.0,
        masked_fraction=0.3,
        teachers={"crystal": 1.0},
        validation_fraction=0.0,
    ).fit(corpus)
    first, last = pretrainer.history_
    assert {"masked", "property", "crystal"} <= last.keys()
    assert last["property"] < first["property"]
    folder = pretrainer.save(tmp_path / "model", card="Toy.")
    model = ImplicitKTRegressor(
        None, backbone=folder, readout="head", n_estimators=1, max_epochs=1, random_state=0
    ).fit(formulas, np.arange(8.0))
    assert np.isfinite(model.predict(["NaBr"])).all()
    # a token hidden in one place is not hidden everywhere
    assert pretrainer.model_.inputs(read_compositions(["NaCl", "Ti2O3"]))[0].shape == (2, 6)


@pytest.mark.parametrize("amount", [0.5, 0.123])
def test_decimals_are_tokens(amount: float) -> None:
    text = composition_text(read_compositions([{"Fe": amount, "Co": 1.0}]))
    tokens = formula_tokenizer().convert_ids_to_tokens(formula_tokenizer()(text)["input_ids"][0])
    assert tokens[2:-2] == list(str(amount))
