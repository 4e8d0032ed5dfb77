"""What a screening costs: microseconds of each part, and rates of one and two workers.

    python -m benchmarks.speed.screening

Parts are timed in CPU seconds of one thread on formulas of the bundled Seebeck table; rates are
those of `screen` alone and on Dask clusters of worker processes, model and imports loaded, with
the encoder in float32 and in bfloat16.
benchmarks/results/screening.json has both, and the load of the machine: rates of wall time mean
something on an idle one only (--no-rates leaves them out).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import RESULTS, how_made, write_json

TRAINED_ON = 500


def cpu_us(work: Callable[[], Any], n: int) -> float:
    """CPU time of some work, in microseconds a formula."""
    work()
    start = time.process_time()
    work()
    return round((time.process_time() - start) / n * 1e6, 2)


def parts(model: Any, X: np.ndarray) -> dict[str, float]:
    """Time what a prediction of the fast readout consists of."""
    from sklearn_kt import read_compositions
    from sklearn_kt.descriptors import elemental_descriptors
    from sklearn_kt.encoder.training import forward
    from sklearn_kt.screening.tasks import row_keys

    batch = read_compositions(X)
    inputs = model.encoder_.inputs(batch)
    work: dict[str, Callable[[], Any]] = {
        "read formulas": lambda: read_compositions(X),
        "find duplicates": lambda: np.unique(row_keys(batch)),
        "descriptors": lambda: elemental_descriptors(batch),
        "encoder": lambda: forward(model.encoder_.network, inputs, device="cpu"),
        "predict": lambda: model.predict(batch),
        "predict with standard deviation": lambda: model.predict(batch, return_std=True),
    }
    return {name: cpu_us(run, len(X)) for name, run in work.items()}


def rate(model: Any, X: np.ndarray, workers: int) -> float:
    """Formulas a second of wall time."""
    from sklearn_kt.screening import screen

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.parquet"
        pq.write_table(pa.table({"formula": X}), source, row_group_size=max(1, len(X) // 16))

        def run(name: str, client: Any = None) -> float:
            start = time.perf_counter()
            screen(model, source, Path(folder) / name, client=client, deduplicate=False)
            return len(X) / (time.perf_counter() - start)

        if workers == 0:
            return round(run("alone"))
        from distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address=None,
                host="127.0.0.1",
            ) as cluster,
            Client(cluster) as client,
        ):
            run("warm", client)
            return round(run("measured", client))


def main() -> None:
    """Measure, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--no-rates", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    from sklearn_kt import ImplicitKTRegressor
    from sklearn_kt.datasets import load_seebeck
    from sklearn_kt.export import reduce_precision

    X, y = load_seebeck(return_X_y=True)
    model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X[:TRAINED_ON], y[:TRAINED_ON])
    reduced = reduce_precision(model)
    X = X[: args.rows]
    result: dict[str, Any] = {
        **how_made(),
        "model": f"ImplicitKTRegressor(readout='fast') on {TRAINED_ON} rows",
        "cpu_us_per_formula": parts(model, X),
        "cpu_us_per_formula_bfloat16": parts(reduced, X),
    }
    if not args.no_rates:
        for name, used in (("float32", model), ("bfloat16", reduced)):
            result[f"formulas_per_second_{name}"] = {
                "this process": rate(used, X, 0),
                "1 worker": rate(used, X, 1),
                "2 workers": rate(used, X, 2),
            }
    result["load_average"] = os.getloadavg()
    write_json("screening", result, args.results)


if __name__ == "__main__":
    main()
