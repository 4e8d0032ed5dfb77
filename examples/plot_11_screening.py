"""
Screening a large list
======================

A fitted model predicts faster than anybody can make samples. This example enumerates
charge-neutral compounds of some elements, predicts all of them, and keeps those that may absorb
sunlight as a solar cell has to: with a band gap near 1.3 eV.
"""

# %%
# A model
# -------

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.datasets import load_expt_gap

gaps = load_expt_gap()
model = ImplicitKTRegressor(readout="fast", random_state=0).fit(gaps.data[::4], gaps.target[::4])

# %%
# Candidates
# ----------
# Elements are combined in the oxidation states that SMACT knows of crystals, and what is neutral is
# kept, common states first; it needs the extra ``enumerate``. Formulas come one at a time, so that
# a list of millions needs no memory. Here they are ternary compounds of two metals and one
# chalcogen.

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
# uncertainty, ``properties`` adds what the checkpoint predicts of calculations: here the energy
# above the convex hull, in eV per atom, which tells what is likely to form. ``top_k`` ranks; the
# surest first.

import tempfile
from pathlib import Path

import pandas as pd

from sklearn_kt.screening import screen

with tempfile.TemporaryDirectory() as folder:
    everything = screen(
        model, list(candidates()), Path(folder) / "all.parquet", properties=["energy above hull"]
    )
    shortlist = screen(
        model,
        Path(folder) / "all.parquet",
        Path(folder) / "short.parquet",
        columns=["energy_above_hull"],
        where="1.1 < prediction < 1.5 and energy_above_hull < 0.05",
        top_k=10,
        sort_by="prediction_std",
        ascending=True,
    )
    table = pd.read_parquet(everything.path)
    best = pd.read_parquet(shortlist.path)

print(everything.n_predicted, "predicted,", shortlist.n_written, "kept")
print(best.round(2).to_string(index=False))

# %%
# Look at the whole list, not only at its top
# -------------------------------------------
# The best of many predictions are in part those whose errors happen to point the right way. Circles
# mark the short list, the band the gaps that were asked for.

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(5.8, 4.2), layout="constrained")
for chalcogen, colour, marker in zip(
    chalcogens, ["#E69F00", "#0072B2", "#009E73"], "os^", strict=True
):
    rows = table[[chalcogen in parse_formula(formula) for formula in table["formula"]]]
    ax.scatter(
        rows["energy_above_hull"],
        rows["prediction"],
        s=12,
        alpha=0.6,
        color=colour,
        marker=marker,
        linewidths=0,
        label=f"{chalcogen} ({len(rows)})",
    )
ax.axhspan(1.1, 1.5, color="0.92", zorder=0)
ax.scatter(best["energy_above_hull"], best["prediction"], s=60, facecolor="none", edgecolor="black")
ax.set(
    xlabel="predicted energy above hull (eV/atom)",
    ylabel="predicted band gap (eV)",
)
ax.legend(frameon=False, markerscale=1.8)
ax.spines[["top", "right"]].set_visible(False)

# %%
# The formulas are neutral on paper, and most of them will not form: the energy above the hull is
# itself a prediction, with the error that :doc:`plot_14_properties` shows. Next would be structures
# (:doc:`plot_08_structures`), and a calculation of the few that are left.
#
# On several machines, pass ``client=`` of a Dask cluster; from the command line, ``sklearn-kt
# screen`` does the same with a file.
