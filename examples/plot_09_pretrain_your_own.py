"""
Pretrain on your own corpus and teacher
=======================================

The encoder in the package learned from public calculations. Who has a corpus closer to the
question, or a better teacher, can pretrain an encoder in three steps: write a corpus, let teachers
embed its crystals, and train. Everything here is small, so that it takes seconds; the larger
checkpoint in the package took 43,000 steps on 422,000 compositions.
"""

# %%
# The task
# --------
# A small table of p-type Seebeck coefficients, and a large one of the n-type. The n-type values
# are the corpus. Compositions of the small table, its test rows above all, are left out of the
# corpus: what a model was pretrained on it must not be scored on.

import numpy as np

from sklearn_kt.datasets import load_seebeck
from sklearn_kt.compositions import composition_groups

small = load_seebeck("p", n_samples=700, random_state=0)
large = load_seebeck("n", n_samples=5000, random_state=1)
both = composition_groups(np.concatenate([small.data, large.data]))
new = ~np.isin(both[len(small.data) :], both[: len(small.data)])
formulas, values = large.data[new], large.target[new]
print(len(formulas), "compounds in the corpus")

# %%
# The corpus
# ----------
# A corpus takes any number of tables, each with some properties, and crystals where there are any.
# The crystals here are those of the prototype library in the package.

import tempfile
from pathlib import Path

from sklearn_kt.pretraining import CorpusTable, Property, build_corpus
from sklearn_kt.structures import PrototypeGenerator

home = tempfile.TemporaryDirectory()


def as_dict(candidates: list) -> dict | None:
    """Spell a crystal as a corpus stores it."""
    if not candidates or candidates[0].provenance["distance"] > 0:
        return None
    crystal = candidates[0].structure
    return {
        "lattice": crystal.lattice.parameters,
        "species": [[site.specie.symbol, 1] for site in crystal],
        "coords": crystal.frac_coords.tolist(),
    }


found = PrototypeGenerator(errors="nan").generate(formulas[:300], n_candidates=1)
crystals = [as_dict(candidates) for candidates in found]
corpus = build_corpus(
    Path(home.name) / "corpus",
    [
        CorpusTable(formulas, {"seebeck_n": values}, name="n-type"),
        CorpusTable(formulas[:300], structures=crystals, name="crystals"),
    ],
    [Property("seebeck_n", "µV/K")],
)
print(corpus.property_names, len(corpus), "compositions,", len(corpus.structure_rows), "crystals")

# %%
# A teacher
# ---------
# A teacher is any object with a ``name`` and ``embed(structures)``. In earnest it is a model of
# crystals, such as :class:`~sklearn_kt.pretraining.CHGNetTeacher`; this one counts the distances
# between atoms.


class DistanceTeacher:
    """Histogram of the distances around an atom."""

    name = "distances"

    def embed(self, structures: list) -> np.ndarray:
        """Embed crystals, shape (n, 24)."""
        edges = np.linspace(1.0, 5.0, 25)
        rows = []
        for structure in structures:
            distances = structure.get_neighbor_list(5.0)[3]
            rows.append(np.histogram(distances, edges)[0] / len(structure))
        return np.array(rows, dtype=float)


from sklearn_kt.pretraining import embed_corpus

rows = embed_corpus(corpus, DistanceTeacher(), n_components=8, max_structures=250)
print(len(rows), "compositions have a vector of the teacher")

# %%
# Pretrain
# --------
# Three objectives at once: hidden elements and amounts, the property, and the teacher's vectors.
# ``save`` writes a checkpoint folder; its card should say what the weights have seen.

from sklearn_kt.pretraining import CrossModalPretrainer

pretrainer = CrossModalPretrainer(
    "tiny",
    teachers={"distances": 0.3},
    stability_temperature=None,
    max_steps=300,
    batch_size=128,
    averaging=0.99,
)
pretrainer.fit(corpus)
print({name: round(score, 2) for name, score in pretrainer.evaluate(corpus).items()})
folder = pretrainer.save(
    Path(home.name) / "my-encoder", card="# my encoder\n\nn-type Seebeck coefficients.\n"
)

# %%
# Does it help?
# -------------
# One network on 150 rows of the p-type table: from random weights, from ours, and from the larger
# encoder in the package. All are scored on the other rows, but for those with an element that none
# of the 150 has: these could only be guessed, and predictions would warn.

from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GroupShuffleSplit

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.compositions import parse_formula

splitter = GroupShuffleSplit(n_splits=1, train_size=150, random_state=0)
[(train, test)] = splitter.split(small.data, groups=small.groups)
known = {element for formula in small.data[train] for element in parse_formula(formula)}
test = [row for row in test if known >= parse_formula(small.data[row]).keys()]

starts = {
    "random weights": {"checkpoint": None, "backbone": "tiny"},
    "our own": {"checkpoint": folder},
    "the package's": {"checkpoint": "default"},
}
scores = {}
for name, start in starts.items():
    model = ImplicitKTRegressor(
        **start, readout="head", n_estimators=1, max_epochs=12, random_state=0
    )
    model.fit(small.data[train], small.target[train])
    scores[name] = mean_absolute_error(small.target[test], model.predict(small.data[test]))

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(5.6, 2.6), layout="constrained")
bars = ax.barh(list(scores), list(scores.values()), color=["0.6", "#D55E00", "#0072B2"])
ax.bar_label(bars, fmt="%.0f", padding=3)
ax.invert_yaxis()
ax.set(
    xlabel="mean absolute error on unseen compounds (µV/K)", xlim=(0, 1.15 * max(scores.values()))
)
ax.spines[["top", "right"]].set_visible(False)

# %%
# A few thousand n-type values and seconds of training already help. The package's encoder, larger
# and pretrained on a hundred times as many compositions, helps more. This is one seed and one
# split: a real comparison repeats both.

home.cleanup()
