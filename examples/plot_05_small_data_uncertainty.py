"""
Small data, with uncertainty
============================

Measured tables have a few hundred rows. Then the question is less which model is best than how far
each prediction can be trusted.
"""

# %%
# Two hundred rows
# ----------------
# Measured thermal conductivities of thermoelectrics at 300 K. We train on 200 materials and keep
# the others to check what the model says of itself. In practice these are what you do not have.
# Materials with an element that fewer than ten have are left out: 200 rows may have none of it, and
# predictions warn of what they can only guess.

from collections import Counter

from sklearn.model_selection import train_test_split

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.compositions import parse_formula
from sklearn_kt.datasets import load_thermoelectrics

measured = load_thermoelectrics("k").frame
table = measured[measured["temperature"] == 300].drop_duplicates("formula")
count = Counter(element for formula in table["formula"] for element in parse_formula(formula))
common = [min(count[e] for e in parse_formula(formula)) >= 10 for formula in table["formula"]]
X_all, y_all = table["formula"][common].to_numpy(), table["k"][common].to_numpy()
X, X_new, y, y_new = train_test_split(X_all, y_all, train_size=200, random_state=0)
print(len(X), "materials to learn from,", len(X_new), "to check")

model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X, y)

# %%
# Intervals
# ---------
# ``predict_interval`` gives bounds that should hold the truth for a given share of compounds like
# those of the table. They come from the errors of inner folds, and are wide where such errors were
# large.

import numpy as np

for asked in (0.5, 0.7, 0.8, 0.9, 0.95):
    low, high = model.predict_interval(X_new, coverage=asked).T
    got = np.mean((low <= y_new) & (y_new <= high))
    print(f"asked {asked:.0%}, got {got:.1%}; median width {np.median(high - low):.2f} W/(m K)")

# %%
# The same as a picture: on the diagonal, intervals hold what they promise, and the grey band is
# what chance alone does to perfect intervals with so many rows. Those of ``predict_interval`` are
# a little wide in the middle, and hold what they promise at 90 %. The dashed line shows what
# happens if the standard deviations are read as those of a normal distribution: most errors here
# are small and a few are huge, and the intervals in the middle are much too wide. Ask the model
# for bounds; the standard deviation is for ranking.

from sklearn_kt.plotting import IntervalReliabilityDisplay

display = IntervalReliabilityDisplay.from_estimator(model, X_new, y_new, name="predict_interval")
mean, std = model.predict(X_new, return_std=True)
IntervalReliabilityDisplay.from_predictions(
    y_new, mean, std, name="standard deviations, read as normal", ax=display.ax_
)
display.ax_.legend(loc="lower right", fontsize=8, frameon=False, bbox_to_anchor=(1.0, 0.1))

# %%
# Do the bars mean anything?
# --------------------------
# If the model knows which predictions are bad, then throwing away those with the largest standard
# deviation must lower the error of the rest.

import matplotlib.pyplot as plt

error = np.abs(mean - y_new)
kept = np.arange(len(error), 19, -1)
by_std = [error[np.argsort(std)[:n]].mean() for n in kept]
by_error = [np.sort(error)[:n].mean() for n in kept]

fig, ax = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
ax.plot(kept / len(error), by_std, color="#0072B2", label="kept by standard deviation")
ax.plot(kept / len(error), by_error, color="0.6", ls="--", label="kept by the error itself (ideal)")
ax.axhline(error.mean(), color="#D55E00", ls=":", label="kept at random")
ax.set(xlabel="share of materials kept", ylabel="mean absolute error (W/(m K))", xlim=(1, 0))
ax.set_ylim(0, 1.35 * error.mean())
ax.legend(frameon=False, fontsize=9)
ax.spines[["top", "right"]].set_visible(False)

# %%
# Would more rows help?
# ---------------------
# scikit-learn's learning curve takes the estimators as they are. A curve that still falls at its
# end says that the next hundred rows are worth their price. This one is nearly level: they would
# bring little for materials like these.

from sklearn.model_selection import LearningCurveDisplay, ShuffleSplit

display = LearningCurveDisplay.from_estimator(
    ImplicitKTRegressor(readout="fast", random_state=0),
    X_all,
    y_all,
    cv=ShuffleSplit(n_splits=3, train_size=290, test_size=100, random_state=0),
    train_sizes=[150, 210, 290],
    scoring="neg_mean_absolute_error",
    negate_score=True,
    score_type="test",
    score_name="mean absolute error (W/(m K))",
)
display.ax_.set_ylim(0)

# %%
# Three warnings. Intervals speak of compounds like those of the table: of another chemistry they
# are too narrow. (Most materials here are doped in series, of which others were learned from:
# :doc:`plot_06_classification` shows what that is worth.) Below 12 rows there is nothing to learn
# errors from, and ``return_std`` is an error. And an interval for one compound is not the
# probability of a whole list of them: of ten intervals at 90 %, one misses on average.
