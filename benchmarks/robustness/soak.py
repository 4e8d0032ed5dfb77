"""Half an hour of mixed work in one process: memory and open files should stay flat.

    python -m benchmarks.robustness.soak

Fits, predictions, explanations, saved models and screenings take turns; after each round the
memory, open files and threads of the process are kept, and what of the memory is in use: bytes that
malloc has handed out, and Python's blocks. What the process holds beyond that is kept by the
allocators for later. benchmarks/results/soak.json has the curve, and the slope of its second half.
Linux with glibc only. What one round leaves behind shows in a long run, so interrupt it only to
give up.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, how_made, write_json

FORMULAS = 60


class _MallocInfo(ctypes.Structure):
    """What mallinfo2 of glibc 2.33 and newer returns."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),
        )
    )


def state() -> dict[str, float]:
    """Memory in MB, Python's blocks in thousands, open files and threads of this process."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = _MallocInfo
    heap = libc.mallinfo2()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
        "malloc_in_use_mb": (heap.uordblks + heap.hblkhd) / 2**20,
        "python_blocks_k": sys.getallocatedblocks() / 1000,
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": int(status["Threads"]),
    }


def round_of_work(number: int, folder: Path, X: np.ndarray, y: np.ndarray) -> None:
    """Do a bit of everything, never the same."""
    from sklearn_kt import ImplicitKTClassifier, ImplicitKTRegressor, explain
    from sklearn_kt.exceptions import InputError
    from sklearn_kt.persistence import load_model, save_model
    from sklearn_kt.screening import screen

    rng = np.random.default_rng(number)
    rows = rng.choice(len(X), FORMULAS, replace=False)
    tiny: dict[str, Any] = {
        "checkpoint": None,
        "backbone": "tiny",
        "readout": "head",
        "n_estimators": 1,
        "max_epochs": 2,
        "random_state": number,
    }
    network = ImplicitKTRegressor(**tiny).fit(X[rows], y[rows])
    network.predict(X[rng.choice(len(X), 2_000)])
    ImplicitKTClassifier(**tiny).fit(X[rows], y[rows] > np.median(y[rows])).predict_proba(X[rows])
    explain(network, "LiFePO4")
    if number % 5 == 0:
        # the pretrained encoder, and forests
        fast = ImplicitKTRegressor(readout="fast", random_state=number).fit(X[rows], y[rows])
        fast.predict(X[rows], return_std=True)
    path = save_model(network, folder / "model")
    again = load_model(path)
    sink = folder / "out.parquet"
    screen(again, X[:1_000], sink, return_std=False, top_k=10)
    sink.unlink()
    with contextlib.suppress(InputError):
        network.predict(["no formula"])


def main() -> None:
    """Work for so many minutes, then write the curve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    from sklearn_kt.datasets import load_seebeck

    warnings.simplefilter("ignore")
    X, y = load_seebeck(n_samples=5_000, random_state=0, return_X_y=True)
    curve: list[dict[str, float]] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() - start < 60 * args.minutes:
            round_of_work(len(curve), Path(folder), X, y)
            gc.collect()
            curve.append({"minute": (time.monotonic() - start) / 60, **state()})
            print(json.dumps(curve[-1]), flush=True)
    # the first half holds imports, caches and the allocator's growth
    late = curve[len(curve) // 2 :]
    minutes = [point["minute"] for point in late]
    slopes = {
        key: float(np.polyfit(minutes, [point[key] for point in late], 1)[0]) * 60
        for key in state()
    }
    result = {
        **how_made(),
        "rounds": len(curve),
        "rounds_in_second_half": len(late),
        "slope_per_hour_in_second_half": {key: round(value, 3) for key, value in slopes.items()},
        "first": curve[0],
        "last": curve[-1],
        "load_average": os.getloadavg(),
        "curve": [{key: round(value, 2) for key, value in point.items()} for point in curve],
    }
    write_json("soak", result, args.results)


if __name__ == "__main__":
    main()
