"""
Pipeline and grid search
========================

Everything here is an estimator of scikit-learn: it goes into pipelines, searches and stacks. This
example searches over the blocks of frozen features and over the model that reads them.
"""

# %%
# A pipeline of two steps
# -----------------------
# :class:`~sklearn_kt.CompositionEmbedder` turns formulas into columns, in four blocks: the
# encoder's pooled state, the properties that the checkpoint predicts, statistics of element
# properties, and atomic fractions. A kernel ridge regression reads them.

from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kt import CompositionEmbedder
from sklearn_kt.datasets import load_expt_gap

gaps = load_expt_gap(as_frame=True)
X, y = gaps.data[::10], gaps.target[::10]

pipeline = Pipeline(
    [
        ("embed", CompositionEmbedder()),
        ("scale", StandardScaler()),
        ("model", KernelRidge(kernel="rbf")),
    ]
)

# %%
# The search
# ----------
# ``memory`` keeps the embeddings, which do not depend on the model's parameters, so that the
# encoder runs once per fold and choice of blocks.

import tempfile

from sklearn.model_selection import GridSearchCV, KFold

blocks = {
    "fractions": ["fractions"],
    "descriptors": ["descriptors"],
    "properties": ["properties"],
    "embedding": ["embedding"],
    "all": "all",
}
with tempfile.TemporaryDirectory() as cache:
    search = GridSearchCV(
        pipeline.set_params(memory=cache),
        {
            "embed__blocks": list(blocks.values()),
            "model__alpha": [0.1, 1.0],
            "model__gamma": [1e-3, 1e-2],
        },
        scoring="neg_mean_absolute_error",
        cv=KFold(3, shuffle=True, random_state=0),
    )
    search.fit(X, y)

print("best:", search.best_params_)

# %%
# What each block is worth
# ------------------------
# The best score of each block, with the spread over the folds. The blocks that come from the
# pretrained encoder can be compared with those that a formula gives by itself.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

results = pd.DataFrame(search.cv_results_)
names = {str(value): name for name, value in blocks.items()}
results["blocks"] = results["param_embed__blocks"].astype(str).map(names)
best = results.loc[results.groupby("blocks")["mean_test_score"].idxmax()]
best = best.sort_values("mean_test_score")

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
places = np.arange(len(best))
ax.barh(
    places, -best["mean_test_score"], xerr=best["std_test_score"], color="#0072B2", ecolor="0.3"
)
ax.set_yticks(places, best["blocks"])
ax.set_xlabel("mean absolute error (eV), three folds")
ax.spines[["top", "right"]].set_visible(False)

# %%
# The best score of a search is a little better than what new rows will see, because it is the best
# of many. To report a score, put the whole search into an outer cross-validation.
#
# Searching inside the estimator
# ------------------------------
# :class:`~sklearn_kt.ImplicitKTRegressor` takes any regressor as its readout, so the same can be
# written in one object, and its parameters are reached through ``readout__``:

from sklearn_kt import ImplicitKTRegressor

model = ImplicitKTRegressor(readout=KernelRidge(kernel="rbf", alpha=0.1))
model.set_params(readout__gamma=1e-3)
print(model.get_params()["readout"])
