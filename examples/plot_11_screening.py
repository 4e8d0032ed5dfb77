"""
Screening a large list
======================

A fitted model predicts faster than anybody can make samples. This example enumerates
charge-neutral compounds of some elements, predicts all of them, and keeps a short list that is
worth a second look.
"""

# %%
# A model
# -------

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.datasets import load_seebeck

data = load_seebeck(n_samples=500, random_state=0)
model = ImplicitKTRegressor(readout="fast", random_state=0).fit(data.data, data.target)

# %%
# Candidates
# ----------
# SMACT combines elements in the oxidation states that occur in known crystals, and keeps what is
# neutral; it needs the extra ``enumerate``. Formulas come one at a time, so that a list of
# millions needs no memory. Here they are ternary compounds of two metals and one chalcogen.

from collections.abc import Iterator

from sklearn_kt.compositions import parse_formula
from sklearn_kt.screening import charge_neutral_formulas

metals = ["Cu", "Ag", "Sn", "Pb", "Bi"]
chalcogens = ["S", "Se", "Te"]


def candidates() -> Iterator[str]:
    """Ternary chalcogenides of at most eight atoms."""
    for formula in charge_neutral_formulas([*metals, *chalcogens], 8, n_elements=3):
        if len(set(parse_formula(formula)) & set(chalcogens)) == 1:
            yield formula


print(sum(1 for _ in candidates()), "formulas, such as", next(candidates()))

# %%
# Screen
# ------
# :func:`~sklearn_kt.screening.screen` streams them through the model into a parquet file. A run of
# hours that was stopped goes on when it is called again. ``where`` keeps rows by prediction and
# uncertainty, ``top_k`` the best of them.

import tempfile
from pathlib import Path

import pandas as pd

from sklearn_kt.screening import screen

with tempfile.TemporaryDirectory() as folder:
    everything = screen(model, list(candidates()), Path(folder) / "all.parquet")
    shortlist = screen(
        model,
        Path(folder) / "all.parquet",
        Path(folder) / "short.parquet",
        columns=[],
        where="prediction > 400 and prediction_std < 260",
        top_k=10,
    )
    table = pd.read_parquet(everything.path)
    best = pd.read_parquet(shortlist.path)

print(everything.n_predicted, "predicted,", shortlist.n_written, "kept")
print(best.round(0).to_string(index=False))

# %%
# Look at the whole list, not only at its top
# -------------------------------------------
# The best of many predictions are in part those whose errors happen to point upwards. The model is
# surest of metals, at the bottom left. Everything with a high prediction has a large standard
# deviation: each of these compounds may yet turn out to be a metal. Circles mark the short list.

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(5.8, 4.2), layout="constrained")
for chalcogen, colour, marker in zip(
    chalcogens, ["#E69F00", "#0072B2", "#009E73"], "os^", strict=True
):
    rows = table[[chalcogen in parse_formula(formula) for formula in table["formula"]]]
    ax.scatter(
        rows["prediction_std"],
        rows["prediction"],
        s=12,
        alpha=0.6,
        color=colour,
        marker=marker,
        linewidths=0,
        label=f"{chalcogen} ({len(rows)})",
    )
ax.scatter(best["prediction_std"], best["prediction"], s=60, facecolor="none", edgecolor="black")
ax.set(
    xlabel="standard deviation of the error (µV/K)",
    ylabel="predicted Seebeck coefficient (µV/K)",
)
ax.legend(frameon=False, markerscale=1.8)
ax.spines[["top", "right"]].set_visible(False)

# %%
# What the enumeration does not know: whether a compound exists. The formulas are neutral on paper,
# and most of them will not form. Next would be the energy above the convex hull, from the
# checkpoint's own properties (:class:`~sklearn_kt.CompositionEmbedder` with
# ``blocks=["properties"]``) or, better, from structures.
#
# On several machines, pass ``client=`` of a Dask cluster; from the command line, ``sklearn-kt
# screen`` does the same with a file.
