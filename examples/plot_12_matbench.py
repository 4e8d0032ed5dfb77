"""
MatBench in ten lines
=====================

MatBench v0.1 is the benchmark that most published models of materials report. Its folds are fixed,
and so is what counts as a score: the mean over five folds, each fitted from the start.
"""

# %%
# The ten lines
# -------------
# With the tables in the folder that ``SKLEARN_KT_DATA`` names (``load_matbench(...,
# download=True)`` gets them from their authors when you allow it), a benchmark of tasks that read
# formulas is:
#
# .. code-block:: python
#
#    from sklearn_kt import ImplicitKTRegressor
#    from sklearn_kt.benchmarking import matbench_tasks
#    from sklearn_kt.evaluation import compare_models, evaluate
#
#    models = {"imkt": ImplicitKTRegressor(random_state=0), "rf-magpie": "rf-magpie"}
#    tasks = matbench_tasks(["matbench_expt_gap", "matbench_steels"])
#    result = evaluate(models, tasks, output_dir="results", n_jobs=2, verbose=1)
#    print(result.summary())
#    print(compare_models(result, "rf-magpie"))
#
# ``output_dir`` keeps every fold as soon as it is done: a run that was stopped goes on from there.
# :func:`~sklearn_kt.benchmarking.write_official` writes what a submission to MatBench needs.
#
# On this page
# ------------
# The table of measured gaps, ``matbench_expt_gap``, is part of the package, with its official
# folds; the others are files that you have.

from sklearn_kt.benchmarking import matbench_tasks

[task] = matbench_tasks("matbench_expt_gap")
print(task.name, len(task.y), "rows,", task.target, f"({task.unit})")

# %%
# Two models on two of the five folds, to keep the page quick: a small forest on what our encoder
# knows, and the same forest on nothing but the amounts. Scores of two folds are no MatBench scores:
# leave ``folds`` out for those.

from sklearn.ensemble import ExtraTreesRegressor
from sklearn.pipeline import make_pipeline
from sklearn_kt import CompositionTokenizer, ImplicitKTRegressor
from sklearn_kt.evaluation import evaluate

forest = ExtraTreesRegressor(30, max_features=0.2, random_state=0)
models = {
    "transfer": ImplicitKTRegressor(readout=forest, random_state=0),
    "amounts": make_pipeline(CompositionTokenizer("fraction"), forest),
}
result = evaluate(models, task, folds=[0, 1])
print(result.summary()[["model", "task", "n_folds", "mae", "mae_std", "fit_seconds"]].round(3))

# %%
# A difference with its interval
# ------------------------------
# Folds share most of their training rows, so their scores are not independent. ``compare_models``
# corrects for that; two folds give a very wide interval, and an honest "tie" unless the models are
# far apart.

from sklearn_kt.evaluation import compare_models

comparison = compare_models(result, "amounts")
print(comparison[["model", "baseline", "difference", "low", "high", "verdict"]].round(3))

# %%
# What the model had seen before
# ------------------------------
# A pretrained model may know test compounds. The audit looks every test row up among the
# compositions that the checkpoint was pretrained on, and scores can be restricted to rows that it
# never saw. The tasks of MatBench that come from calculations, such as ``mp_gap``, are in the
# default checkpoint's training data with their labels, and loading them warns: it must not be
# scored on them.

unseen = result.summary("unseen")
print(unseen[["model", "n_test", "mae"]].round(3))

# %%
# Row by row, on the folds that were run:

import matplotlib.pyplot as plt

fig, axes = plt.subplots(1, 2, figsize=(8.4, 4), layout="constrained", sharex=True, sharey=True)
for ax, name in zip(axes, models, strict=True):
    records = [record for record in result.records if record.model == name]
    for record in records:
        truth = task.y[task.folds[record.fold][1]]
        ax.scatter(truth, record.predictions, s=14, alpha=0.7, label=f"fold {record.fold}")
    limits = [task.y.min(), task.y.max()]
    ax.plot(limits, limits, color="0.55", linewidth=1, zorder=0)
    ax.set(title=name, xlabel=f"true {task.target} ({task.unit})")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel(f"predicted {task.target} ({task.unit})")
axes[0].legend(frameon=False)
