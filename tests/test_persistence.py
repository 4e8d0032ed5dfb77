"""Saved models: what is stored, what comes back, and what is refused."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import torch
from numpy.testing import assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, ShuffleSplit, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVR

from sklearn_kt import (
    BlendedKTRegressor,
    CompositionEmbedder,
    CompositionTokenizer,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.evaluation import make_model
from sklearn_kt.exceptions import CheckpointError, InputError
from sklearn_kt.persistence import (
    FORMAT_VERSION,
    TRUSTED_TYPES,
    describe_model,
    load_model,
    save_model,
    with_replaced,
)
from sklearn_kt.structures import Cached, RandomGenerator

pytestmark = pytest.mark.usefixtures("few_trees")

FORMULAS = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "Br", "I")]
TARGET = np.linspace(6, 3, len(FORMULAS)) + np.arange(len(FORMULAS)) % 4

TINY: dict[str, Any] = {
    "checkpoint": None,
    "backbone": "tiny",
    "readout": "head",
    "n_estimators": 1,
    "max_epochs": 2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def fast() -> Any:
    return ImplicitKTRegressor(readout="fast", random_state=0).fit(FORMULAS, TARGET)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return ImplicitKTRegressor(**TINY).fit(FORMULAS, TARGET)


@pytest.fixture
def saved(tiny: Any, tmp_path: Path) -> Path:
    return save_model(tiny, tmp_path / "tiny.model")


def _classes() -> Any:
    labels = np.where(np.median(TARGET) < TARGET, "high", "low")
    readout = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2)
    return ImplicitKTClassifier(readout=readout, random_state=0).fit(FORMULAS, labels)


def _search() -> Any:
    return GridSearchCV(ImplicitKTRegressor(**TINY), {"max_epochs": [1, 2]}, cv=2).fit(
        FORMULAS, TARGET
    )


def _pipeline() -> Any:
    model = make_pipeline(CompositionEmbedder(), ExtraTreesRegressor(3, random_state=0))
    return model.fit(FORMULAS, TARGET)


def _blend() -> Any:
    return ImplicitKTRegressor(
        None, backbone="tiny", n_estimators=3, max_epochs=1, random_state=0, n_jobs=1
    ).fit(FORMULAS, TARGET)


def _weighed() -> Any:
    parts = [
        ("network", ImplicitKTRegressor(**TINY)),
        ("trees", make_model("et-fractions", "regression", random_state=0)),
    ]
    return BlendedKTRegressor(parts, cv=3, random_state=0).fit(FORMULAS, TARGET)


def _own_readout() -> Any:
    return ImplicitKTRegressor(readout=SVR(), random_state=0).fit(FORMULAS, TARGET)


def _command_line() -> Any:
    return make_model("rf-magpie", "regression", random_state=0, n_jobs=1).fit(FORMULAS, TARGET)


def _around(make: Callable[[Any], Any], labels: bool = False) -> Callable[[], Any]:
    """Fit an estimator of scikit-learn around one of ours."""

    def fit() -> Any:
        if labels:
            classes = np.where(np.median(TARGET) < TARGET, "high", "low")
            return make(ImplicitKTClassifier(**TINY)).fit(FORMULAS, classes)
        return make(ImplicitKTRegressor(**TINY)).fit(FORMULAS, TARGET)

    return fit


AROUND = {
    "voting": _around(lambda ours: VotingRegressor([("ours", ours), ("other", ours)])),
    "stacking": _around(lambda ours: StackingRegressor([("ours", ours)], cv=2)),
    "calibrated": _around(lambda ours: CalibratedClassifierCV(ours, cv=2), labels=True),
    "isotonic": _around(
        lambda ours: CalibratedClassifierCV(ours, cv=2, method="isotonic"), labels=True
    ),
    "tuned": _around(lambda ours: TunedThresholdClassifierCV(ours, cv=2), labels=True),
    "bagging": _around(
        lambda _: make_pipeline(
            CompositionTokenizer("fraction"), BaggingRegressor(SVR(), 2, random_state=0)
        )
    ),
    "gaussian process": _around(
        lambda _: ImplicitKTRegressor(
            readout=GaussianProcessRegressor(RBF() + WhiteKernel()), random_state=0
        )
    ),
    "scored": _around(
        lambda ours: GridSearchCV(
            ours, {"max_epochs": [1]}, cv=ShuffleSplit(1), scoring="neg_mean_absolute_error"
        )
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("around", AROUND)
def test_models_around_ours_come_back(around: str, tmp_path: Path) -> None:
    test_predictions_come_back_to_the_bit(AROUND[around], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [_classes, _search, _pipeline, _blend, _own_readout, _command_line, _weighed]
)
def test_predictions_come_back_to_the_bit(make: Callable[[], Any], tmp_path: Path) -> None:
    model = make()
    again = load_model(save_model(model, tmp_path / "m"))
    assert type(again) is type(model)
    for method in ("predict", "predict_proba"):
        if hasattr(model, method):
            assert_array_equal(getattr(again, method)(FORMULAS), getattr(model, method)(FORMULAS))


@pytest.mark.slow
@pytest.mark.usefixtures("untouched_globals")
def test_all_of_a_fitted_regressor_comes_back(fast: Any, tmp_path: Path) -> None:
    again = load_model(save_model(fast, tmp_path / "m"))
    for ours, theirs in zip(
        again.predict(FORMULAS, return_std=True),
        fast.predict(FORMULAS, return_std=True),
        strict=True,
    ):
        assert_array_equal(ours, theirs)
    assert_array_equal(again.predict_interval(FORMULAS), fast.predict_interval(FORMULAS))
    assert again.get_params() == fast.get_params()
    assert vars(again).keys() == vars(fast).keys()


@pytest.mark.usefixtures("untouched_globals")
def test_networks_come_back_whole(saved: Path, tiny: Any, tmp_path: Path) -> None:
    again = load_model(saved)
    net = again.nets_[0]
    assert not net.module_.training
    assert not any(p.requires_grad and p.grad is not None for p in net.module_.parameters())
    # it can be saved again, pickled, and kept as a checkpoint
    twice = load_model(save_model(again, tmp_path / "twice"))
    assert_array_equal(twice.predict(FORMULAS), tiny.predict(FORMULAS))
    assert_array_equal(pickle.loads(pickle.dumps(again)).predict(FORMULAS), tiny.predict(FORMULAS))
    again.save_pretrained(tmp_path / "checkpoint")


@pytest.mark.slow
def test_a_text_backbone_comes_back(minilm_dir: Path, tmp_path: Path) -> None:
    model = ImplicitKTRegressor(None, backbone=minilm_dir, readout=Ridge()).fit(
        FORMULAS[:6], TARGET[:6]
    )
    again = load_model(save_model(model, tmp_path / "m"))
    assert_array_equal(again.predict(FORMULAS[:3]), model.predict(FORMULAS[:3]))
    assert again.backbone == str(minilm_dir)


def test_unfitted_and_plain_models(tmp_path: Path) -> None:
    for number, model in enumerate(
        (
            ExplicitKTRegressor(),
            CompositionTokenizer("fraction", max_length=5),
            BlendedKTRegressor(),
            Ridge(alpha=2.0),
            ImplicitKTRegressor(checkpoint=tmp_path / "c", random_state=np.random.RandomState(3)),
        )
    ):
        again = load_model(save_model(model, tmp_path / str(number)))
        assert repr(again).replace(f"'{tmp_path}/c'", "") == repr(model).replace(
            f"PosixPath('{tmp_path}/c')", ""
        ) or type(again) is type(model)


def test_what_belongs_to_another_machine_stays_there(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    model = make_pipeline(
        CompositionTokenizer(local_files_only=False),
        ExplicitKTRegressor(cache_dir=folder, generator=Cached(RandomGenerator(), folder)),
        memory=str(folder),
    )
    again = load_model(save_model(model, tmp_path / "m"))
    parameters = again.get_params()
    for name in (name for name in parameters if name.endswith(("cache_dir", "memory"))):
        assert parameters[name] is None, name
    assert parameters["compositiontokenizer__local_files_only"] is True
    many = make_pipeline(Ridge(), ExtraTreesRegressor(n_jobs=1_000_000))
    few = ExtraTreesRegressor(n_jobs=1)
    n_jobs = load_model(save_model([many, few, ExtraTreesRegressor()], tmp_path / "n"))
    assert [n_jobs[0][1].n_jobs, n_jobs[1].n_jobs, n_jobs[2].n_jobs] == [-1, 1, None]
    assert model.memory == str(folder)
    assert not model[0].local_files_only
    assert not folder.exists()


_CHILD = """
import os, sys
import numpy as np
import torch
torch.set_num_threads(3)
assert not torch.cuda.is_available()
from sklearn_kt.persistence import load_model
model = load_model(sys.argv[1])
np.save(sys.argv[2], np.stack(model.predict(sys.argv[3].split(), return_std=True)))
assert torch.get_num_threads() == 3
"""


@pytest.mark.slow
def test_loads_in_a_fresh_process_with_other_threads(fast: Any, tmp_path: Path) -> None:
    path = save_model(fast, tmp_path / "m")
    subprocess.run(
        [sys.executable, "-c", _CHILD, path, tmp_path / "out.npy", " ".join(FORMULAS)],
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "3"},
    )
    assert_array_equal(
        np.load(tmp_path / "out.npy"), np.stack(fast.predict(FORMULAS, return_std=True))
    )


def test_trusted_types_exist() -> None:
    for name in TRUSTED_TYPES:
        module, _, kind = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), kind), type), name


def test_copies_keep_what_is_shared(tmp_path: Path) -> None:
    levels: Any = [Ridge()]
    for _ in range(60):
        levels = [levels, levels]
    copied = with_replaced(levels, lambda value: value)
    assert copied[0] is copied[1]
    assert copied is not levels


def test_nothing_half_written(tmp_path: Path, tiny: Any) -> None:
    path = tmp_path / "m"
    path.write_text("before")
    with pytest.raises(InputError, match="without a pickle"):
        save_model(make_pipeline(CompositionTokenizer(), torch.nn.Linear(1, 1)), path)
    with pytest.raises(InputError, match="does not exist"):
        save_model(tiny, tmp_path / "no" / "m")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    save_model(tiny, path)
    load_model(path)


class _Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


_CYTHON = """
import sys
import cython
from sklearn.linear_model import LinearRegression
from sklearn_kt.persistence import load_model, save_model
load_model(save_model(LinearRegression(), sys.argv[1]))
assert "cython.cimports" in sys.modules
"""


@pytest.mark.slow
def test_files_named_as_functions_do_not_run(tmp_path: Path) -> None:
    pytest.importorskip("cython", reason="Cython is not installed")
    # skops looks for these names of SciPy in every module, and those of Cython import them
    for name in ("iv", "kv", "jn", "expit"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file ran by its name')")
    done = subprocess.run(
        [sys.executable, "-c", _CYTHON, tmp_path / "m"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dump", ["pickle", "joblib", "compressed", "torch"])
def test_pickles_are_refused_unread(dump: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "m", tmp_path / "trace"
    bomb = _Bomb(trace)
    if dump == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif dump == "torch":
        torch.save(bomb, path)
    else:
        joblib.dump(bomb, path, compress=3 if dump == "compressed" else 0)
    with pytest.raises(CheckpointError):
        load_model(path)
    assert not trace.exists()


def _rewrite(path: Path, change: Callable[[dict[str, bytes]], None], *, seal: bool = True) -> None:
    """Edit the members of a model file; with ``seal`` also its checksums, as an attacker can."""
    import hashlib

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if seal:
        about = json.loads(members["sklearn_kt.json"])
        about["sha256"] = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in members.items()
            if name != "sklearn_kt.json"
        }
        members["sklearn_kt.json"] = json.dumps(about).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _edit_schema(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        text = members["schema.json"].decode()
        assert old in text
        members["schema.json"] = text.replace(old, new).encode()

    return change


def test_other_types_are_refused_and_named(saved: Path, tmp_path: Path) -> None:
    _rewrite(saved, _edit_schema('"ImplicitKTRegressor"', '"BaseEstimatorX"'))
    with pytest.raises(CheckpointError):
        load_model(saved)
    path = tmp_path / "own"
    save_model(make_pipeline(CompositionTokenizer(), _Own()).fit(FORMULAS, TARGET), path)
    with pytest.raises(CheckpointError, match=r"not trusted\. .*test_persistence\._Own"):
        load_model(path)
    assert load_model(path, trusted=[f"{__name__}._Own"]).predict(FORMULAS)[0] == TARGET.mean()


class _Own(Ridge):
    def fit(self, X: Any, y: Any) -> _Own:
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), self.mean_)


def test_code_in_a_schema_does_not_run(saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def change(members: dict[str, bytes]) -> None:
        schema = json.loads(members["schema.json"])
        schema["content"] = {
            "__class__": "mkdir",
            "__module__": "os",
            "__loader__": "ReduceNode",
            "__id__": 1,
            "args": {
                "__class__": "tuple",
                "__module__": "builtins",
                "__loader__": "TupleNode",
                "__id__": 2,
                "content": [
                    {
                        "__class__": "str",
                        "__module__": "builtins",
                        "__loader__": "JsonNode",
                        "__id__": 3,
                        "content": json.dumps(str(trace)),
                        "is_json": True,
                    }
                ],
            },
        }
        members["schema.json"] = json.dumps(schema).encode()

    _rewrite(saved, change)
    with pytest.raises(CheckpointError):
        load_model(saved)
    assert not trace.exists()


def test_a_pickle_inside_an_array_is_refused(saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    buffer = io.BytesIO()
    np.save(buffer, np.array([_Bomb(trace)], dtype=object), allow_pickle=True)

    def change(members: dict[str, bytes]) -> None:
        for name in members:
            if name.endswith(".npy"):
                members[name] = buffer.getvalue()

    _rewrite(saved, change)
    with pytest.raises(CheckpointError):
        load_model(saved)
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize("member", ["bomb.npy", "schema.json", "sklearn_kt.json"])
def test_zip_bombs_are_refused_at_once(member: str, saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in members.keys() - {member}:
            archive.writestr(name, members[name])
        with archive.open(member, "w", force_zip64=True) as file:
            for _ in range(300):
                file.write(bytes(2**20))
    assert saved.stat().st_size < 2**22
    start = time.process_time()
    with pytest.raises(CheckpointError, match="would unpack to"):
        load_model(saved)
    # unpacking 300 MB takes far longer than reading the list of members
    assert time.process_time() - start < 1


@pytest.mark.parametrize("field", ["left_child", "right_child", "feature"])
def test_trees_that_lead_astray_are_refused(field: str, tmp_path: Path) -> None:
    model = ExtraTreesRegressor(1, max_depth=3, random_state=0).fit(
        CompositionTokenizer("fraction").fit_transform(FORMULAS), TARGET
    )
    path = save_model(model, tmp_path / "m")
    load_model(path)

    def change(members: dict[str, bytes]) -> None:
        hit = 0
        for name, content in members.items():
            if not name.endswith(".npy"):
                continue
            array = np.load(io.BytesIO(content))
            if array.dtype.names and field in array.dtype.names:
                array = array.copy()
                array[field][0] = 10**6
                buffer = io.BytesIO()
                np.save(buffer, array)
                members[name] = buffer.getvalue()
                hit += 1
        assert hit

    _rewrite(path, change)
    with pytest.raises(CheckpointError, match="damaged or was edited"):
        load_model(path)


def test_damage_is_found(saved: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        name = next(name for name in members if name.endswith(".npy"))
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])

    whole = saved.read_bytes()
    _rewrite(saved, change, seal=False)
    with pytest.raises(CheckpointError, match="has changed"):
        load_model(saved)
    rng = np.random.default_rng(0)
    for _ in range(20):
        saved.write_bytes(whole[: rng.integers(len(whole))])
        with pytest.raises(CheckpointError):
            load_model(saved)
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        saved.write_bytes(broken)
        # a flipped bit may hit a time stamp, which says nothing
        with contextlib.suppress(CheckpointError):
            load_model(saved)


@pytest.mark.parametrize("version", [FORMAT_VERSION - 1, FORMAT_VERSION + 1, None, "2"])
def test_other_formats(saved: Path, version: Any) -> None:
    def other(members: dict[str, bytes]) -> None:
        about = json.loads(members["sklearn_kt.json"])
        about |= {"format_version": version, "sklearn_kt": "9.9.9"}
        members["sklearn_kt.json"] = json.dumps(about).encode()

    _rewrite(saved, other)
    written = rf"written by sklearn_kt 9\.9\.9 in format {version}; this is"
    with pytest.raises(CheckpointError, match=written):
        load_model(saved)


def test_other_files(tmp_path: Path) -> None:
    skops.io.dump(Ridge(), tmp_path / "plain")
    with pytest.raises(CheckpointError, match="not written by save_model"):
        load_model(tmp_path / "plain")
    with pytest.raises(CheckpointError, match="no model file"):
        load_model(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(CheckpointError, match="not a model file"):
        load_model(tmp_path / "empty")


def test_what_is_told_of_a_model_is_read_without_loading_it(tmp_path: Path) -> None:
    about = {"target": "gap", "rows": 12, "held-out mae": 0.25}
    path = save_model(Ridge(), tmp_path / "m", about=about)
    found = describe_model(path)
    assert (found["model"], found["about"]) == ("Ridge", about)
    assert describe_model(save_model(Ridge(), tmp_path / "n"))["about"] == {}
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="not a model file"):
        describe_model(path)
    with pytest.raises(CheckpointError, match="There is no model file"):
        describe_model(tmp_path / "none")
