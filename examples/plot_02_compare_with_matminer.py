"""
Cross-validate against matminer features
========================================

The usual way from a formula to a property is a table of Magpie features and a random forest. It is
a strong baseline, and a new method has to be compared with it on the same folds.
"""

# %%
# Same rows, same folds
# ---------------------
# :func:`~sklearn_kt.evaluation.evaluate` fits every model on the same folds. Those of
# :func:`~sklearn_kt.evaluation.table_task` are made by composition: without that, polymorphs of a
# training compound would be in the test part and every score would flatter.

from sklearn_kt.datasets import load_expt_gap
from sklearn_kt.evaluation import evaluate, table_task

gaps = load_expt_gap()
X, y = gaps.data[::8], gaps.target[::8]
task = table_task(X, y, kind="regression", n_splits=3, random_state=0, unit="eV")

# %%
# Three models by name: the mean of the training values, 300 random trees on Magpie features, and
# this package's transfer in its fast form. The table is an eighth of the measured band gaps in the
# package, 576 compounds.

result = evaluate(["dummy", "rf-magpie", "imkt-fast"], task)
print(result.summary()[["model", "mae", "r2", "fit_seconds"]].round(2))

# %%
# Is the difference real?
# -----------------------
# 576 rows are few. The errors of two models on the same row belong together, so the
# question is asked of their differences row by row: a bootstrap over the rows gives an interval
# for the mean difference.

import numpy as np

errors = {name: result.absolute_errors(task.name, name)[0] for name in result.models}
difference = errors["rf-magpie"] - errors["imkt-fast"]
rng = np.random.default_rng(0)
means = rng.choice(difference, (2000, len(difference))).mean(axis=1)
low, high = np.quantile(means, [0.025, 0.975])
print(
    f"MAE of the forest minus MAE of the transfer: {difference.mean():.3f} eV "
    f"(95 % interval {low:.3f} to {high:.3f})"
)

# %%
# An interval that lies above zero says that the transfer's lead is more than the luck of these
# rows. :func:`~sklearn_kt.evaluation.compare_models` does this for whole benchmarks, and
# corrects for what folds have in common.
#
# Where are the differences?

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(5.6, 4.2), layout="constrained")
order = {"dummy": "0.6", "rf-magpie": "#0072B2", "imkt-fast": "#D55E00"}
for name, colour in order.items():
    sorted_errors = np.sort(errors[name])
    share = np.arange(1, len(sorted_errors) + 1) / len(sorted_errors)
    ax.plot(sorted_errors, share, color=colour, label=name)
ax.set(
    xlim=(0, 3),
    ylim=(0, 1),
    xlabel="absolute error (eV)",
    ylabel="share of rows with an error below",
)
ax.legend(frameon=False, loc="lower right")
ax.spines[["top", "right"]].set_visible(False)
