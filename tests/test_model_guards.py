"""Models from strangers: what they hold is checked, and no larger than it looks."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    StackingRegressor,
)
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, SVR, OneClassSVM
from sklearn.tree import DecisionTreeRegressor

from sklearn_kt import CompositionEmbedder, CompositionTokenizer, ImplicitKTRegressor
from sklearn_kt._model_guards import check_objects, check_tokenizer
from sklearn_kt.encoder import PRESETS
from sklearn_kt.encoder.modeling import build_backbone
from sklearn_kt.encoder.weights import load_backbone
from sklearn_kt.exceptions import CheckpointError, InputError
from sklearn_kt.persistence import StoredEncoder, StoredNetwork, load_model, save_model

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X[:, 0] + 0.1 * RNG.normal(size=40)
CLASSES = np.digitize(Y, [-0.5, 0.5])


def _rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Edit the members of a model file and its checksums, as an attacker can."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    about = json.loads(members.pop("sklearn_kt.json"))
    about["sha256"] = {name: hashlib.sha256(text).hexdigest() for name, text in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("sklearn_kt.json", json.dumps(about))
    return path


def _with_schema(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    def edit(members: dict[str, bytes]) -> None:
        schema = json.loads(members["schema.json"])
        change(schema)
        members["schema.json"] = json.dumps(schema).encode()

    return _rewrite(path, edit)


def _with_content(path: Path, content: dict[str, Any]) -> Path:
    """Let a file describe another object."""

    def change(schema: dict[str, Any]) -> None:
        kept = {key: schema[key] for key in ("protocol", "_skops_version")}
        schema.clear()
        schema.update(content, **kept)

    return _with_schema(path, change)


def _with_values(path: Path, **values: str) -> Path:
    """Give other values to what has these names, wherever it is."""

    def change(schema: dict[str, Any]) -> None:
        pending: list[Any] = [schema]
        while pending:
            part = pending.pop()
            if isinstance(part, dict):
                for name in values.keys() & part.keys():
                    part[name]["content"] = values[name]
                pending.extend(part.values())
            elif isinstance(part, list):
                pending.extend(part)

    return _with_schema(path, change)


def _list(number: int, items: list[Any]) -> dict[str, Any]:
    return {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "ListNode",
        "__id__": number,
        "content": items,
    }


def _json(number: int, text: str) -> dict[str, Any]:
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "__id__": number,
        "content": text,
        "is_json": True,
    }


def _doubling(levels: int) -> dict[str, Any]:
    """Lists of which each holds the one before twice, by its number the second time."""
    inner = _list(1, [])
    for level in range(levels):
        inner = _list(level + 2, [inner, {"__id__": inner["__id__"], "__loader__": "ListNode"}])
    return inner


def _nested(levels: int) -> dict[str, Any]:
    inner = _list(1, [])
    for level in range(levels):
        inner = _list(level + 2, [inner])
    return inner


def _typed(doubling: dict[str, Any]) -> dict[str, Any]:
    """The same, where what stands for a repeated list looks like one."""
    pending = [doubling]
    while pending:
        node = pending.pop()
        node.setdefault("content", [])
        node.setdefault("__class__", "list")
        node.setdefault("__module__", "builtins")
        pending.extend(node["content"])
    return doubling


def _called(number: int, name: str, arguments: list[Any]) -> dict[str, Any]:
    """What calls a type or function with these arguments."""
    module, _, kind = name.rpartition(".")
    given = {**_list(number + 1, arguments), "__class__": "tuple", "__loader__": "TupleNode"}
    return {
        "__class__": kind,
        "__module__": module,
        "__loader__": "ConstructorFromReduceNode",
        "__id__": number,
        "content": given,
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_model(Ridge(), tmp_path_factory.mktemp("plain") / "m").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        _doubling(60),
        _typed(_doubling(60)),
        _nested(150),
        _json(1, "[" * 100 + "]" * 100),
        _json(1, "[" + "[]," * 1_000_000 + "[]]"),
        _json(1, " {}"),
        _list(1, [_list(2, [{"__id__": 2, "__loader__": "CachedNode"}])]),
        _list(1, [[[]] * 400_000]),
        _list(1, [0] * 2_000_000),
        _called(1, "builtins.range", [_json(3, "1000000000")]),
        _called(1, "builtins.frozenset", [_called(3, "builtins.range", [_json(5, "9")])]),
        _called(
            1,
            "sklearn.metrics._regression.max_error",
            [_list(3, [_json(4, "1")]), _list(5, [_json(6, "1")])],
        ),
        {**_list(1, []), "__module__": "sklearn.metrics.pairwise", "__class__": "paired_distances"},
        {
            **_called(1, "numpy.dtype", []),
            "__loader__": "LossNode",
            "__reduce__": {"args": _list(3, [_json(4, '"V8"')])},
        },
    ],
    ids=lambda content: f"{content['__loader__']}-{len(str(content))}",
)
def test_what_grows_when_it_is_built_is_refused(
    content: dict[str, Any], plain: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "m"
    path.write_bytes(plain)
    _with_content(path, content)
    with pytest.raises(CheckpointError):
        load_model(path)


_LIMITED = """
import resource, sys
from sklearn_kt.persistence import load_model, save_model
from sklearn.linear_model import Ridge
import skops.io, torch, transformers, skorch
load_model(save_model(Ridge(), sys.argv[1] + ".plain"))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
for path in sys.argv[1:]:
    cpu = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    try:
        load_model(path)
    except ValueError as error:
        assert "does not fit into memory" not in str(error), error
        print(type(error).__name__, resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_refusals_take_little_memory(plain: bytes, tmp_path: Path) -> None:
    contents = [
        _list(1, [[[]] * 290_000]),
        _json(1, "[" + "[]," * 5_000_000 + "[]]"),
        _list(1, [_json(2, '"' + "x" * 30_000_000 + '"'), _list(3, [_list(3, [])])]),
        _typed(_doubling(60)),
    ]
    paths = []
    for number, content in enumerate(contents):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(plain)
        _with_content(paths[-1], content)
    config = {"n_features": 3, "hidden_size": 24_576}
    bert = {"model_type": "bert", "num_hidden_layers": 200_000}
    wide = {"model_type": "bert", "hidden_size": 24_576}
    specs: list[dict[str, Any]] = [
        {"kind": "composition", "config": {**PRESETS["tiny"], "hidden_size": 24_576}},
        {"kind": "composition", "config": {**PRESETS["tiny"], "num_hidden_layers": 200_000}},
        {"kind": "features", "config": config},
        {"kind": "text", "config": bert},
        {"kind": "text", "config": wide},
    ]
    for number, spec in enumerate(specs):
        for kind in (StoredEncoder, StoredNetwork):
            stored = object.__new__(kind)
            stored.weights = {"tokens.weight": np.zeros((134, 64), np.float32)}
            if kind is StoredEncoder:
                stored.spec = spec
            else:
                stored.module = {"spec": spec, "n_outputs": 1}
            model = CompositionEmbedder()
            model.encoder_ = stored
            paths.append(save_model(model, tmp_path / f"{kind.__name__}{number}"))
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["CheckpointError"] * len(
        paths
    )
    assert max(float(line.split()[1]) for line in done.stdout.splitlines()) < 5


def _npz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_archives_inside_archives(tmp_path: Path) -> None:
    model = Ridge()
    model.rows_ = scipy.sparse.csr_matrix(np.eye(3))
    path = save_model(model, tmp_path / "m")
    name = "scipy.sparse._csr.csr_matrix"
    with pytest.raises(CheckpointError, match=f"sparse matrix, {name}"):
        load_model(path)
    assert load_model(path, trusted=[name]).rows_.nnz == 3

    def bomb(members: dict[str, bytes]) -> None:
        (inner,) = (member for member in members if member.endswith(".npz"))
        members[inner] = _npz({"data.npy": bytes(100 * 2**20)})

    _rewrite(path, bomb)
    with pytest.raises(CheckpointError, match="would unpack to 104,857,600 bytes"):
        load_model(path, trusted=[name])


@pytest.mark.parametrize(
    ("shape", "dtype"), [((10**12,), "<f8"), ((10**12,), "|V0"), ((2,), "<f8"), ((4,), "|O")]
)
def test_arrays_are_as_large_as_they_say(shape: Any, dtype: str, tmp_path: Path) -> None:
    model = Ridge()
    model.rows_ = np.zeros(4)
    buffer = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": dtype}
    np.lib.format.write_array_header_1_0(buffer, header)
    buffer.write(bytes(0 if dtype == "|V0" else 32))

    def change(members: dict[str, bytes]) -> None:
        (name,) = (member for member in members if member.endswith(".npy"))
        members[name] = buffer.getvalue()

    path = _rewrite(save_model(model, tmp_path / "m"), change)
    with pytest.raises(CheckpointError, match=r"an array of .* takes (32|0) bytes"):
        load_model(path)


def test_one_array_is_not_many(tmp_path: Path) -> None:
    model = Ridge()
    model.rows_ = [np.zeros(4), np.ones(4)]

    def change(schema: dict[str, Any]) -> None:
        first, second = schema["content"]["content"]["rows_"]["content"]
        second["file"] = first["file"]

    path = _with_schema(save_model(model, tmp_path / "m"), change)
    with pytest.raises(CheckpointError, match="not described as skops does"):
        load_model(path)


def test_odd_types_and_old_protocols_are_refused(plain: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m"
    array = {"__loader__": "NdArrayNode", "__module__": "numpy", "__id__": 3, "type": "json"}
    void = {**array, "__class__": "void", "content": [_json(5, "10000000000")]}
    for content in (
        _list(1, [{**void, "shape": _list(6, [])}]),
        _list(1, [{**_list(2, []), "__id__": 0}]),
        {**_list(1, []), "__class__": 3},
        {**_list(1, []), "__module__": "sklearn.tree._tree", "__class__": "Tree"},
    ):
        path.write_bytes(plain)
        with pytest.raises(CheckpointError, match="damaged or was edited"):
            load_model(_with_content(path, content))
    path.write_bytes(plain)
    with pytest.raises(CheckpointError, match="protocol 1"):
        load_model(_with_schema(path, lambda schema: schema.update(protocol=1)))


def test_what_is_too_large_to_load_is_not_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sklearn_kt._model_guards._CONTAINERS", 100)
    with pytest.raises(InputError, match="more than 100 parts"):
        save_model(ExtraTreesRegressor(9).fit(X, Y), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def _boosting() -> Any:
    return HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5).fit(X, Y)


def _nodes(model: Any, **fields: Any) -> None:
    nodes = model._predictors[0][0].nodes
    for name, value in fields.items():
        nodes[name][0] = value


def _tree_with(tree: Any, **changes: Any) -> Any:
    """Copy of a tree with another state."""
    from sklearn.tree._tree import Tree

    new = Tree(*tree.__reduce__()[1])
    new.__setstate__({**tree.__getstate__(), **changes})
    return new


class _Odd(BaseEstimator):
    pass


def _set(**attributes: Any) -> Callable[[Any], None]:
    return lambda model: vars(model).update(attributes)


def _drop(name: str) -> Callable[[Any], None]:
    return lambda model: vars(model).pop(name)


def _replace_tree(model: Any, **changes: Any) -> None:
    holder = model if hasattr(model, "tree_") else np.ravel(model.estimators_)[0]
    holder.tree_ = _tree_with(holder.tree_, **changes)


def _wide_tree(model: Any) -> None:
    wide = DecisionTreeRegressor(max_depth=2).fit(np.c_[X * 0, X, X], Y)
    np.ravel(model.estimators_)[0].tree_ = wide.tree_


def _start_of(model: Any, **attributes: Any) -> None:
    start = DummyClassifier(strategy="prior").fit(X, CLASSES)
    model.init_ = start
    vars(start).update(attributes)


TREE = DecisionTreeRegressor(max_depth=3).fit(X, Y)
EDITS: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "svr support": (SVR(), _set(support_=np.arange(10_000, dtype=np.int32))),
    "svr vectors": (SVR(), lambda m: _set(support_vectors_=m.support_vectors_[:2])(m)),
    "svr narrow": (SVR(), lambda m: _set(support_vectors_=m.support_vectors_[:, :1].copy())(m)),
    "svr columns": (SVR(), _drop("n_features_in_")),
    "svr coefficients": (SVR(), lambda m: _set(_dual_coef_=m._dual_coef_[:, :1].copy())(m)),
    "svr index": (SVR(), lambda m: _set(support_=m.support_ + 10**6)(m)),
    "svr algorithm": (SVR(), _set(_impl="c_svc")),
    "svr nan": (SVR(), lambda m: _set(_dual_coef_=m._dual_coef_ * np.nan)(m)),
    "svc counts": (SVC(), lambda m: _set(_n_support=m._n_support * 100)(m)),
    "svc negative": (SVC(), lambda m: _set(_n_support=m._n_support * [-1, 1, 1])(m)),
    "svc intercept": (SVC(), _set(_intercept_=np.zeros(1))),
    "svc probabilities": (SVC(), _set(_probA=np.zeros(1), _probB=np.zeros(1))),
    "svc kernel": (SVC(), _set(kernel=np.add)),
    "svc sparse": (SVC(), _set(_sparse=True)),
    "one class": (OneClassSVM(), _set(support_=np.arange(9, dtype=np.int32))),
    "histogram column": (_boosting(), lambda m: _nodes(m, feature_idx=10**6)),
    "histogram left": (_boosting(), lambda m: _nodes(m, left=10**6)),
    "histogram circle": (_boosting(), lambda m: _nodes(m, right=0)),
    "histogram categories": (_boosting(), lambda m: _nodes(m, is_categorical=1, bitset_idx=10**6)),
    "histogram columns": (_boosting(), _drop("n_features_in_")),
    "histogram bins": (
        _boosting(),
        lambda m: _set(is_categorical_=np.zeros(1, dtype=bool))(m._bin_mapper),
    ),
    "histogram steps": (_boosting(), _set(_preprocessor=StandardScaler())),
    "histogram nan": (_boosting(), lambda m: _nodes(m, value=np.nan)),
    "tree columns": (DecisionTreeRegressor(), _drop("n_features_in_")),
    "tree depth": (DecisionTreeRegressor(), lambda m: _replace_tree(m, max_depth=0)),
    "tree values": (
        DecisionTreeRegressor(),
        lambda m: _replace_tree(m, values=m.tree_.value * np.inf),
    ),
    "tree method": (DecisionTreeRegressor(), _set(_validate_X_predict=np.add)),
    "forest width": (ExtraTreesRegressor(2), _wide_tree),
    "isolation width": (IsolationForest(n_estimators=2, random_state=0), _wide_tree),
    "boosting width": (GradientBoostingRegressor(n_estimators=2), _wide_tree),
    "boosting start": (
        GradientBoostingClassifier(n_estimators=2),
        lambda m: _start_of(m, class_prior_=np.ones(1)),
    ),
    "boosting zero": (
        GradientBoostingClassifier(n_estimators=2, init="zero"),
        _set(n_trees_per_iteration_=1),
    ),
    "boosting loss": (
        GradientBoostingClassifier(n_estimators=2),
        lambda m: _set(is_multiclass=False)(m._loss),
    ),
    "boosting other start": (GradientBoostingRegressor(n_estimators=2, init=Ridge()), _set()),
    "neighbours width": (
        KNeighborsRegressor(algorithm="brute"),
        lambda m: _set(_fit_X=m._fit_X[:, :1].copy())(m),
    ),
    "neighbours rows": (KNeighborsRegressor(algorithm="brute"), _set(n_samples_fit_=10**6)),
    "neighbours targets": (KNeighborsRegressor(algorithm="brute"), lambda m: _set(_y=m._y[:3])(m)),
    "neighbours class": (
        KNeighborsClassifier(algorithm="brute"),
        lambda m: _set(_y=m._y + 10**6)(m),
    ),
    "clusters": (KMeans(2, n_init=1), lambda m: _set(cluster_centers_=np.zeros((2, 1)))(m)),
    "clusters' threads": (KMeans(2, n_init=1), _set(_n_threads=10**9)),
    "a tree alone": (Ridge(), lambda m: _set(inner=TREE.tree_)(m)),
    "a tree as a step": (
        make_pipeline(StandardScaler()),
        lambda m: m.steps.append(("t", TREE.tree_)),
    ),
    "a mask": (SVR(), lambda m: _set(support_=np.ma.masked_less(m.support_, 10**6))(m)),
    "masks in a list": (Ridge(), lambda m: _set(parts=[np.ma.masked_less(m.coef_, 9)])(m)),
    "another method": (
        StackingRegressor([("r", Ridge())], cv=2),
        _set(estimators_=[np.array([65], dtype=np.uint8)], stack_method_=["tofile"]),
    ),
    "no columns": (FeatureHasher(n_features=4), _set(n_features=0, n_features_in_=1)),
    "no words": (HashingVectorizer(n_features=4), _set(n_features=0, n_features_in_=1)),
    "coefficients": (Ridge(), lambda m: _set(coef_=m.coef_ * np.inf)(m)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", EDITS)
def test_edited_estimators_are_refused(case: str, tmp_path: Path) -> None:
    model, edit = EDITS[case]
    model = copy.deepcopy(model)
    if not hasattr(model, "n_features_in_") and hasattr(model, "predict"):
        model.fit(X, CLASSES if hasattr(model, "predict_proba") or isinstance(model, SVC) else Y)
    if case != "boosting other start":
        load_model(save_model(model, tmp_path / "whole"))
    edit(model)
    with pytest.raises(CheckpointError, match=r"damaged or was edited .*trusted=\["):
        load_model(save_model(model, tmp_path / "m"))


def test_types_that_are_vouched_for_are_not_checked(tmp_path: Path) -> None:
    model = GradientBoostingRegressor(n_estimators=2, init=Ridge()).fit(X, Y)
    path = save_model(model, tmp_path / "m")
    name = "sklearn.ensemble._gb.GradientBoostingRegressor"
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))}: a Grad.*\['{name}'\]"):
        load_model(path)
    again = load_model(path, trusted=[name])
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("kind", ["RandomState", "Philox"])
def test_positions_of_random_numbers(kind: str, tmp_path: Path) -> None:
    state: Any = np.random.RandomState(0)
    if kind == "Philox":
        state = np.random.Generator(np.random.Philox(0))
    path = save_model(FunctionTransformer(kw_args={"state": state}), tmp_path / "m")
    load_model(path)

    with pytest.raises(CheckpointError):
        load_model(_with_values(path, pos="-1000000", buffer_pos="-1000000"))


def test_seeds_are_mixed_from_few_numbers(tmp_path: Path) -> None:
    path = save_model(HistGradientBoostingRegressor(max_iter=1).fit(X, Y), tmp_path / "m")
    load_model(path)
    with pytest.raises(CheckpointError, match="not described as skops does"):
        load_model(_with_values(path, pool_size="200"))


def test_ranges_and_sets_come_back(tmp_path: Path) -> None:
    model = FunctionTransformer(kw_args={"some": range(1, 9, 3), "other": frozenset({1, 2})})
    assert load_model(save_model(model, tmp_path / "m")).kw_args == model.kw_args


def test_masks_hide_no_objects() -> None:
    hidden = np.empty(1, dtype=object)
    hidden[0] = TREE.tree_
    with pytest.raises(CheckpointError, match="outside of an estimator"):
        check_objects({"some": np.ma.MaskedArray(hidden, [True])})


def test_trees_have_the_nodes_that_they_name(tmp_path: Path) -> None:
    path = save_model(TREE, tmp_path / "m")
    with pytest.raises(CheckpointError, match="not as many nodes as are stored"):
        load_model(_with_values(path, node_count="1"))


@pytest.fixture(scope="module")
def words(minilm_dir: Path) -> dict[str, Any]:
    return json.loads((minilm_dir / "tokenizer.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"padding": {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_id": 0}},
        {"padding": {"strategy": "BatchLongest", "pad_to_multiple_of": 10**9}},
        {"padding": [1]},
        {"padding": {"strategy": {"Fixed": 0}}},
        {"truncation": {"max_length": 10**9, "strategy": "LongestFirst", "stride": 0}},
        {"normalizer": {"type": "Replace", "pattern": {"String": "o"}, "content": "o" * 10**6}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}},
        {"normalizer": {"type": "Prepend", "prepend": "o"}},
        {"normalizer": {"prepend": "o"}},
        {"normalizer": {"pattern": {"Regex": "(a+)+$"}, "content": ""}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend"}]}},
        {"model": {"type": "Unigram", "unk_id": 10**6, "vocab": [["a", 0.0]]}},
        {"model": {}},
        {"post_processor": 3},
    ],
    ids=str,
)
def test_tokenizers_that_grow_or_panic_are_refused(
    change: dict[str, Any], words: dict[str, Any]
) -> None:
    check_tokenizer(json.dumps({**words, "padding": None, "truncation": None}))
    with pytest.raises(CheckpointError, match="tokenizer"):
        check_tokenizer(json.dumps({**words, "padding": None, "truncation": None, **change}))


@pytest.mark.parametrize("text", [3, "", "[]", "{" * 10_000, "{}", "null"])
def test_what_is_no_tokenizer(text: Any) -> None:
    with pytest.raises(CheckpointError):
        check_tokenizer(text)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    formulas = ["NaCl", "KCl", "MgO", "Si"]
    model = ImplicitKTRegressor(
        None, backbone="tiny", readout="head", n_estimators=1, max_epochs=1, random_state=0
    ).fit(formulas, [1.0, 2.0, 3.0, 4.0])
    with torch.no_grad():
        next(model.nets_[0].module_.parameters())[0] = np.nan
    path = save_model(model, tmp_path / "m")
    with pytest.raises(CheckpointError, match="not finite"):
        load_model(path)
    with torch.no_grad():
        next(model.nets_[0].module_.parameters())[0] = 0
    model.targets_.scaler.scale_[:] = np.nan
    with pytest.raises(CheckpointError, match="scale_ is not finite"):
        load_model(save_model(model, path))


def test_weights_are_of_the_kind_that_they_should_be(tmp_path: Path) -> None:
    spec = {"kind": "features", "config": {"n_features": 3, "hidden_size": 4}}
    weights = build_backbone(spec).state_dict()
    model = CompositionEmbedder()
    model.encoder_ = stored = object.__new__(StoredEncoder)
    for kind in (np.complex64, np.int64, "U5"):
        stored.spec = spec
        stored.weights = {name: value.numpy().astype(kind) for name, value in weights.items()}
        with pytest.raises(CheckpointError):
            load_model(save_model(model, tmp_path / "m"))


def test_text_encoders_fit_their_weights(minilm_dir: Path, tmp_path: Path) -> None:
    spec, weights = load_backbone(minilm_dir)
    for change in ({"num_hidden_layers": 7}, {"vocab_size": 10}, {"hidden_size": 10**9}):
        stored = object.__new__(StoredEncoder)
        stored.spec = {"kind": "text", "config": {**spec["config"], **change}}
        stored.weights = {name: value.numpy()[:4] for name, value in weights.items()}
        model = CompositionTokenizer()
        model.encoder_ = stored
        with pytest.raises(CheckpointError, match="do not fit its settings"):
            load_model(save_model(model, tmp_path / "m"))
