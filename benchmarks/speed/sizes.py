"""Time and memory against the number of formulas, beside matminer with a random forest.

    python -m benchmarks.speed.sizes

Each part runs in a process of its own, from small to large, and what it found is kept in
benchmarks/results/speed.json at once, so a run that was stopped goes on with the part that
is not complete.
A size that would take longer than --limit, judged by the one before, is left out, and the
table says so.
Formulas are those of the bundled Seebeck table, repeated, which none of the parts notices;
targets are its coefficients. All cores that the process may use are used.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks.common import RESULTS, ROOT, how_made, read_json, write_json

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
TRAINED_ON = 1_000
SEED = 0


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Repeat the Seebeck table to so many rows."""
    from sklearn_kt.datasets import load_seebeck

    X, y = load_seebeck(return_X_y=True)
    rows = np.fromiter(itertools.islice(itertools.cycle(range(len(y))), n), np.int64)
    return X[rows], y[rows]


def tokenise(n: int) -> Callable[[], Any]:
    """Element tokens."""
    from sklearn_kt import CompositionTokenizer

    X, _ = data(n)
    tokenizer = CompositionTokenizer()
    return lambda: tokenizer.transform(X)


def embed(n: int) -> Callable[[], Any]:
    """Frozen embeddings of the bundled checkpoint."""
    from sklearn_kt import CompositionEmbedder

    X, _ = data(n)
    embedder = CompositionEmbedder("default").fit(X[:10])
    embedder.transform(X[:10])
    return lambda: embedder.transform(X)


def magpie(n: int) -> Callable[[], Any]:
    """Magpie features of matminer."""
    from sklearn_kt.evaluation import MagpieFeaturizer

    X, _ = data(n)
    featurizer = MagpieFeaturizer()
    featurizer.transform(X[:10])
    return lambda: featurizer.transform(X)


def fit(name: str) -> Callable[[int], Callable[[], Any]]:
    """Training of a model of the command line."""

    def part(n: int) -> Callable[[], Any]:
        from sklearn_kt.evaluation import make_model

        X, y = data(n)
        model = make_model(name, "regression", random_state=SEED, n_jobs=-1)
        return lambda: model.fit(X, y)

    return part


def predict(name: str) -> Callable[[int], Callable[[], Any]]:
    """Prediction by a model of the command line."""

    def part(n: int) -> Callable[[], Any]:
        model = trained(name)
        X, _ = data(n)
        return lambda: model.predict(X)

    return part


@lru_cache
def trained(name: str) -> Any:
    """Fit a model of the command line once for all sizes."""
    from sklearn_kt.evaluation import make_model

    model = make_model(name, "regression", random_state=SEED, n_jobs=-1)
    return model.fit(*data(TRAINED_ON))


def models() -> list[str]:
    """Our models of the command line, and MatBench's reference."""
    from sklearn_kt.evaluation import MODELS

    return [name for name in MODELS if name.startswith("imkt")] + ["rf-magpie"]


def parts() -> dict[str, Callable[[int], Callable[[], Any]]]:
    """All that is measured, by name."""
    found: dict[str, Callable[[int], Callable[[], Any]]] = {
        "tokenise": tokenise,
        "embed": embed,
        "magpie features": magpie,
    }
    found |= {f"fit {name}": fit(name) for name in models()}
    return found | {f"predict {name}": predict(name) for name in models()}


def peak_mb() -> int:
    """Return the most memory this process has ever held, in MB."""
    # ru_maxrss counts kilobytes on Linux and bytes on macOS
    scale = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // scale


def reason(limit: float) -> str:
    """Say why a size is left out."""
    return f"> {limit:g} s"


def measure(part: str, sizes: Iterable[int], limit: float) -> Iterator[dict[str, Any]]:
    """Measure one part, in this process; imports and set-up are not timed."""
    seconds_per_row = 0.0
    for n in sizes:
        if seconds_per_row * n > limit:
            yield {"left_out": reason(limit)}
            continue
        work = parts()[part](n)
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        seconds_per_row = seconds[0] / n
        yield {"wall_s": round(seconds[0], 4), "cpu_s": round(seconds[1], 4), "peak_mb": peak_mb()}


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--parts", nargs="+")
    parser.add_argument("--limit", type=float, default=1800, help="seconds of a part")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = sorted(args.sizes)
    if args.measure:
        for found in measure(args.measure, sizes, args.limit):
            print(json.dumps(found), flush=True)
        return
    kept = read_json("speed", args.results) or {"parts": {}}
    for name in args.parts or parts():
        done = kept["parts"].setdefault(name, {})
        found = [done.get(str(n), {}) for n in sizes]
        if all("wall_s" in f or f.get("left_out") == reason(args.limit) for f in found):
            continue
        command = [
            sys.executable,
            "-m",
            "benchmarks.speed.sizes",
            "--measure",
            name,
            "--limit",
            str(args.limit),
        ]
        with subprocess.Popen(
            [*command, "--sizes", *map(str, sizes)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            for n, line in zip(sizes, process.stdout or (), strict=False):
                done[str(n)] = json.loads(line)
                print(name, n, done[str(n)], file=sys.stderr)
                made = how_made()
                kept |= {"date": made["date"], "versions": made["versions"], **about()}
                kept.setdefault("commands", {})[name] = made["command"]
                write_json("speed", kept, args.results)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)


def about() -> dict[str, Any]:
    """Seed and load of the machine; cores that the process may use."""
    return {
        "seed": SEED,
        "cores": joblib.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


if __name__ == "__main__":
    main()
