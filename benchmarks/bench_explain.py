"""Time of explaining 1,000 formulas of four elements to order 2, exactly.

    python benchmarks/bench_explain.py

Each model runs in a process of its own. The formulas are the first distinct ones of four elements
of the bundled Seebeck table. What an explanation costs does not depend on how well a model was
trained, so training is short; "stack" is the most that the default ``readout="auto"`` can
turn out to be: five networks and 300 trees on embeddings. CPU seconds are those of all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "explain.json"
TARGET_S = 60
MODELS: dict[str, dict[str, Any]] = {
    "single network": {"readout": "head", "n_estimators": 1},
    "ensemble of five": {"readout": "head"},
    "stack": {"readout": "stack"},
}
BASELINES = {"single network": ("drop", "mask"), "ensemble of five": ("drop",), "stack": ("drop",)}


def measure(name: str, n_formulas: int) -> dict[str, Any]:
    """Fit one model and explain the formulas."""
    from sklearn_kt import ImplicitKTRegressor
    from sklearn_kt.compositions import read_compositions
    from sklearn_kt.datasets import load_seebeck
    from sklearn_kt.explain import explain_dataset

    X, y = load_seebeck(return_X_y=True)
    four = X[read_compositions(X).n_elements == 4][:n_formulas]
    assert len(four) == n_formulas
    model = ImplicitKTRegressor("default", max_epochs=1, random_state=0, **MODELS[name])
    model.fit(X[:500], y[:500])
    # imports and caches are not timed
    explain_dataset(model, four[:2])
    result = {}
    for baseline in BASELINES[name]:
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
        command = [sys.executable, __file__, "--formulas", str(arguments.formulas)]
        done = subprocess.run(
            [*command, "--model", name], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds[name] = json.loads(done.stdout)
        print(name, seconds[name], file=sys.stderr)
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "formulas": arguments.formulas,
        "elements": 4,
        "order": 2,
        "target_s": TARGET_S,
        "seconds": seconds,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scikit-learn", "torch", "shapiq")},
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
