"""Ways to run the encoder faster on a CPU: what they gain, what they change, what is possible.

    python -m benchmarks.speed.encoder

One thread, CPU time, formulas of the bundled Seebeck table. The change of the encoder is that of
its outputs in units of each column's standard deviation, that of predictions in units of the
targets'. The roof is the time that the products of the blocks alone would take at the rate that
this processor reaches on large ones. benchmarks/results/inference.json has the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, how_made, write_json

REPEATS = 3
TRAINED_ON = 500


def cpu_us(work: Callable[[], Any], n: int) -> tuple[float, Any]:
    """CPU time of some work, the best of several, in microseconds a formula; and its result."""
    seconds, result = [], None
    for _ in range(REPEATS):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return round(min(seconds) / n * 1e6, 1), result


def roof(encoder: Any, tokens: float) -> dict[str, Any]:
    """Time of the products of the blocks at the best rate of this processor."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    sizes = [p.shape for p in encoder.backbone.blocks.parameters() if p.ndim == 2]
    mflop = 2 * sum(rows * columns for rows, columns in sizes) * tokens / 1e6
    found: dict[str, Any] = {"mflop_per_formula": round(mflop, 1)}
    for name in ("float32", "bfloat16"):
        dtype = getattr(torch, name)
        best = 0.0
        for rows, columns in set(sizes):
            x, weight = torch.randn(512, columns).to(dtype), torch.randn(rows, columns).to(dtype)
            with torch.inference_mode():
                us, _ = cpu_us(lambda: [F.linear(x, weight) for _ in range(50)], 50)  # noqa: B023
            best = max(best, 2 * 512 * rows * columns / us / 1e3)
        found[name] = {
            "gflop_per_s": round(best),
            "cpu_us_per_formula": round(mflop / best * 1e3, 1),
        }
    return found


def encoders(encoder: Any, inputs: Any) -> dict[str, Any]:
    """Time ways to run the frozen encoder."""
    import torch

    from sklearn_kt import CompositionEmbedder
    from sklearn_kt.encoder import training
    from sklearn_kt.export import export_onnx, reduce_precision

    n = len(inputs)
    embedder = CompositionEmbedder(blocks=["embedding", "properties"]).fit(["NaCl"])
    quantized = torch.ao.quantization.quantize_dynamic(
        encoder, {torch.nn.Linear}, dtype=torch.qint8
    )
    autocast = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    plain = contextlib.nullcontext
    shipped = training._FORWARD_ROWS
    ways: dict[str, tuple[Any, int, Any]] = {
        "float32": (encoder, shipped, plain),
        "float32, batches of 32": (encoder, 32, plain),
        "float32, batches of 128": (encoder, 128, plain),
        "float32, batches of 256": (encoder, 256, plain),
        "reduce_precision": (reduce_precision(embedder).encoder_.network, shipped, plain),
        "torch.autocast, bfloat16": (encoder, shipped, autocast),
        "int8 weights": (quantized, shipped, plain),
    }
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            path = export_onnx(embedder, Path(folder) / "encoder.onnx")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

        class Graph(torch.nn.Module):
            """The exported graph, fed as a network is."""

            def forward(self, **arrays: Any) -> Any:
                out = session.run(None, {name: a.numpy() for name, a in arrays.items()})
                return torch.from_numpy(np.hstack(out))

        ways["onnxruntime, float32"] = (Graph(), shipped, plain)
    found: dict[str, Any] = {}
    exact: Any = None
    for name, (module, rows, context) in ways.items():
        training._FORWARD_ROWS = rows
        with context():
            us, outputs = cpu_us(lambda: training.forward(module, inputs, device="cpu"), n)  # noqa: B023
        exact = outputs if exact is None else exact
        change = np.abs(outputs - exact) / exact.std(axis=0)
        found[name] = {
            "cpu_us_per_formula": us,
            "mean_change": float(f"{change.mean():.2g}"),
            "largest_change": float(f"{change.max():.2g}"),
        }
    training._FORWARD_ROWS = shipped
    first = found["float32"]["cpu_us_per_formula"]
    for entry in found.values():
        entry["speedup"] = round(first / entry["cpu_us_per_formula"], 2)
    return found


def models(X: np.ndarray, y: np.ndarray, rows: int) -> dict[str, Any]:
    """Time predictions of fitted models, from formulas to numbers, and what rounding does."""
    from sklearn_kt import ImplicitKTRegressor
    from sklearn_kt.export import reduce_precision

    settings: dict[str, dict[str, Any]] = {
        "readout='fast'": {"readout": "fast"},
        "one fine-tuned network": {"readout": "head", "n_estimators": 1, "max_epochs": 5},
    }
    unseen, truth = X[TRAINED_ON : TRAINED_ON + rows], y[TRAINED_ON : TRAINED_ON + rows]
    found: dict[str, Any] = {}
    for name, options in settings.items():
        model = ImplicitKTRegressor(random_state=0, **options).fit(X[:TRAINED_ON], y[:TRAINED_ON])
        exact_us, exact = cpu_us(lambda: model.predict(unseen), rows)  # noqa: B023
        reduced = reduce_precision(model)
        us, rounded = cpu_us(lambda: reduced.predict(unseen), rows)  # noqa: B023
        change = np.abs(rounded - exact) / y.std()
        found[name] = {
            "float32_cpu_us_per_formula": exact_us,
            "bfloat16_cpu_us_per_formula": us,
            "speedup": round(exact_us / us, 2),
            "mean_change": float(f"{change.mean():.2g}"),
            "largest_change": float(f"{change.max():.2g}"),
            "mean_absolute_error": [
                round(float(np.abs(values - truth).mean()), 3) for values in (exact, rounded)
            ],
        }
    return found


def main() -> None:
    """Measure, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    import torch

    from sklearn_kt import read_compositions
    from sklearn_kt.datasets import load_seebeck
    from sklearn_kt.encoder import load_checkpoint, training
    from sklearn_kt.encoder.modeling import FrozenEncoder
    from sklearn_kt.export import onnx_inputs

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X, y = load_seebeck(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    lengths = read_compositions(X[: args.rows]).n_elements + 1
    inputs = training.Inputs(onnx_inputs(X[: args.rows]), lengths)
    encoder = FrozenEncoder(*load_checkpoint("default"))
    result = {
        **how_made(),
        "tokens_per_formula": round(float(lengths.mean()), 2),
        "roof": roof(encoder, float(lengths.mean())),
        "encoder": encoders(encoder, inputs),
        "predict": models(X, y, args.rows),
        "load_average": os.getloadavg(),
    }
    write_json("inference", result, args.results)


if __name__ == "__main__":
    main()
