"""
Classification
==============

Classes work like numbers: formulas in, probabilities out. Here the class is what carries the
current of a thermoelectric, told from its measured Seebeck coefficient: holes where it is positive
(p-type), electrons where it is negative (n-type). A module needs legs of both.
"""

# %%
# Two classes
# -----------
# The measurements at 300 K in the package, a row for each material. A test row with an element that
# no training row has is left out: the model would guess, and warn.

import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_kt.compositions import parse_formula
from sklearn_kt.datasets import load_thermoelectrics

measured = load_thermoelectrics("S").frame
table = measured[measured["temperature"] == 300].drop_duplicates("formula")
formulas = table["formula"].to_numpy()
labels = np.where(table["S"] > 0, "p-type", "n-type")
X, X_new, y, y_new = train_test_split(
    formulas, labels, test_size=0.4, random_state=0, stratify=labels
)
known = {element for formula in X for element in parse_formula(formula)}
kept = [known >= parse_formula(formula).keys() for formula in X_new]
X_new, y_new = X_new[kept], y_new[kept]
for label in ("n-type", "p-type"):
    print(label, np.sum(y == label), "to learn from,", np.sum(y_new == label), "to judge by")

# %%
# Fit
# ---

from sklearn_kt import ImplicitKTClassifier

model = ImplicitKTClassifier(readout="fast", random_state=0)
model.fit(X, y)

for formula in ("PbTe0.99Na0.01", "PbTe0.99I0.01", "Bi0.5Sb1.5Te3", "Bi2Te2.7Se0.3", "ZnO"):
    electrons, holes = model.predict_proba([formula])[0]
    print(f"{formula:15} n-type {electrons:.2f}   p-type {holes:.2f}")

# %%
# One is wrong: iodine makes lead telluride n-type.
#
# Scores
# ------
# Accuracy needs a comparison: always naming the larger class.

from sklearn.metrics import classification_report

print("largest class:", max(np.mean(y_new == "p-type"), np.mean(y_new == "n-type")).round(2))
print(classification_report(y_new, model.predict(X_new), digits=2))

# %%
# Can the probabilities be believed?
# ----------------------------------
# Of the materials given a probability of 80 %, about 80 % should be n-type. Points on the
# diagonal say that this holds; the histogram shows that most materials are clear cases.

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay

truth = y_new == "n-type"
probability = model.predict_proba(X_new)[:, 0]

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
CalibrationDisplay.from_predictions(
    truth, probability, n_bins=6, strategy="quantile", ax=left, name="readout='fast'"
)
left.set(xlabel="mean predicted probability", ylabel="share of n-type materials")
right.hist(
    [probability[truth], probability[~truth]],
    bins=20,
    stacked=True,
    color=["#0072B2", "#E69F00"],
    label=["n-type", "p-type"],
)
right.set(xlabel="probability of 'n-type'", ylabel="materials")
right.legend(frameon=False)
right.spines[["top", "right"]].set_visible(False)

# %%
# Choose a threshold by its cost
# ------------------------------
# If a missed n-type material costs five times as much as a p-type one taken for it, 0.5 is the
# wrong threshold. :class:`~sklearn.model_selection.TunedThresholdClassifierCV` finds the right one
# by cross-validation; with calibrated probabilities it is near 1 / (1 + 5).

for threshold in (0.5, 1 / 6):
    found = probability > threshold
    print(
        f"threshold {threshold:.2f}: {np.sum(truth & ~found)} n-type materials missed, "
        f"{np.sum(~truth & found)} p-type ones taken for them"
    )

# %%
# A new dopant, or a new material?
# --------------------------------
# Most materials here are doped in series, whose members are of one type. A random split has series
# on both sides: the scores above are those of one more member. Of a material whose main elements
# no training row shares, the same model knows much less.

import warnings

from sklearn.model_selection import GroupKFold, KFold, cross_val_score

from sklearn_kt.exceptions import UnseenElementWarning


def main_elements(formula: str) -> str:
    """Name the elements of a tenth of the atoms or more."""
    amounts = parse_formula(formula)
    least = 0.1 * sum(amounts.values())
    return " ".join(sorted(element for element, n in amounts.items() if n >= least))


groups = [main_elements(formula) for formula in formulas]
folds = {
    "series on both sides": KFold(3, shuffle=True, random_state=0).split(formulas),
    "main elements apart": GroupKFold(3).split(formulas, groups=groups),
}
with warnings.catch_warnings():
    # some elements are in one fold alone
    warnings.simplefilter("ignore", UnseenElementWarning)
    for name, splits in folds.items():
        scores = cross_val_score(model, formulas, labels, cv=list(splits))
        print(f"{name}: accuracy {scores.mean():.2f}")
