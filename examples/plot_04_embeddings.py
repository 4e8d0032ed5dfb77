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
from sklearn_kt.datasets import load_seebeck

data = load_seebeck(n_samples=1000, random_state=0)
embedder = CompositionEmbedder(blocks=["embedding"]).fit(data.data)
vectors = embedder.transform(data.data)
print(vectors.shape)

# %%
# A map
# -----
# Two principal components of 1,000 compounds, coloured by a property that the encoder was never
# trained on. The encoder has not seen Seebeck coefficients, but it has learned what is a metal.

import numpy as np

from sklearn_kt.plotting import EmbeddingDisplay

EmbeddingDisplay.from_estimator(
    embedder,
    data.data,
    np.clip(data.target, 0, 800),
    label="Seebeck coefficient (µV/K), cut off at 0 and 800",
)

# %%
# t-SNE keeps neighbours together, at the price of distances between groups. Coloured by the most
# electronegative element, it shows families.

from pymatgen.core import Composition


def anion(formula: str) -> str:
    """Name the most electronegative element, if it is one of six anions."""
    symbol = max(Composition(formula).elements, key=lambda e: e.X if e.X == e.X else 0).symbol
    return symbol if symbol in ("O", "F", "S", "Se", "Te", "N") else "other"


families = np.array([anion(formula) for formula in data.data])
EmbeddingDisplay.from_estimator(
    embedder, data.data, families, method="tsne", random_state=0, label="anion"
)

# %%
# Neighbours
# ----------
# What is like lithium iron phosphate, among these 1,000 compounds?

from sklearn.neighbors import NearestNeighbors

neighbours = NearestNeighbors(n_neighbors=5, metric="cosine").fit(vectors)
for query in ("LiFePO4", "PbTe", "YBa2Cu3O7"):
    distances, rows = neighbours.kneighbors(embedder.transform([query]))
    print(f"{query:10} is like {', '.join(data.data[rows[0]])}")

# %%
# A model of your own
# -------------------
# Ten lines for a comparison of one simple model on four kinds of columns. Ridge regression is
# linear, so that what it reaches is what the columns hold in plain sight.

from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

for block in ("fractions", "descriptors", "properties", "embedding"):
    columns = CompositionEmbedder(blocks=[block]).fit_transform(data.data)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    scores = cross_val_score(
        ridge,
        columns,
        data.target,
        groups=data.groups,
        cv=GroupKFold(5),
        scoring="neg_mean_absolute_error",
    )
    print(f"{block:12} MAE {-scores.mean():5.1f} ± {scores.std():.1f} µV/K")
