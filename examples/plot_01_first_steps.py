"""
First steps
===========

From a table of formulas to predictions with error bars, in ten minutes. Everything on this page ran
as it stands when the page was built.
"""

# %%
# A table
# -------
# Any container of formulas will do: a list, an array, a column of pandas or polars, pymatgen
# ``Composition`` objects, or dicts of amounts. The package brings along a table that every
# materials scientist can judge: measured band gaps of 4,604 compounds, in eV. A sixth of them is
# enough to begin with; some of the others will tell how good the model is.

from sklearn_kt.datasets import load_expt_gap

gaps = load_expt_gap()
X, y = gaps.data[::6], gaps.target[::6]
X_new, y_new = gaps.data[1::9], gaps.target[1::9]
print(gaps.frame[["composition", "gap expt"]].sample(5, random_state=0))

# %%
# Your own table is read with pandas. Sodium nitride is spelled like a missing value, so say that it
# is none:

from io import StringIO

import pandas as pd

file = StringIO("formula,gap\nNaN,0.0\nFe2O3,2.2\nBa0.5Sr0.5TiO3,3.2\n")
table = pd.read_csv(file, keep_default_na=False, na_values=[""])
print(table["formula"].tolist())

# %%
# What is not a composition is an error that names the row:

from sklearn_kt import read_compositions
from sklearn_kt.exceptions import CompositionError

try:
    read_compositions(["Fe2O3", "fe2o3"])
except CompositionError as error:
    print(error)

# %%
# Fit and predict
# ---------------
# ``readout="fast"`` takes seconds: forests read what the pretrained encoder in the package knows of
# each composition. The default, ``readout="auto"``, also fine-tunes networks and blends them in by
# how well they did on rows that none had seen. It takes minutes, shows a progress bar with
# ``verbose=1``, and is the better choice for a result that counts.

from sklearn_kt import ImplicitKTRegressor

model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X, y)

# of textbooks, and not in the table
textbook = {"GaAs": 1.42, "CdTe": 1.44, "ZnO": 3.4, "NaCl": 8.5, "Cu": 0.0}
mean, std = model.predict(list(textbook), return_std=True)
for (formula, gap), m, s in zip(textbook.items(), mean, std, strict=True):
    print(f"{formula:6}{m:z6.2f} ± {s:.2f} eV    textbook: {gap}")

# %%
# A fitted model shows in a notebook what it learned and from what:

model

# %%
# Error bars
# ----------
# The standard deviations above are those of the errors that the model made on rows that it had not
# seen while it was fitted. An interval should hold the truth for nine of ten compounds like those
# of the table; :doc:`/guide/uncertainty` says what that rests on.

intervals = model.predict_interval(list(textbook), coverage=0.9)
for formula, (low, high) in zip(textbook, intervals, strict=True):
    print(f"{formula:6}{low:z6.2f} to {high:.2f} eV")

# %%
# How good is it?
# ---------------
# The compounds left out tell. Each dot is one of them, each bar its standard deviation.

from sklearn_kt.plotting import ParityDisplay

ParityDisplay.from_estimator(model, X_new, y_new, return_std=True, label="band gap (eV)")

# %%
# Half of the compounds are metals, with a gap of 0. The worst errors are metals taken for something
# else, and the other way round. A bar is long where similar compounds were predicted badly: it says
# how much to trust a prediction, not which way it errs.
#
# A number becomes good or bad beside that of another model on the same folds.
# :func:`~sklearn_kt.evaluation.evaluate` runs models by name; no composition is on both sides of a
# split.

from sklearn_kt.evaluation import evaluate, table_task

task = table_task(X, y, kind="regression", n_splits=3)
result = evaluate(["dummy", "imkt-fast"], task)
print(result.summary()[["model", "mae", "mae_std"]].round(3))

# %%
# ``dummy`` predicts the median. The baseline to beat is ``rf-magpie``, 300 random trees on
# matminer's Magpie features: :doc:`plot_02_compare_with_matminer`.
#
# Why this prediction?
# --------------------
# Each element and each pair of elements gets its share of the difference between the prediction and
# a baseline; :doc:`plot_07_explain` shows the pictures. It needs the extra ``explain``.

from sklearn_kt import explain

print(explain(model, "Cs2AgBiBr6"))

# %%
# Keep the model
# --------------
# A model file holds its weights, so the folder that it was pretrained from may go. It is no pickle:
# loading it runs no code from the file, and what was changed since it was written is noticed.

import tempfile
from pathlib import Path

from sklearn_kt import load_model, save_model

with tempfile.TemporaryDirectory() as folder:
    save_model(model, Path(folder) / "gap.model")
    again = load_model(Path(folder) / "gap.model")
print(again.predict(["GaAs"]) == model.predict(["GaAs"]))

# %%
# The same from the command line
# ------------------------------
# .. code-block:: console
#
#    $ sklearn-kt evaluate --data train.csv --target gap --models imkt-fast,rf-magpie
#    $ sklearn-kt fit train.csv --target gap --unit eV --output gap.model
#    $ sklearn-kt predict gap.model new.csv --output predictions.csv
#    $ sklearn-kt explain gap.model Cs2AgBiBr6
#
# Where to go on
# --------------
# - :doc:`index`: scripts with pictures.
# - :doc:`/guide/settings`: which settings for which table.
# - :doc:`/guide/conditions`: properties that depend on temperature or processing.
# - :doc:`/results/index`: how good it is, beside other models.
# - :doc:`/guide/checkpoint`: what the pretrained weights saw, and what they must not be scored on.
