"""CompositionTokenizer: schemes, exact round trips, external tokenizers, scikit-learn."""

from __future__ import annotations

import inspect
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from _shims import SpelledTransformer
from hypothesis import example, given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_kt.compositions import ELEMENTS, read_compositions
from sklearn_kt.exceptions import (
    CheckpointError,
    CompositionError,
    CompositionWarning,
    InputError,
)
from sklearn_kt.tokenizer import (
    _ELEMENT_NAMES,
    CLS_ID,
    MASK_ID,
    N_TOKENS,
    PAD_ID,
    SEP_ID,
    UNK_ID,
    VOCABULARY,
    CompositionTokenizer,
    batch_from_tokens,
    composition_text,
    is_token_matrix,
    load_text_tokenizer,
    read_tokenizer,
    token_matrix,
)

FORMULAS = ["Fe2O3", "LiFePO4", "CuSO4·5H2O", "Co", "CO", "Fe0.999943C0.000057"]

_amounts = st.floats(1e-8, 1e9) | st.integers(1, 10**12).map(float)
rows_of_amounts = st.lists(
    st.dictionaries(st.sampled_from(ELEMENTS), _amounts, min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


def _amounts_of(formulas: list[str]) -> list[dict[str, float]]:
    batch = read_compositions(formulas)
    return [
        dict(zip(batch[[i]].atomic_numbers.tolist(), batch[[i]].amounts.tolist(), strict=True))
        for i in range(len(batch))
    ]


def test_vocabulary_is_fixed() -> None:
    # trained weights depend on these ids: they never change
    assert (PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID) == (0, 1, 2, 3, 4)
    assert VOCABULARY[:5] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    for element in Element:
        if element.symbol in ELEMENTS:
            assert VOCABULARY[4 + element.Z] == element.symbol
    assert VOCABULARY[123:] == tuple("0123456789.")
    assert len(set(VOCABULARY)) == N_TOKENS == 134


def test_element_scheme() -> None:
    tokenizer = CompositionTokenizer()
    X = tokenizer.fit_transform(["O3Fe2", "Fe2O3", "Si", "Fe0.999943C0.000057"])
    assert X.dtype == np.float64
    assert X.shape == (4, 48)
    assert X[0, :4].tolist() == [CLS_ID, 12, 30, PAD_ID]
    assert X[0, 24:28].tolist() == [5, 3, 2, 0]
    np.testing.assert_array_equal(X[0], X[1])  # the written order plays no role
    assert X[2, [0, 1, 2, 24, 25, 26]].tolist() == [CLS_ID, 18, PAD_ID, 1, 1, 0]
    assert X[3, [25, 26]].tolist() == [0.000057, 0.999943]
    names = tokenizer.get_feature_names_out()
    assert names.tolist() == [f"{kind}_{i}" for kind in ("token", "amount") for i in range(24)]


def test_formula_scheme() -> None:
    X = CompositionTokenizer("formula").fit_transform(["O3Fe2", "Fe2O3", "SiC", "Li0.25H120"])
    assert X.dtype == np.int64
    assert X.shape == (4, 256)
    text = ["".join(VOCABULARY[i] for i in row if i != PAD_ID) for row in X]
    assert text == ["[CLS]O3Fe2[SEP]", "[CLS]Fe2O3[SEP]", "[CLS]SiC[SEP]", "[CLS]Li0.25H120[SEP]"]
    assert (np.diff((X == PAD_ID).astype(int), axis=1) >= 0).all()
    names = CompositionTokenizer("formula", max_length=3).get_feature_names_out()
    assert names.tolist() == ["token_0", "token_1", "token_2"]


def test_formula_scheme_writes_no_exponents() -> None:
    tokenizer = CompositionTokenizer("formula")
    X = tokenizer.transform([{"Fe": 1e-8, "O": 1e22, "H": 123456789012.5}])
    text = "".join(VOCABULARY[i] for i in X[0] if i > MASK_ID)
    assert text == "Fe0.00000001O10000000000000000000000H123456789012.5"


def test_fraction_scheme() -> None:
    tokenizer = CompositionTokenizer("fraction")
    X = tokenizer.fit_transform(FORMULAS)
    np.testing.assert_array_equal(X, read_compositions(FORMULAS).fractions())
    assert tokenizer.get_feature_names_out().tolist() == list(ELEMENTS)


@pytest.mark.parametrize("scheme", ["element", "formula", "fraction"])
@pytest.mark.parametrize(
    "X",
    [
        tuple(FORMULAS),
        np.array(FORMULAS)[:, None],
        pd.Series(FORMULAS, dtype="category"),
        pd.DataFrame({"formula": FORMULAS}),
        pl.DataFrame({"formula": FORMULAS}),
        [Composition(formula.replace("·5H2O", "(H2O)5")) for formula in FORMULAS],
        read_compositions(FORMULAS),
    ],
    ids=lambda X: type(X).__name__,
)
def test_containers_and_empty(scheme: str, X: object) -> None:
    tokenizer = CompositionTokenizer(scheme)
    expected = tokenizer.transform(FORMULAS)
    np.testing.assert_array_equal(tokenizer.fit_transform(X), expected)
    none = tokenizer.transform(X[:0])  # type: ignore[index]
    assert none.shape == (0, expected.shape[1])
    assert none.dtype == expected.dtype
    assert tokenizer.inverse_transform(none).shape == (0,)
    with pytest.raises(InputError, match=r"0 sample\(s\)"):
        tokenizer.fit(X[:0])  # type: ignore[index]


@pytest.mark.parametrize("scheme", ["element", "formula", "fraction"])
def test_bad_rows(scheme: str) -> None:
    rows = ["Fe2O3", None, "Xx", "Si"]
    with pytest.raises(CompositionError, match="2 of 4 rows"):
        CompositionTokenizer(scheme).transform(rows)
    lenient = CompositionTokenizer(scheme, errors="nan")
    with pytest.warns(CompositionWarning, match="2 of 4 rows") as warned:
        X = lenient.transform(rows)
    assert len(warned) == 1
    assert X.dtype == np.float64
    assert np.isnan(X).all(axis=1).tolist() == [False, True, True, False]
    np.testing.assert_array_equal(X[[0, 3]], lenient.transform(["Fe2O3", "Si"]))
    assert lenient.inverse_transform(X)[[1, 2]].tolist() == ["", ""]
    assert lenient.inverse_transform(X[[1]]).tolist() == [""]
    # fit always raises
    with pytest.raises(CompositionError, match="2 of 4 rows"):
        lenient.fit(rows)


@pytest.mark.parametrize(
    ("scheme", "rows", "row", "needed", "longest"),
    [
        ("element", ["Si", "Fe2O3", "LiFePO4"], 1, 3, 5),
        ("formula", ["Si", "Fe2", "Fe2O3"], 1, 4, 6),
        ("formula", ["Si", "C", {"O": 1e250}], 2, 254, 254),
    ],
)
def test_nothing_is_truncated(scheme: str, rows: list, row: int, needed: int, longest: int) -> None:
    short = CompositionTokenizer(scheme, max_length=3 if scheme == "formula" else 2)
    with pytest.raises(InputError) as caught:
        short.transform(rows)
    text = str(caught.value)
    assert text.startswith(f"Row {row} ('")
    assert f"needs {needed} tokens" in text
    assert f"max_length={longest}," in text
    assert len(text) < 250
    X = short.set_params(max_length=longest).transform(rows)
    assert (X != PAD_ID).sum(axis=1).max() >= longest


def test_token_matrix_takes_the_longest_row() -> None:
    batch = read_compositions(FORMULAS)
    ids, amounts = token_matrix(batch)
    assert ids.shape == amounts.shape == (6, 5)
    wide_ids, wide_amounts = token_matrix(batch, 9)
    np.testing.assert_array_equal(np.hsplit(wide_ids, [5])[0], ids)
    np.testing.assert_array_equal(np.hsplit(wide_amounts, [5])[0], amounts)
    assert not wide_ids[:, 5:].any()
    assert token_matrix(batch[:0])[0].shape == (0, 1)
    with pytest.warns(CompositionWarning):
        invalid = read_compositions(["", "Si"], errors="nan")
    ids, amounts = token_matrix(invalid)
    assert (ids.tolist(), amounts.tolist()) == ([[2, 0], [2, 18]], [[0, 0], [1, 1]])


@given(rows_of_amounts)
def test_is_token_matrix_knows_its_own(rows: list) -> None:
    X = CompositionTokenizer(max_length=8).transform(rows)
    assert is_token_matrix(X)
    assert is_token_matrix(X.astype(np.float32).astype(np.float64))
    batch = batch_from_tokens(X)
    np.testing.assert_array_equal(np.hstack(token_matrix(batch, 8)), X)


def _changed(where: tuple, value: float) -> np.ndarray:
    X = CompositionTokenizer(max_length=4).transform(["Fe2O3", "SiO2"])
    X[where] = value
    return X


@pytest.mark.parametrize(
    "X",
    [
        _changed((0, 0), MASK_ID),
        _changed((0, 1), UNK_ID),
        _changed((0, 1), MASK_ID),
        _changed((0, 1), 12.5),
        _changed((0, 1), 123),
        _changed((0, 1), np.nan),
        _changed((0, 1), 30),  # not strictly increasing
        _changed((0, 1), 31),
        _changed((0, 1), PAD_ID),
        _changed((slice(None), slice(1, 4)), PAD_ID),
        _changed((0, 4), 6.0),
        _changed((0, 4), np.inf),
        _changed((0, 5), -3.0),
        _changed((0, 5), np.nan),
        _changed((0, 7), 1.0),
        _changed((slice(None), slice(5, 8)), 0.0),
        CompositionTokenizer(max_length=4).transform(["Fe2O3"])[:, :7],
        CompositionTokenizer(max_length=4).transform(["Fe2O3"])[:, :0],
        CompositionTokenizer(max_length=4).transform([]),
        CompositionTokenizer("formula").transform(["Fe2O3"]),
        CompositionTokenizer("fraction").transform(["He2"]),
        np.full((3, 2), 2.0),
        np.full((3, 6), 2.0),
        np.zeros((3, 4)),
        np.ones(4),
    ],
)
def test_is_token_matrix_refuses_others(X: np.ndarray) -> None:
    assert is_token_matrix(X) is False
    if X.ndim == 2 and len(X):
        with pytest.raises(InputError, match="scheme='element'"):
            batch_from_tokens(X)


# inverse_transform


@given(rows_of_amounts)
@example([{"S": 4.5, "H": 2.0, "O": 1.0}])
@example([{"H": 1.0, "O": 1e-8}])
@example([{"Ni": 1.0, "Cl": 2.6, "N": 1.0, "H": 3.0}, {"C": 1.0, "I": 1.0, "S": 1.0}])
def test_round_trips_are_exact(rows: list[dict[str, float]]) -> None:
    expected = [{ELEMENTS.index(s) + 1: a for s, a in row.items()} for row in rows]
    for scheme in ("element", "formula"):
        tokenizer = CompositionTokenizer(scheme)
        X = tokenizer.transform(rows)
        formulas = tokenizer.inverse_transform(X)
        assert formulas.dtype == object
        assert _amounts_of(formulas.tolist()) == expected
        np.testing.assert_array_equal(tokenizer.transform(formulas), X)
    tokenizer = CompositionTokenizer("fraction")
    X = tokenizer.transform(rows)
    for row, amounts in zip(X, _amounts_of(tokenizer.inverse_transform(X).tolist()), strict=True):
        present = np.array([amounts.get(z, 0.0) for z in range(1, 119)])
        # as they are, or times a power of 2 that lifts all to the 1e-8 a formula holds
        factor = present.max() / row.max()
        assert np.log2(factor) % 1 == 0
        assert (factor == 1) == (row[row > 0].min() >= 1e-8)
        np.testing.assert_array_equal(present, row * factor)


def test_inverse_keeps_written_order_of_formulas() -> None:
    rows = ["O3Fe2", "LiFePO4"]
    tokenizer = CompositionTokenizer("formula")
    assert tokenizer.inverse_transform(tokenizer.transform(rows)).tolist() == rows
    frame = tokenizer.set_output(transform="pandas").transform(rows)
    assert tokenizer.inverse_transform(frame).tolist() == rows


@pytest.mark.parametrize(
    ("scheme", "X", "message"),
    [
        ("element", np.zeros((1, 4)), r"shape \(n, 6\)"),
        ("element", np.zeros(6), r"shape \(n, 6\)"),
        ("element", np.zeros((1, 6)), "scheme='element'"),
        ("formula", [[CLS_ID, 30, 5]], "Row 0 is not a formula"),
        ("formula", [[CLS_ID, UNK_ID, SEP_ID]], "Row 0 is not a formula"),
        ("formula", [[CLS_ID, MASK_ID, SEP_ID]], "cannot be read back"),
        ("formula", [[CLS_ID, SEP_ID, 30]], "Row 0 is not a formula"),
        ("formula", [[30, SEP_ID, PAD_ID]], "Row 0 is not a formula"),
        ("formula", [[SEP_ID, 30, PAD_ID]], "Row 0 is not a formula"),
        ("formula", [[CLS_ID, 30.5, SEP_ID]], "Row 0 is not a formula"),
        ("formula", [[np.nan] * 3, [CLS_ID, 125, SEP_ID]], "tokens of row 1 are not a formula"),
        ("formula", [[CLS_ID, SEP_ID, PAD_ID]], "tokens of row 0 are not a formula"),
        ("fraction", np.zeros((1, 118)), "Row 0 cannot be written"),
        ("fraction", [[np.nan] * 118, [-1.0] + [1.0] * 117], "Row 1 cannot be written"),
        ("fraction", [[np.inf] + [1.0] * 117], "Row 0 cannot be written"),
        ("fraction", [[np.nan] + [1.0] * 117], "Row 0 cannot be written"),
        ("fraction", [[1.0, 5e-324] + [0.0] * 116], "Row 0 cannot be written"),
    ],
)
def test_inverse_refuses(scheme: str, X: list, message: str) -> None:
    length = None if scheme == "fraction" else 3
    with pytest.raises(InputError, match=message):
        CompositionTokenizer(scheme, max_length=length).inverse_transform(X)


# tokenizers of language models


def test_pretrained_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    formulas = ["Fe2O3", "Co", "CO", "Li0.25H120", "Fe0.999943C0.000057", "NaN"]
    expected = CompositionTokenizer("formula", max_length=20).transform(formulas)
    made = CompositionTokenizer("formula", max_length=20).to_pretrained_tokenizer()
    made.save_pretrained(tmp_path)
    for tokenizer in (made, AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)):
        assert tokenizer.get_vocab() == {token: i for i, token in enumerate(VOCABULARY)}
        assert tokenizer.model_max_length == 20
        encoded = tokenizer(formulas, padding="max_length", return_tensors="np")
        np.testing.assert_array_equal(encoded["input_ids"], expected)
        np.testing.assert_array_equal(encoded["attention_mask"], expected != PAD_ID)
        assert tokenizer.batch_decode(expected, skip_special_tokens=True) == formulas
        ids = tokenizer("Xx2 Fe!O")["input_ids"]
        assert ids == [CLS_ID, UNK_ID, 125, 30, UNK_ID, 12, SEP_ID]
        special = [
            getattr(tokenizer, f"{kind}_token_id") for kind in ("pad", "unk", "cls", "sep", "mask")
        ]
        assert special == [PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID]


def test_composition_text() -> None:
    assert len(set(_ELEMENT_NAMES.split())) == 118
    names = [Element.from_Z(z).long_name.lower() for z in range(1, 119)]
    assert _ELEMENT_NAMES.split() == names
    with pytest.warns(CompositionWarning):
        batch = read_compositions(["LiFePO4", "", "Fe0.999943C0.000057", {"H": 1e16}], errors="nan")
    assert composition_text(batch) == [
        "lithium iron phosphorus oxygen 4",
        "",
        "iron 0.999943 carbon 0.000057",
        "hydrogen 10000000000000000",
    ]


def test_external_tokenizer(minilm_dir: Path) -> None:
    tokenizer = CompositionTokenizer("formula", tokenizer=minilm_dir, max_length=32)
    X = tokenizer.fit_transform(["Co", "CO", "LiFePO4", *(f"{symbol}" for symbol in ELEMENTS)])
    assert X.shape == (121, 32)
    assert X.dtype == np.int64
    # an uncased tokenizer of characters cannot tell cobalt from carbon monoxide
    assert len(np.unique(X[:3], axis=0)) == 3
    assert len(np.unique(X[3:], axis=0)) == 118
    words = load_text_tokenizer(minilm_dir)
    assert words.decode(X[2], skip_special_tokens=True) == "lithium iron phosphorus oxygen 4"
    assert (X[0, 3:] == words.pad_token_id).all()
    with pytest.raises(InputError, match="external tokenizer"):
        tokenizer.inverse_transform(X)
    with pytest.raises(InputError, match=r"Row 1 .* needs 7 tokens.*max_length=7"):
        tokenizer.set_params(max_length=4).transform(["Co", "LiFePO4"])
    with pytest.warns(CompositionWarning):
        tokenizer.set_params(errors="nan").transform(["Co", ""])


def test_external_tokenizer_is_found_or_refused(minilm_dir: Path, tmp_path: Path) -> None:
    missing = CompositionTokenizer("formula", tokenizer=str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match=r"nowhere.*tokenizer\.json.*local_files_only=False"):
        missing.transform(["Fe"])
    with pytest.raises(CheckpointError, match="No tokenizer was read from 'no-such/model'"):
        CompositionTokenizer("formula", tokenizer="no-such/model").transform(["Fe"])
    shutil.copy(minilm_dir / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"there is no tokenizer\.json.*save_pretrained"):
        load_text_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{damaged")
    with pytest.raises(CheckpointError, match="No tokenizer was read"):
        load_text_tokenizer(tmp_path)
    padless = CompositionTokenizer("formula").to_pretrained_tokenizer()
    assert padless.pad_token_id == PAD_ID


def test_external_tokenizer_without_padding(minilm_dir: Path, tmp_path: Path) -> None:
    words = load_text_tokenizer(minilm_dir)
    words.pad_token = None
    words.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no padding token"):
        load_text_tokenizer(tmp_path)


def test_own_vocabulary_is_no_text_tokenizer(tmp_path: Path) -> None:
    own = CompositionTokenizer("formula").to_pretrained_tokenizer()
    own.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not know the names of the elements"):
        load_text_tokenizer(tmp_path)
    own.backend_tokenizer.pre_tokenizer = None
    own.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not know the names"):
        load_text_tokenizer(tmp_path)


# scikit-learn


@pytest.mark.parametrize(
    "parameters",
    [
        {"scheme": "characters"},
        {"max_length": 1},
        {"max_length": 2.5},
        {"scheme": "formula", "tokenizer": 3},
        {"local_files_only": "yes"},
        {"errors": "ignore"},
        {"scheme": "fraction", "max_length": 30},
        {"scheme": "element", "tokenizer": "folder"},
    ],
    ids=repr,
)
def test_parameters(parameters: dict) -> None:
    for method in ("fit", "transform", "inverse_transform"):
        with pytest.raises(ValueError, match=list(parameters)[-1]):
            getattr(CompositionTokenizer(**parameters), method)(["Fe2O3"])


def test_tags_are_honest() -> None:
    tags = get_tags(CompositionTokenizer())
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit
    assert tags.transformer_tags.preserves_dtype == []


X_FREE_CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_param_validation",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("check", X_FREE_CHECKS)
def test_checks_without_data(check: str) -> None:
    getattr(estimator_checks, check)("CompositionTokenizer", CompositionTokenizer())


# honest tags leave the suite one check of the real class; the next test has the others
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SkipTestWarning)
    _REAL_CHECKS = parametrize_with_checks([CompositionTokenizer()])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@_REAL_CHECKS
def test_scikit_learn_checks(estimator: CompositionTokenizer, check) -> None:
    check(estimator)


class SpelledTokenizer(SpelledTransformer, CompositionTokenizer):
    """The real tokenizer under the suite's numbers."""


@parametrize_with_checks(
    [SpelledTokenizer(), SpelledTokenizer("fraction"), SpelledTokenizer("formula")]
)
def test_scikit_learn_checks_on_spelled_numbers(estimator: SpelledTokenizer, check) -> None:
    check(estimator)


FORMULA_FRAME = pd.DataFrame(
    {"formula": [f"Fe{i}O{j}Si" for i in range(1, 6) for j in range(1, 5)]},
    index=range(100, 120),
)
TARGET = np.arange(20.0)


@pytest.mark.parametrize(
    "X", [FORMULA_FRAME, FORMULA_FRAME["formula"], FORMULA_FRAME["formula"].tolist()]
)
def test_in_scikit_learn(X) -> None:
    pipeline = make_pipeline(CompositionTokenizer("fraction"), Ridge())
    assert np.isfinite(cross_val_score(pipeline, X, TARGET, cv=3)).all()
    search = GridSearchCV(
        pipeline, {"compositiontokenizer__scheme": ["element", "fraction"]}, n_jobs=2, cv=2
    )
    assert search.fit(X, TARGET).predict(X).shape == (20,)


@pytest.mark.parametrize("column", ["formula", ["formula"]])
def test_column_transformer(column) -> None:
    frame = FORMULA_FRAME.assign(temperature=300.0)
    mixed = ColumnTransformer(
        [
            ("tokens", CompositionTokenizer("fraction"), column),
            ("rest", "passthrough", ["temperature"]),
        ]
    ).set_output(transform="pandas")
    out = mixed.fit_transform(frame)
    assert out.shape == (20, 119)
    assert out.columns[0] == "tokens__H"
    assert out.index.equals(frame.index)


@pytest.mark.parametrize("X", [FORMULA_FRAME, FORMULA_FRAME["formula"]])
def test_set_output_keeps_the_index(X) -> None:
    for scheme in ("element", "formula", "fraction"):
        tokenizer = CompositionTokenizer(scheme)
        out = tokenizer.set_output(transform="pandas").fit_transform(X)
        assert out.index.equals(X.index)
        assert out.columns.tolist() == tokenizer.get_feature_names_out().tolist()
        polars = tokenizer.set_output(transform="polars").transform(X)
        assert isinstance(polars, pl.DataFrame)
        assert len(polars) == 20


def test_stateless_and_persistent(tmp_path: Path) -> None:
    tokenizer = CompositionTokenizer("formula", max_length=40)
    expected = tokenizer.transform(FORMULAS)
    joblib.dump(tokenizer, tmp_path / "tokenizer.joblib")
    for copy in (
        clone(tokenizer),
        clone(tokenizer).fit(["H2O"]),
        pickle.loads(pickle.dumps(tokenizer)),
        joblib.load(tmp_path / "tokenizer.joblib"),
    ):
        np.testing.assert_array_equal(copy.transform(FORMULAS), expected)


def test_feature_names_are_checked_after_fit_on_a_frame() -> None:
    tokenizer = CompositionTokenizer().fit(FORMULA_FRAME)
    assert tokenizer.n_features_in_ == 1
    assert tokenizer.feature_names_in_.tolist() == ["formula"]
    with pytest.raises(ValueError, match="feature names"):
        tokenizer.transform(FORMULA_FRAME.rename(columns={"formula": "composition"}))
    tokenizer.transform(FORMULAS)
    tokenizer.fit(FORMULAS)
    assert not hasattr(tokenizer, "feature_names_in_")
    tokenizer.transform(FORMULA_FRAME)
    CompositionTokenizer().transform(FORMULA_FRAME)


@pytest.mark.slow
def test_torch_and_transformers_load_only_on_use() -> None:
    code = (
        "import sys; from sklearn_kt import CompositionTokenizer as T; T().transform(['Fe2O3']); "
        "print([m for m in ('torch', 'transformers', 'tokenizers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_constructor_keeps_its_order() -> None:
    parameters = list(inspect.signature(CompositionTokenizer).parameters)
    assert parameters == ["scheme", "max_length", "tokenizer", "local_files_only", "errors"]


def test_own_files_are_read(tmp_path: Path) -> None:
    CompositionTokenizer("formula").to_pretrained_tokenizer().save_pretrained(tmp_path)
    assert read_tokenizer(tmp_path)("Fe0.5O")["input_ids"] == [2, 30, 123, 133, 128, 12, 3]
    # any other pattern may take forever
    file = tmp_path / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8").replace("[A-Z]", "(A+)+"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="'Split' that is not loaded"):
        read_tokenizer(tmp_path)
