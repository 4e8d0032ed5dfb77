"""Ways to run the encoder faster on a CPU: what they gain, and what they change.

    python benchmarks/bench_inference.py

One thread, CPU time, formulas of the bundled Seebeck table; the change is that of the outputs in
units of each column's standard deviation. benchmarks/results/inference.json has the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
REPEATS = 3


def main() -> None:
    """Measure, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_500)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    import torch

    from sklearn_kt import read_compositions, training
    from sklearn_kt.datasets import load_seebeck
    from sklearn_kt.encoder import load_checkpoint
    from sklearn_kt.encoder.modeling import FrozenEncoder
    from sklearn_kt.tokenizer import token_matrix

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X, _ = load_seebeck(return_X_y=True)
    batch = read_compositions(X[: args.rows])
    ids, amounts = token_matrix(batch)
    fractions = (amounts / amounts[:, :1]).astype(np.float32)
    inputs = training.Inputs({"input_ids": ids, "fractions": fractions}, batch.n_elements + 1)
    encoder = FrozenEncoder(*load_checkpoint("default"))
    small = torch.ao.quantization.quantize_dynamic(encoder, {torch.nn.Linear}, dtype=torch.qint8)
    exact: np.ndarray | None = None
    found: dict[str, Any] = {}

    def measure(name: str, module: Any, rows: int, context: Callable[[], Any]) -> None:
        nonlocal exact
        training._FORWARD_ROWS = rows
        seconds = []
        for _ in range(REPEATS):
            start = time.process_time()
            with context():
                outputs = training.forward(module, inputs, device="cpu")
            seconds.append(time.process_time() - start)
        exact = outputs if exact is None else exact
        change = np.abs(outputs - exact) / exact.std(axis=0)
        found[name] = {
            "cpu_us_per_formula": round(min(seconds) / args.rows * 1e6, 1),
            "mean_change": float(f"{change.mean():.2g}"),
            "largest_change": float(f"{change.max():.2g}"),
        }

    half = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    measure("float32, 128 rows", encoder, 128, contextlib.nullcontext)
    measure("float32, 64 rows", encoder, 64, contextlib.nullcontext)
    measure("float32, 256 rows", encoder, 256, contextlib.nullcontext)
    measure("bfloat16, 128 rows", encoder, 128, half)
    measure("int8 weights, 128 rows", small, 128, contextlib.nullcontext)
    first = found["float32, 128 rows"]["cpu_us_per_formula"]
    for entry in found.values():
        entry["speedup"] = round(first / entry["cpu_us_per_formula"], 2)
    result = {
        "command": f"python benchmarks/bench_inference.py --rows {args.rows}",
        "date": datetime.now(UTC).date().isoformat(),
        "encoder": found,
        "load_average": os.getloadavg(),
    }
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / "inference.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
