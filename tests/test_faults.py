"""Faults that are really injected: signals, full and read-only disks, memory, clocks, neighbours.

Those of one module are tested beside it; here are the ones that go through several.

- Ctrl-C: here in fit and predict; ``test_ctrl_c_keeps_what_is_done`` in screen;
  ``test_a_killed_run_goes_on_as_if_nothing_had_happened`` in pretraining; ``test_cli_main.py``
- SIGKILL: ``test_after_a_kill_the_run_goes_on_to_the_same_bytes`` in screen,
  ``test_after_kills_the_run_goes_on_to_the_same_weights`` in pretraining,
  ``test_a_cluster_that_loses_a_worker_writes_the_same``
- full disk, read-only disk: here; ``TestCached.test_full_disk`` of structures
- corrupt cache entry: ``TestCached.test_damaged_file_is_moved_aside``,
  ``TestCached.test_damaged_value_is_not_given``
- two processes that write one cache: here; ``test_two_processes_cannot_write_one_sink`` in screen
- loss that is not finite: here; ``test_loss_that_is_not_finite_raises``; pretraining
- batch that does not fit into memory, clock that is set back: here
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import tqdm.std
from _screening_model import MeanNumber
from numpy.testing import assert_array_equal

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.encoder import modeling
from sklearn_kt.exceptions import CompositionWarning, TrainingError, TrainingWarning
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.screening import screen
from sklearn_kt.structures.cache import DiskCache

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
def model() -> Any:
    return ImplicitKTRegressor(**TINY).fit(FORMULAS, TARGET)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[float], None]]:
    """Send this process SIGINT after some seconds, as a terminal would."""
    timers = []

    def start(seconds: float) -> None:
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)))
        timers[-1].start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield start
    for timer in timers:
        timer.cancel()
        timer.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("untouched_globals")
def test_ctrl_c_in_fit_and_predict(model: Any, ctrl_c: Callable[[float], None]) -> None:
    endless = ImplicitKTRegressor(**{**TINY, "max_epochs": 10**7})
    ctrl_c(0.5)
    with pytest.raises(KeyboardInterrupt):
        endless.fit(FORMULAS, TARGET)
    many = list(itertools.islice(itertools.cycle(FORMULAS), 3_000_000))
    expected = model.predict(FORMULAS)
    ctrl_c(0.5)
    with pytest.raises(KeyboardInterrupt):
        model.predict(many)
    assert_array_equal(model.predict(FORMULAS), expected)


def test_full_disk(model: Any, small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught:
        save_model(model, small_disk / "model")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=r"(?i)no space"):
        model.save_pretrained(small_disk / "checkpoint")
    assert list(small_disk.iterdir()) == []
    # a screening keeps what it has, and goes on when there is room
    formulas = [f"{a}{n}O{m}" for a in ("Fe", "Ni", "Cu") for n in range(1, 80) for m in (1, 2, 3)]
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(190_000))
    quick = MeanNumber().fit(None)
    with pytest.raises(OSError, match=r"(?i)no space"):
        screen(quick, formulas, small_disk / "out.parquet", batch_rows=60)
    parts = sorted(path.name for path in (small_disk / "out.parquet.parts").iterdir())
    assert any(name.startswith("part-") for name in parts)
    assert not any(name.startswith(".") for name in parts)
    ballast.unlink()
    result = screen(quick, formulas, small_disk / "out.parquet", batch_rows=60)
    straight = screen(quick, formulas, tmp_path / "out.parquet", batch_rows=60)
    assert result.path.read_bytes() == straight.path.read_bytes()


def test_read_only_disk(model: Any, small_disk: Path) -> None:
    cache = DiskCache(small_disk)
    cache.put({"a": b"1"})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert cache.get(["a"]) in ({"a": b"1"}, {})
        cache.put({"b": b"2"})
    assert any("not stored" in str(w.message) for w in caught if w.category is CompositionWarning)
    with pytest.raises(OSError, match="Read-only"):
        save_model(model, small_disk / "model")
    with pytest.raises(OSError, match="Read-only"):
        screen(MeanNumber().fit(None), FORMULAS, small_disk / "out.parquet")


_WRITER = """
import sys
from sklearn_kt.structures.cache import DiskCache
cache = DiskCache(sys.argv[1])
for i in range(150):
    # both write the shared keys, each its own as well
    cache.put({f"shared-{i}": bytes([i]) * 2000, f"{sys.argv[2]}-{i}": bytes([i])})
"""


@pytest.mark.slow
def test_two_processes_write_one_cache(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", _WRITER, tmp_path, name])
        for name in ("one", "two")
    ]
    assert [writer.wait(200) for writer in writers] == [0, 0]
    found = DiskCache(tmp_path).get(
        [f"{name}-{i}" for name in ("shared", "one", "two") for i in range(150)]
    )
    assert len(found) == 450
    assert all(found[f"shared-{i}"] == bytes([i]) * 2000 for i in range(150))


def test_a_loss_that_explodes() -> None:
    wild = ImplicitKTRegressor(**{**TINY, "learning_rate": 1e30, "max_epochs": 20})
    with pytest.raises(TrainingError, match="lower learning_rate"):
        wild.fit(FORMULAS, TARGET)


@pytest.mark.parametrize("rows_that_fit", [5, 1])
def test_batches_that_do_not_fit_into_memory(
    rows_that_fit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = modeling.PropertyNetwork
    forward = network.forward
    sizes: list[int] = []

    def limited(self: Any, **inputs: torch.Tensor) -> torch.Tensor:
        n = len(inputs["input_ids"])
        if self.training:
            sizes.append(n)
            if n > rows_that_fit:
                # an allocation that fails
                torch.empty(2**52)
        return forward(self, **inputs)

    monkeypatch.setattr(network, "forward", limited)
    fitted = ImplicitKTRegressor(**{**TINY, "batch_size": 10})
    if rows_that_fit == 5:
        with pytest.warns(TrainingWarning, match="begins again with 5"):
            fitted.fit(FORMULAS, TARGET)
        # once without the rows of an inner fold, once on all
        assert sizes.count(10) == 2
        assert max(size for size in sizes if size != 10) == 5
        monkeypatch.undo()
        same = ImplicitKTRegressor(**{**TINY, "batch_size": 5}).fit(FORMULAS, TARGET)
        assert_array_equal(fitted.predict(FORMULAS), same.predict(FORMULAS))
    else:
        with (
            pytest.warns(TrainingWarning),
            pytest.raises(TrainingError, match=r"batches of 10 and of 5 rows .* batch_size"),
        ):
            fitted.fit(FORMULAS, TARGET)
        assert sizes == [10, 5]


def test_a_clock_that_is_set_back(
    model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    hours = itertools.cycle([0, -3600 * 24, 3600 * 24 * 365, -1])
    real = time.time

    def jumping() -> float:
        return real() + next(hours)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(tqdm.std, "time", jumping)
    expected = model.predict(FORMULAS)
    again = ImplicitKTRegressor(**{**TINY, "verbose": 1}).fit(FORMULAS, TARGET)
    assert_array_equal(again.predict(FORMULAS), expected)
    sink = tmp_path / "out.parquet"
    screen(model, FORMULAS, sink, return_std=False, batch_rows=4, verbose=1)
    assert_array_equal(pd.read_parquet(sink)["prediction"], expected)
    assert_array_equal(load_model(save_model(model, tmp_path / "m")).predict(FORMULAS), expected)
    assert "epoch" in capsys.readouterr().err


_DIGEST = """
import hashlib, sys
import numpy as np, torch
torch.set_num_threads(2)
np.random.seed(int(sys.argv[1]))
torch.manual_seed(int(sys.argv[1]))
from test_faults import FORMULAS, TARGET, TINY
from sklearn_kt import ImplicitKTRegressor
model = ImplicitKTRegressor(**{**TINY, "n_estimators": 2}).fit(FORMULAS, TARGET)
rows = np.concatenate([model.predict([formula]) for formula in FORMULAS])
print(hashlib.sha256(rows.tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.usefixtures("untouched_globals")
def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    model = ImplicitKTRegressor(**{**TINY, "n_estimators": 2}).fit(FORMULAS, TARGET)
    digest = hashlib.sha256(model.predict(FORMULAS).tobytes()).hexdigest()
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    out = subprocess.run(
        [sys.executable, "-c", _DIGEST, "7"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "5"},
    )
    assert out.stdout.split()[-1] == digest


@pytest.mark.usefixtures("untouched_globals")
def test_the_host_program_is_left_alone(model: Any, tmp_path: Path) -> None:
    again = load_model(save_model(model, tmp_path / "m"))
    screen(again, FORMULAS, tmp_path / "o.parquet", return_std=False)
    screen(MeanNumber().fit(None), ["NaCl", "x"], tmp_path / "p.parquet", errors="nan")
