"""
Explain one formula, and a data set
===================================

Which element makes a prediction what it is, and which pair of elements? Shapley interactions share
a prediction out among the elements of a formula, exactly, for any model of formulas.
"""

# %%
# A model
# -------

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.datasets import load_expt_gap

gaps = load_expt_gap()
X, y = gaps.data[::6], gaps.target[::6]
model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X, y)

# %%
# One formula
# -----------
# The elements are players of a game; a coalition is worth what the model predicts for the
# sub-formula. Four elements have 16 coalitions, all of which go through the model in one batch.
# Values of single elements and of pairs add up to the prediction minus the baseline.

from sklearn_kt import explain

values = explain(model, "LiFePO4")
print(values)
total = values.baseline_value + values.to_frame()["value"].sum()
print(f"baseline + values = {total:.2f}, prediction = {model.predict(['LiFePO4'])[0]:.2f}")

# %%
# As steps from the baseline to the prediction, and as a network of elements and pairs.

label = "band gap (eV)"
values.plot("waterfall", label=label)

# %%

values.plot("network", label=label)

# %%
# What "absent" means is a choice
# -------------------------------
# Above, an absent element was dropped: LiFePO4 without lithium is FePO4, and a lone element is a
# pure element. With ``baseline="background"`` its share of the atoms is instead filled with
# compounds of the table, in turn, and the empty coalition is their mean. That question is closer
# to the data, and its answer is another.

background = explain(model, "LiFePO4", baseline="background", background=X[:60])
print(background)

# %%
# A data set
# ----------
# The mean over many formulas says what the model has learned of each element. ``min_support``
# leaves out elements and pairs that occur in few rows, where a mean is an anecdote.

from sklearn_kt.explanation import explain_dataset
from sklearn_kt.plotting import plot_pair_matrix, plot_periodic_table

table = explain_dataset(model, X[:250], min_support=3)
print(table.groupby("order").head(5).round(2).to_string(index=False))

# %%

plot_periodic_table(table, label="mean effect on the band gap (eV)")

# %%
# Pairs tell what single elements cannot: what two elements do together beyond the sum of their own
# effects. A metal with oxygen raises the prediction, for together they make an oxide. Phosphorus
# with sulfur or selenium lowers it, because each alone has already raised it to that of an
# insulator.

plot_pair_matrix(table, max_elements=16, label="mean interaction (eV)")

# %%
# An explanation speaks of the model and not of nature. Where the model is wrong, so are its
# reasons; look at the error of a prediction before its explanation.
