"""Speed and memory of the estimators, beside matminer's Magpie with a random forest.

Run on an idle machine; the comparison needs matbench_expt_gap, in a folder given as
--data-dir or in SKLEARN_KT_DATA:

    python benchmarks/bench_estimators.py

Each part runs in a process of its own. CPU seconds are those of one thread (threads that
wait for each other would count), so they hardly depend on what else runs on the machine;
wall-clock seconds are those of all cores. The other formulas are those of the bundled
Seebeck table, repeated to the number of rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "estimators.json"
MODULES = ("sklearn_kt", "sklearn_kt.implicit", "sklearn_kt.cli")
IMPORT_REPEATS = 5
N_TREES = 300


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Do the work; return what it gives, and its wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = work()
    seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return value, {unit: round(figure, 3) for unit, figure in seconds.items()}


def peak_mb() -> int:
    """Return the most memory this process has ever held, in MB."""
    # ru_maxrss counts kilobytes on Linux and bytes on macOS
    scale = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // scale


def many_formulas(n_rows: int) -> list[str]:
    """Repeat the formulas of the Seebeck table to as many rows."""
    from sklearn_kt.datasets import load_seebeck

    return list(itertools.islice(itertools.cycle(load_seebeck().data), n_rows))


def single_network() -> Any:
    """One trained network: what prediction costs does not depend on its quality."""
    from sklearn_kt import ImplicitKTRegressor
    from sklearn_kt.datasets import load_seebeck

    X, y = load_seebeck(n_samples=500, random_state=0, return_X_y=True)
    return ImplicitKTRegressor(n_estimators=1, readout="head", max_epochs=1, random_state=0).fit(
        X, y
    )


def readout(kind: str, data_dir: Path | None) -> dict[str, Any]:
    """Fit and predict the first official fold of matbench_expt_gap."""
    import torch  # noqa: F401 - imports are not timed
    from sklearn.metrics import mean_absolute_error
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    import sklearn_kt.training  # noqa: F401
    from sklearn_kt import ImplicitKTRegressor
    from sklearn_kt.datasets import load_matbench
    from sklearn_kt.evaluation import make_model

    data = load_matbench("matbench_expt_gap", data_dir)
    train, test = data.folds[0]
    n_jobs = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else -1
    model: Any
    if kind == "rf-magpie":
        model = make_model("rf-magpie", "regression", random_state=0, n_jobs=n_jobs)
    else:
        svr = make_pipeline(StandardScaler(), SVR(C=10, epsilon=0.02))
        model = ImplicitKTRegressor("default", readout=svr)

    def fit_and_predict() -> np.ndarray:
        return model.fit(data.data[train], data.target[train]).predict(data.data[test])

    predictions, seconds = timed(fit_and_predict)
    mae = mean_absolute_error(data.target[test], predictions)
    return {**seconds, "mae_ev": round(float(mae), 3)}


def rate(n_rows: int) -> dict[str, Any]:
    """Predict with one network, from strings to numbers."""
    model = single_network()
    formulas = many_formulas(n_rows)
    model.predict(formulas[:1000])
    _, seconds = timed(lambda: model.predict(formulas))
    return {"rows": n_rows, **seconds}


def memory(n_rows: int) -> dict[str, Any]:
    """Memory before and after predicting a list of formulas."""
    model = single_network()
    formulas = many_formulas(n_rows)
    before = peak_mb()
    predictions = model.predict(formulas)
    assert np.isfinite(predictions).all()
    return {"rows": n_rows, "before_mb": before, "peak_mb": peak_mb()}


def command_line_memory(n_rows: int) -> dict[str, Any]:
    """Memory of ``sklearn-kt predict`` on a CSV file."""
    import joblib

    from sklearn_kt.cli import main

    with tempfile.TemporaryDirectory() as folder:
        model, table = Path(folder) / "model", Path(folder) / "formulas.csv"
        joblib.dump(single_network(), model)
        table.write_text("\n".join(["formula", *many_formulas(n_rows), ""]), encoding="utf-8")
        output = str(Path(folder) / "predictions.csv")
        code, seconds = timed(lambda: main(["predict", str(model), str(table), "--output", output]))
        assert code == 0
    return {"rows": n_rows, "peak_mb": peak_mb(), **seconds}


def import_seconds() -> dict[str, float]:
    """Wall-clock seconds of an import, beyond those of starting Python; best of some."""

    def best(code: str) -> float:
        seconds = []
        for _ in range(IMPORT_REPEATS):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    empty = best("")
    return {name: round(best(f"import {name}") - empty, 3) for name in MODULES}


def in_process(
    part: str, argument: object, data_dir: Path | None, *, one_thread: bool = False
) -> dict[str, Any]:
    """Run one part in a fresh process."""
    command = [sys.executable, __file__, "--part", part, str(argument)]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if one_thread else {})
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    print(part, argument, done.stdout.strip(), file=sys.stderr)
    return json.loads(done.stdout)


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rows", type=int, default=20_000, help="for the rate of prediction")
    parser.add_argument("--memory-rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    parts: dict[str, Callable[[str], dict[str, Any]]] = {
        "readout": lambda kind: readout(kind, arguments.data_dir),
        "rate": lambda rows: rate(int(rows)),
        "memory": lambda rows: memory(int(rows)),
        "command-line": lambda rows: command_line_memory(int(rows)),
    }
    if arguments.part:
        part, argument = arguments.part
        print(json.dumps(parts[part](argument)))
        return

    def one_thread(part: str, argument: object) -> dict[str, Any]:
        return in_process(part, argument, arguments.data_dir, one_thread=True)

    def both(part: str, argument: object) -> dict[str, Any]:
        """Wall-clock seconds of all cores, CPU seconds of one thread."""
        everything = in_process(part, argument, arguments.data_dir)
        return {**everything, "cpu_s": one_thread(part, argument)["cpu_s"]}

    kinds = {name: both("readout", name) for name in ("frozen-readout", "rf-magpie")}
    ratios = {
        f"rf-magpie / frozen-readout, {unit}": round(
            kinds["rf-magpie"][unit] / kinds["frozen-readout"][unit], 1
        )
        for unit in ("cpu_s", "wall_s")
    }
    speed = both("rate", arguments.rows)
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "matbench_expt_gap, fold 0, fit and predict": {**kinds, **ratios},
        "predict, n_estimators=1": {
            **speed,
            "formulas_per_second, all cores": round(arguments.rows / speed["wall_s"]),
            "formulas_per_cpu_second": round(arguments.rows / speed["cpu_s"]),
        },
        "memory of predict": [one_thread("memory", rows) for rows in arguments.memory_rows],
        "memory of sklearn-kt predict": [
            one_thread("command-line", rows) for rows in arguments.memory_rows
        ],
        "import seconds": import_seconds(),
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("numpy", "scikit-learn", "torch", "skorch", "matminer")
            },
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
