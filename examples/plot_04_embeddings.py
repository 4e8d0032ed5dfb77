"""
Embeddings for your own model
=============================

The encoder has seen structures and computed properties of 422,000 compositions. Its embeddings put
compounds that behave alike close together, and any scikit-learn model can use that.
"""

# %%
# Embed
# -----
# Nothing is trained: ``fit`` only loads the weights.

from sklearn_kt import CompositionEmbedder
from sklearn_kt.datasets import load_expt_gap

gaps = load_expt_gap()
X, y = gaps.data[::4], gaps.target[::4]
embedder = CompositionEmbedder(blocks=["embedding"]).fit(X)
vectors = embedder.transform(X)
print(vectors.shape)

# %%
# A map
# -----
# Two principal components of 1,151 compounds, coloured by their measured band gap. The encoder has
# seen gaps of calculations, and no measured one.

from sklearn_kt.plotting import EmbeddingDisplay

EmbeddingDisplay.from_estimator(
    embedder,
    X,
    y,
    label="measured band gap (eV)",
)

# %%
# t-SNE keeps neighbours together, at the price of distances between groups. Coloured by the most
# electronegative element, it shows families.

import numpy as np
from pymatgen.core import Composition


def anion(formula: str) -> str:
    """Name the most electronegative element, if it is one of six anions."""
    symbol = max(Composition(formula).elements, key=lambda e: e.X if e.X == e.X else 0).symbol
    return symbol if symbol in ("O", "F", "S", "Se", "Te", "N") else "other"


families = np.array([anion(formula) for formula in X])
EmbeddingDisplay.from_estimator(embedder, X, families, method="tsne", random_state=0, label="anion")

# %%
# Neighbours
# ----------
# What is like lithium iron phosphate, among these compounds?

from sklearn.neighbors import NearestNeighbors

neighbours = NearestNeighbors(n_neighbors=5, metric="cosine").fit(vectors)
for query in ("LiFePO4", "PbTe", "YBa2Cu3O7"):
    distances, rows = neighbours.kneighbors(embedder.transform([query]))
    print(f"{query:10} is like {', '.join(X[rows[0]])}")

# %%
# A model of your own
# -------------------
# Ten lines for a comparison of one simple model on four kinds of columns. Ridge regression is
# linear, so that what it reaches is what the columns hold in plain sight.

from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

for block in ("fractions", "descriptors", "properties", "embedding"):
    columns = CompositionEmbedder(blocks=[block]).fit_transform(X)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    scores = cross_val_score(
        ridge,
        columns,
        y,
        cv=KFold(5, shuffle=True, random_state=0),
        scoring="neg_mean_absolute_error",
    )
    print(f"{block:12} MAE {-scores.mean():.3f} ± {scores.std():.3f} eV")
