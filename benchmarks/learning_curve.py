"""Error against the size of the training table, with and without pretraining.

    SKLEARN_KT_DATA=<folder> python benchmarks/learning_curve.py --work <folder>

Nested random samples of the training rows of matbench_expt_gap (official fold 0) and of two
JARVIS-DFT tables (their fixed split); always the same test rows. Scores are kept one by one
in --work, and a run that was stopped goes on. Writes results/learning_curve.json and .png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sklearn_kt._files import replacing
from sklearn_kt.benchmarking import jarvis_task, matbench_task
from sklearn_kt.evaluation import library_versions, make_model

RESULTS = Path(__file__).parent / "results"
SIZES = (50, 100, 300, 1000, 3000)
MODELS = {
    "imkt": "imKT, default",
    "imkt-fast": "imKT, fast",
    "imkt-scratch": "imKT from scratch",
    "rf-magpie": "Magpie + random forest",
    "et-fractions": "extra-trees on fractions",
}
TABLES = ("matbench_expt_gap", "bulkmoduluskv", "meps")


def score(table: str, model: str, size: int, data_dir: Path | None) -> dict[str, Any]:
    """Fit on a sample of that size; mean absolute error on the test rows."""
    task = (matbench_task if table.startswith("matbench") else jarvis_task)(table, data_dir)
    train, test = task.folds[0]
    # every smaller sample is a part of the larger ones
    rows = np.random.default_rng(0).permutation(train)[:size]
    X, y = task.formulas, task.y
    estimator = make_model(model, "regression", random_state=0)
    began = time.perf_counter()
    estimator.fit(X[rows], y[rows])
    seconds = time.perf_counter() - began
    error = float(np.abs(estimator.predict(X[test]) - y[test]).mean())
    return {
        "table": table,
        "unit": task.unit,
        "model": model,
        "rows": size,
        "mae": error,
        "fit_s": round(seconds, 1),
    }


def draw(frame: pd.DataFrame, path: Path) -> None:
    """One panel a table, one line a model."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    figure, axes = plt.subplots(1, len(TABLES), figsize=(11, 3.6), layout="constrained")
    colours = ["#0072B2", "#56B4E9", "#D55E00", "#009E73", "#999999"]
    for ax, table in zip(axes, TABLES, strict=True):
        part = frame[frame["table"] == table]
        for (model, label), colour in zip(MODELS.items(), colours, strict=True):
            line = part[part["model"] == model].sort_values("rows")
            ax.plot(line["rows"], line["mae"], "o-", color=colour, label=label, markersize=4)
        ax.set(xscale="log", yscale="log", title=table, xlabel="training rows")
        unit = part["unit"].iloc[0]
        ax.set_ylabel(f"mean absolute error ({unit})" if unit else "mean absolute error")
        ax.minorticks_off()
        ax.set_xticks(SIZES, [str(size) for size in SIZES])
        ax.yaxis.set_major_locator(MaxNLocator(6))
        ax.yaxis.set_major_formatter(ScalarFormatter())
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run what is missing, then write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="where scores are kept")
    parser.add_argument("--data-dir", type=Path, help="default: SKLEARN_KT_DATA")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in SIZES:
        for table in TABLES:
            for model in MODELS:
                kept = args.work / f"{table}-{model}-{size}.json"
                if not kept.exists():
                    result = score(table, model, size, args.data_dir)
                    with replacing(kept) as part:
                        part.write_text(json.dumps(result))
                rows.append(json.loads(kept.read_text()))
                print(rows[-1], file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    content = {
        "command": "python benchmarks/learning_curve.py --work <folder>",
        "versions": library_versions(),
        "scores": rows,
    }
    (RESULTS / "learning_curve.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(frame, RESULTS / "learning_curve.png")
    columns = frame.pivot_table(index=["table", "rows"], columns="model", values="mae", sort=False)
    print(columns.to_string(float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
