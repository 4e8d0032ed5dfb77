"""
First prediction
================

A formula goes in, a property comes out. This example fits a model to calculated Seebeck
coefficients, predicts compounds that it has not seen, and looks at how wrong it is.
"""

# %%
# The data
# --------
# Every installation holds a table of 47,737 Seebeck coefficients at 300 K, in µV/K, calculated
# from first principles by Ricci et al. (2017). We draw 800 of them. Several crystals may share one
# composition, and the table numbers the compositions: splitting by these groups keeps a
# composition from being in both the training and the test part.

from sklearn.model_selection import GroupShuffleSplit

from sklearn_kt.datasets import load_seebeck

data = load_seebeck(n_samples=800, random_state=0)
splitter = GroupShuffleSplit(n_splits=1, test_size=0.25, random_state=0)
[(train, test)] = splitter.split(data.data, groups=data.groups)

print(data.frame.head())

# %%
# Fit and predict
# ---------------
# ``readout="fast"`` reads what the pretrained encoder in the package knows of each composition and
# fits a forest to it, in seconds. Leave it out, and networks are fine-tuned and blended in as
# well: better, and minutes instead of seconds.

from sklearn_kt import ImplicitKTRegressor

model = ImplicitKTRegressor(readout="fast", random_state=0)
model.fit(data.data[train], data.target[train])

formulas = ["PbTe", "Bi2Te3", "CoSb3", "NaCl", "Cu"]
mean, std = model.predict(formulas, return_std=True)
for formula, m, s in zip(formulas, mean, std, strict=True):
    print(f"{formula:8}{m:6.0f} ± {s:.0f} µV/K")

# %%
# The standard deviations are those of the errors that the model made on rows it had not seen while
# it was fitted. Copper, a metal, has a small Seebeck coefficient; salt, an insulator, has a large
# one.
#
# How wrong is it?
# ----------------
# The compounds held out tell. Each dot is one of them, each bar its standard deviation.

from sklearn_kt.plotting import ParityDisplay

display = ParityDisplay.from_estimator(
    model,
    data.data[test],
    data.target[test],
    return_std=True,
    label="Seebeck coefficient (µV/K)",
)

# %%
# Two clouds are visible, metals near zero and semiconductors far above. The worst errors are
# compounds that the model puts into the wrong cloud. A bar is long where similar compounds were
# predicted badly: it says how much to trust a prediction, not which way it errs.
#
# A fitted model shows in a notebook what it learned and from what:

model
