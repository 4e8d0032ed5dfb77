"""Time of explaining 1,000 formulas of four elements to order 2, exactly.

    python -m benchmarks.speed.explain

Each model runs in a process of its own. The formulas are the first distinct ones of four elements
of the bundled Seebeck table; the models learn from 500 others. What networks cost does not depend
on how well they were trained, so they are trained for one epoch, but what the default estimator
blends does: "shares" says what it was. CPU seconds are those of all threads, and hardly depend on
what else runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.common import how_made, write_json

TARGET_S = 60
MODELS: dict[str, dict[str, Any]] = {
    "single network": {"readout": "head", "n_estimators": 1, "max_epochs": 1},
    "networks": {"readout": "head", "max_epochs": 1},
    "readout fast": {"readout": "fast"},
    "default": {},
}
MASKS = ("single network",)


def measure(name: str, n_formulas: int) -> dict[str, Any]:
    """Fit one model and explain the formulas."""
    from sklearn_kt import ImplicitKTRegressor
    from sklearn_kt.compositions import read_compositions
    from sklearn_kt.datasets import load_seebeck
    from sklearn_kt.explanation import explain_dataset

    X, y = load_seebeck(return_X_y=True)
    four = X[read_compositions(X).n_elements == 4][:n_formulas]
    assert len(four) == n_formulas
    model = ImplicitKTRegressor("default", random_state=0, **MODELS[name])
    rest = np.setdiff1d(np.arange(len(X)), np.flatnonzero(np.isin(X, four)))
    train = np.random.default_rng(0).choice(rest, 500, replace=False)
    model.fit(X[train], y[train])
    # imports and caches are not timed
    explain_dataset(model, four[:2])
    shares = {part: round(share, 2) for part, share in model.readout_weights_.items()}
    result: dict[str, Any] = {"shares": shares}
    for baseline in ("drop", "mask") if name in MASKS else ("drop",):
        wall, cpu = time.perf_counter(), time.process_time()
        table = explain_dataset(model, four, max_order=2, baseline=baseline)
        assert table["count"].sum() == 10 * n_formulas
        seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        result[f"baseline={baseline}"] = {key: round(s, 1) for key, s in seconds.items()}
    return result


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--formulas", type=int, default=1000)
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.model:
        print(json.dumps(measure(arguments.model, arguments.formulas)))
        return
    seconds: dict[str, Any] = {}
    for name in MODELS:
        command = [
            sys.executable,
            "-m",
            "benchmarks.speed.explain",
            "--formulas",
            str(arguments.formulas),
        ]
        done = subprocess.run(
            [*command, "--model", name], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds[name] = json.loads(done.stdout)
        print(name, seconds[name], file=sys.stderr)
    result = {
        **how_made(),
        "shapiq": version("shapiq"),
        "formulas": arguments.formulas,
        "elements": 4,
        "order": 2,
        "target_s": TARGET_S,
        "seconds": seconds,
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }
    write_json("explain", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
