"""
By way of crystal structures
============================

Explicit transfer goes through a crystal: a generator proposes structures for a formula, CHGNet, a
potential trained on calculated crystals, turns each into numbers, and a scikit-learn model reads
these beside what the formula says by itself. It needs the extra ``structures``.
"""

# %%
# Candidates
# ----------
# :class:`~sklearn_kt.structures.PrototypeGenerator` substitutes elements into 40,011 known
# crystals in the package. A composition that is among them comes back as itself, one that is not
# gets the crystals of its relatives.

from sklearn_kt.plotting import StructureDisplay
from sklearn_kt.structures import PrototypeGenerator

generator = PrototypeGenerator()
StructureDisplay.from_estimator(generator, "BaTiO3", n_candidates=3)

# %%

StructureDisplay.from_estimator(generator, "Rb2AgInBr6", n_candidates=3)

# %%
# Where a candidate is from is told, and its crystal is a pymatgen ``Structure``.

[[best, *_]] = generator.generate(["Rb2AgInBr6"])
print(dict(best.provenance))
print(best.structure)

# %%
# Predict through structures
# --------------------------
# The explicit and the implicit model on the same 150 measured band gaps. Rows without a candidate
# are predicted by a model of the formula alone; a warning counts them, and ``fallback_rows_``
# lists them.

import warnings

from sklearn.model_selection import train_test_split

from sklearn_kt import ExplicitKTRegressor, ImplicitKTRegressor
from sklearn_kt.datasets import load_expt_gap
from sklearn_kt.exceptions import CompositionWarning

X_all, y_all = load_expt_gap(return_X_y=True)
X, X_new, y, y_new = train_test_split(X_all, y_all, train_size=150, test_size=100, random_state=0)

models = {
    "explicit": ExplicitKTRegressor(random_state=0),
    "implicit": ImplicitKTRegressor(readout="fast", random_state=0),
}
with warnings.catch_warnings():
    # they are counted below
    warnings.simplefilter("ignore", CompositionWarning)
    for model in models.values():
        model.fit(X, y)
    predictions = {name: model.predict(X_new) for name, model in models.items()}

missing = models["explicit"].fallback_rows_
print(f"{len(missing)} of {len(X_new)} test rows have no structure: {X_new[missing[:3]]}")

# %%

import matplotlib.pyplot as plt

from sklearn_kt.plotting import ParityDisplay

fig, axes = plt.subplots(1, 2, figsize=(9, 5.4), layout="constrained")
for ax, (name, predicted) in zip(axes, predictions.items(), strict=True):
    display = ParityDisplay(y_new, predicted)
    display.plot(label="band gap (eV)", ax=ax)
    ax.set_title(f"{name}: {ax.get_title()}", fontsize=11)

# %%
# Here there is little between the two: for this property a structure adds little to what the
# encoder makes of the formula. For another property it may be otherwise, and there is no need to
# guess: :class:`~sklearn_kt.BlendedKTRegressor` takes both and weighs them on rows that neither
# has seen.
#
# .. code-block:: python
#
#    from sklearn_kt import BlendedKTRegressor
#
#    model = BlendedKTRegressor(random_state=0).fit(X, y)
#    print(model.weights_)
