"""What each part of pretraining gives: an ablation on MatBench and JARVIS-DFT tables.

Small encoders (128 wide, 3 layers) are pretrained with one objective after the other, all
on the same corpus with the same seed and number of steps, and fine-tuned as one network each
(readout="head", n_estimators=1, all other settings at their defaults), and so is the
checkpoint in the package, which is larger. One more, of the same width and depth, reads the
formula as a string, as the paper's encoder does:

    python -m benchmarks.accuracy.ablation --corpus <folder> --work <folder>

The corpus needs the teachers "chgnet" and "text" (making/default_1.json makes it).
Nothing is chosen by the scores. Everything resumes: pretraining from its last state, scores
fold by fold.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.accuracy.formula import FormulaPretrainer
from benchmarks.common import how_made, weights_of, write_json
from sklearn_kt import ImplicitKTClassifier, ImplicitKTRegressor
from sklearn_kt.benchmarking import jarvis_tasks, matbench_tasks
from sklearn_kt.evaluation import evaluate
from sklearn_kt.evaluation.records import FoldRecord
from sklearn_kt.pretraining import Corpus, CrossModalPretrainer

SCRATCH = "scratch"
# "all", by BERT on the tokens of the formula
FORMULA = "formula"
# the checkpoint in the package: larger, shown 36 times as many rows, and of another form
SHIPPED = "default"
OFF: dict[str, Any] = {
    "masked_weight": 1.0,
    "masked_fraction": 1.0,
    "property_weight": 0.0,
    "stability_temperature": None,
    "teachers": None,
}
STABLE = {**OFF, "stability_temperature": 0.25}
# with other objectives, a part of the rows is masked and the others teach
PARTLY = {**STABLE, "masked_weight": 0.1, "masked_fraction": 0.1}
ALL: dict[str, Any] = {
    **PARTLY,
    "property_weight": 1.0,
    "teachers": {"chgnet": 1.0, "text": 0.5},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "masked": OFF,
    "masked+stability": STABLE,
    "masked+stability+structure": {**PARTLY, "teachers": {"chgnet": 1.0}},
    "masked+stability+text": {**PARTLY, "teachers": {"text": 1.0}},
    "masked+stability+property": {**PARTLY, "property_weight": 1.0},
    "all": ALL,
    FORMULA: ALL,
}
TASKS = ("matbench_steels", "matbench_expt_gap", "matbench_expt_is_metal", "matbench_glass")
TABLES = (
    "piezo_max_dij",
    "piezo_max_eij",
    "piezo_max_diel",
    "piezo_max_diio",
    "min_ir_mode",
    "etc44",
    "bulkmoduluskv",
    "max_mode",
    "meps",
    "pseebeck",
)


def pretrain(variant: str, corpus_folder: Path, work: Path, steps: int) -> Path:
    """Pretrain one variant, or find it done."""
    folder = work / "checkpoints" / variant
    if not folder.exists():
        kind = FormulaPretrainer if variant == FORMULA else CrossModalPretrainer
        pretrainer = kind(
            "small",
            **VARIANTS[variant],
            max_steps=steps,
            precision="bfloat16",
            checkpoint_dir=work / "states" / variant,
            verbose=1,
        ).fit(Corpus(corpus_folder))
        pretrainer.save(folder, card=f"Ablation: {variant}.")
    return folder


def model_of(kind: str, name: str, start: str | Path | None) -> Any:
    """One network, fine-tuned; one that reads text at the rate of the others."""
    model = ImplicitKTRegressor if kind == "regression" else ImplicitKTClassifier
    begin: dict[str, Any] = {"checkpoint": start}
    if name == FORMULA:
        begin = {"checkpoint": None, "backbone": start, "backbone_learning_rate": 1e-3 / 3}
    return model(**begin, readout="head", n_estimators=1, random_state=0)


def _where(record: FoldRecord) -> str:
    """Name the machine that a model was fine-tuned on, and its torch."""
    return f"{record.versions['machine']}, torch {record.versions['torch']}"


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints and predictions")
    parser.add_argument("--data-dir", type=Path, help="default: SKLEARN_KT_DATA")
    parser.add_argument("--steps", type=int, default=4000, help="of pretraining, 512 rows each")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="of MatBench")
    args = parser.parse_args()
    checkpoints: dict[str, str | Path | None] = {SCRATCH: None}
    for variant in VARIANTS:
        checkpoints[variant] = pretrain(variant, args.corpus, args.work, args.steps)
    checkpoints[SHIPPED] = SHIPPED
    models = {
        name: (lambda kind, name=name, folder=folder: model_of(kind, name, folder))
        for name, folder in checkpoints.items()
    }
    options: dict[str, Any] = {"output_dir": args.work / "runs", "verbose": 1}
    results = [
        evaluate(models, jarvis_tasks(TABLES, args.data_dir), **options),
        evaluate(models, matbench_tasks(TASKS, args.data_dir), folds=args.folds, **options),
    ]
    frame = pd.concat([result.summary() for result in results])
    # of the last fold
    machines = {(r.model, r.task): _where(r) for result in results for r in result.records}
    table = pd.DataFrame(
        {
            "model": frame["model"],
            "task": frame["task"],
            "folds": frame["n_folds"],
            # MAE, or what is missing to a perfect ranking
            "error": frame["mae"].fillna(1 - frame["roc_auc"]),
            "fit_s": frame["fit_seconds"].round(1),
            "machine": [machines[run] for run in zip(frame["model"], frame["task"], strict=True)],
        }
    )
    errors = table.pivot_table(index="task", columns="model", values="error", sort=False)
    reduction = 1 - errors.div(errors[SCRATCH], axis=0)
    print(errors[list(models)].to_string(float_format="{:.4g}".format))
    print("\nmean relative reduction of the error against training from scratch")
    print(reduction.mean()[list(models)].to_string(float_format="{:.1%}".format))
    content = {
        **how_made(),
        # of the run called default
        "weights": sorted(weights_of().values()),
        "steps": args.steps,
        "folds": args.folds,
        "error": "MAE in the table's unit; 1 - ROC AUC for classes",
        "errors": errors[list(models)].to_dict("index"),
        "mean_relative_reduction": reduction.mean()[list(models)].to_dict(),
        "relative_reduction": reduction[list(models)].to_dict("index"),
        "runs": table.to_dict("records"),
    }
    write_json("ablation", content)


if __name__ == "__main__":
    main()
