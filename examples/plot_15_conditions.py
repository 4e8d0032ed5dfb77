"""
A property at a temperature
===========================

What is measured depends on more than the formula. Pass a table: one column of formulas, and the
conditions beside it. Here, Seebeck coefficients of doped thermoelectrics at several temperatures.
"""

# %%
# A table of measurements
# -----------------------
# 8,392 measurements of the package's table; an eighth of the formulas will do. Three materials
# that the model must not see are left out with all their temperatures.

from sklearn_kt.datasets import load_thermoelectrics

measured = load_thermoelectrics("S")
held_out = ["Bi0.5Sb1.5Te3", "Ge0.9Sb0.1Te1", "Co4Cu0.3Sb11.5Te0.5"]
train = (measured.groups % 8 == 0) & ~measured.data["formula"].isin(held_out).to_numpy()
X, y = measured.data[train], measured.target[train]
print(X.head(3))
print(len(X), "rows,", X["formula"].nunique(), "formulas")

# %%
# Fit
# ---
# Nothing has to be said: the one column of formulas is found, the others are conditions. All rows
# of one formula stay on one side of every inner split.

from sklearn_kt import ImplicitKTRegressor

model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X, y)
print(model.repeated_rows_, "rows repeat a formula")
print(model.readout_weights_)

# %%
# Against the temperature
# -----------------------
# With intervals that hold nine of ten measurements; the points are what was measured.

from sklearn_kt.plotting import ConditionDisplay

unit = "Seebeck coefficient (µV/K)"
display = ConditionDisplay.from_estimator(
    model, held_out, "temperature", measured=(measured.data, measured.target), label=unit
)

# %%
# Which part has the temperature in a prediction?
# -----------------------------------------------
# It is a player beside the elements. Absent, it is what it typically is in the training table.

from sklearn_kt import explain

values = explain(model, held_out[0], conditions={"temperature": 500})
print(values)

# %%

values.plot("waterfall", label=unit)

# %%
# At formulas that were not seen
# ------------------------------
# Folds that split the temperatures of one formula give a far better score, which says nothing of
# a formula that is new. :doc:`/results/thermoelectrics` has all properties on the recorded folds
# of the whole table, beside other models.

import warnings

import numpy as np
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict

from sklearn_kt.exceptions import ConditionWarning, UnseenElementWarning

folds = {
    "formulas apart": GroupKFold(2).split(X, groups=measured.groups[train]),
    "formulas on both sides": KFold(2, shuffle=True, random_state=0).split(X),
}
with warnings.catch_warnings():
    # a row is hotter than all that its model was fitted on, and some elements are in one fold alone
    warnings.simplefilter("ignore", ConditionWarning)
    warnings.simplefilter("ignore", UnseenElementWarning)
    for name, splits in folds.items():
        found = cross_val_predict(model, X, y, cv=list(splits))
        print(f"{name}: {mean_absolute_error(y, found):.0f} µV/K")
print(f"the median: {mean_absolute_error(y, np.full(len(y), np.median(y))):.0f} µV/K")
