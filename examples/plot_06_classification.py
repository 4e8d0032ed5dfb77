"""
Classification
==============

Classes work like numbers: formulas in, probabilities out. Here the class is whether a compound
is a metal, told from its measured band gap: 0, or not.
"""

# %%
# Two classes
# -----------
# A quarter of the measured gaps in the package.

import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_kt.datasets import load_expt_gap

gaps = load_expt_gap()
formulas = gaps.data[::4]
labels = np.where(gaps.target[::4] == 0, "metal", "semiconductor")
X, X_new, y, y_new = train_test_split(
    formulas, labels, test_size=0.4, random_state=0, stratify=labels
)
for label in ("metal", "semiconductor"):
    print(label, np.sum(labels == label))

# %%
# Fit
# ---

from sklearn_kt import ImplicitKTClassifier

model = ImplicitKTClassifier(readout="fast", random_state=0)
model.fit(X, y)

for formula in ("Cu", "FeAl", "GaAs", "NaCl", "VO2"):
    metal, semiconductor = model.predict_proba([formula])[0]
    print(f"{formula:6} metal {metal:.2f}   semiconductor {semiconductor:.2f}")

# %%
# Scores
# ------
# Accuracy needs a comparison: always naming the larger class is right more often than half of the
# time.

from sklearn.metrics import classification_report

print("largest class:", max(np.mean(y_new == "metal"), np.mean(y_new != "metal")).round(2))
print(classification_report(y_new, model.predict(X_new), digits=2))

# %%
# Can the probabilities be believed?
# ----------------------------------
# Of the compounds given a probability of 80 %, about 80 % should be semiconductors. Points on the
# diagonal say that this holds; the histogram shows that most compounds are clear cases.

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay

truth = y_new == "semiconductor"
probability = model.predict_proba(X_new)[:, 1]

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
CalibrationDisplay.from_predictions(
    truth, probability, n_bins=8, strategy="quantile", ax=left, name="readout='fast'"
)
left.set(xlabel="mean predicted probability", ylabel="share of semiconductors")
right.hist(
    [probability[truth], probability[~truth]],
    bins=20,
    stacked=True,
    color=["#0072B2", "#E69F00"],
    label=["semiconductors", "metals"],
)
right.set(xlabel="probability of 'semiconductor'", ylabel="compounds")
right.legend(frameon=False)
right.spines[["top", "right"]].set_visible(False)

# %%
# Choose a threshold by its cost
# ------------------------------
# If a missed semiconductor costs five times as much as a metal taken for one, 0.5 is the wrong
# threshold. :class:`~sklearn.model_selection.TunedThresholdClassifierCV` finds the right one by
# cross-validation; with calibrated probabilities it is near 1 / (1 + 5).

for threshold in (0.5, 1 / 6):
    found = probability > threshold
    print(
        f"threshold {threshold:.2f}: {np.sum(truth & ~found)} semiconductors missed, "
        f"{np.sum(~truth & found)} metals taken for one"
    )
