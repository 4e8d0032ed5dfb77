"""Time and memory against the number of formulas, beside matminer with a random forest.

    python benchmarks/bench_speed.py

Each part runs in a process of its own, from small to large, and what it found is kept in
benchmarks/results/speed.json at once, so a run that was stopped goes on with the part that
is not complete; benchmarks/results/speed.md and speed.png are drawn at the end of each run.
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
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np

RESULTS = Path(__file__).parent / "results"
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
    """Measure what is missing, then draw."""
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
    path = args.results / "speed.json"
    args.results.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {"parts": {}}
    for name in args.parts or parts():
        done = kept["parts"].setdefault(name, {})
        found = [done.get(str(n), {}) for n in sizes]
        if all("wall_s" in f or f.get("left_out") == reason(args.limit) for f in found):
            continue
        command = [sys.executable, __file__, "--measure", name, "--limit", str(args.limit)]
        with subprocess.Popen(
            [*command, "--sizes", *map(str, sizes)], stdout=subprocess.PIPE, text=True
        ) as process:
            for n, line in zip(sizes, process.stdout or (), strict=False):
                done[str(n)] = json.loads(line)
                print(name, n, done[str(n)], file=sys.stderr)
                kept |= about()
                kept.setdefault("commands", {})[name] = shlex.join(
                    ["python", "benchmarks/bench_speed.py", *sys.argv[1:]]
                )
                path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    (args.results / "speed.md").write_text(page(kept), encoding="utf-8")
    draw(kept, args.results / "speed.png")
    print(args.results / "speed.md")


def about() -> dict[str, Any]:
    """Date, versions, machine."""
    from sklearn_kt.evaluation import library_versions

    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seed": SEED,
        "versions": library_versions(),
        "cores": joblib.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def page(kept: dict[str, Any]) -> str:
    """Render a table: seconds and peak memory by number of formulas."""
    sizes = sorted({int(n) for done in kept["parts"].values() for n in done})
    commands = ", ".join(f"`{command}`" for command in dict.fromkeys(kept["commands"].values()))
    lines = [
        "# Speed and memory\n",
        f"{kept['date']}, {commands}, seed {kept['seed']}; "
        + ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
        + f"; cores: {kept['cores']}, load average {kept['load_average']}. Wall-clock "
        "seconds (peak memory in MB of the whole process) by number of formulas; "
        f"prediction is by a model trained on {TRAINED_ON:,} rows. What would take longer than "
        "the limit, judged by the size before, was left out.\n",
        "| part | " + " | ".join(f"{n:,}" for n in sizes) + " |",
        "| --- |" + " --- |" * len(sizes),
    ]
    for name, done in kept["parts"].items():
        cells = []
        for n in sizes:
            found = done.get(str(n), {})
            if "wall_s" in found:
                cells.append(f"{found['wall_s']:.3g} ({found['peak_mb']:,})")
            else:
                cells.append(found.get("left_out", ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(kept: dict[str, Any], path: Path) -> None:
    """Draw seconds and memory against the number of formulas, log-log."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2)
    colors: dict[str, str] = {}
    for name, done in kept["parts"].items():
        kind, _, model = name.partition(" ")
        marker = {"fit": "s", "predict": "^"}.get(kind, "o")
        # one of a model, whatever it does
        color = colors.setdefault(model if marker != "o" else name, f"C{len(colors)}")
        rows = [(int(n), found) for n, found in done.items() if "wall_s" in found]
        style = "--" if "magpie" in name else "-"
        for axis, key in zip(axes, ("wall_s", "peak_mb"), strict=True):
            axis.plot(
                [n for n, _ in rows],
                [found[key] for _, found in rows],
                style,
                color=color,
                marker=marker,
                label=name,
            )
    for axis, label in zip(axes, ("seconds", "peak memory, MB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="formulas", ylabel=label)
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
