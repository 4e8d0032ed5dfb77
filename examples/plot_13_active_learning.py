"""
Active learning loop
====================

Each measurement costs a week. Which compound should be made next? A model with honest
uncertainties chooses.
"""

# %%
# A laboratory that always answers
# --------------------------------
# 400 thermoelectrics of the bundled measurements stand for a chemical space, of which 30 are known
# at first. A measurement is a look into the table. The goal is to find the materials with the
# highest figure of merit, each at its best temperature, ten at a time.

import numpy as np

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.datasets import load_thermoelectrics

measured = load_thermoelectrics("zT")
best = measured.frame.groupby("formula")["zT"].max().sample(400, random_state=0)
X, y = best.index.to_numpy(), best.to_numpy()
top = set(np.argsort(y)[-20:].tolist())
print("the 20 best lie above", round(min(y[list(top)]), 2))

# %%
# Three ways to choose
# --------------------
# At random; the highest predicted means ("greedy"); and the highest expected improvement over the
# best known value, which weighs the mean and its standard deviation.

from scipy.stats import norm


def choose(name: str, mean: np.ndarray, std: np.ndarray, best: float, rng) -> np.ndarray:
    """Order candidates, the most wanted first."""
    if name == "random":
        return rng.permutation(len(mean))
    if name == "greedy":
        return np.argsort(-mean)
    z = (mean - best) / std
    return np.argsort(-((mean - best) * norm.cdf(z) + std * norm.pdf(z)))


def campaign(name: str, *, rounds: int = 4, batch: int = 10) -> list[int]:
    """Play a campaign; how many of the 20 best are known after each round."""
    rng = np.random.default_rng(0)
    known = rng.permutation(len(X))[:30].tolist()
    found = [len(top & set(known))]
    for _ in range(rounds):
        rest = np.setdiff1d(np.arange(len(X)), known)
        if name == "random":
            order = choose(name, np.zeros(len(rest)), np.ones(len(rest)), 0.0, rng)
        else:
            model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X[known], y[known])
            mean, std = model.predict(X[rest], return_std=True)
            order = choose(name, mean, std, y[known].max(), rng)
        known += rest[order[:batch]].tolist()
        found.append(len(top & set(known)))
    return found


# %%
# The campaigns
# -------------
# All start from the same 30 compounds. A third of the others hold elements that none of the 30
# has. Predictions warn of that, and have larger standard deviations: a campaign lives with it.

import warnings

from sklearn_kt.exceptions import UnseenElementWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UnseenElementWarning)
    found = {name: campaign(name) for name in ("random", "greedy", "expected improvement")}
for name, numbers in found.items():
    print(f"{name:22}{numbers}")

# %%

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
styles = {
    "random": ("0.55", ":"),
    "greedy": ("#0072B2", "--"),
    "expected improvement": ("#D55E00", "-"),
}
known = 30 + 10 * np.arange(5)
for name, numbers in found.items():
    colour, line = styles[name]
    ax.plot(known, numbers, line, color=colour, marker="o", label=name)
ax.set(xlabel="materials measured", ylabel="of the 20 best, found", ylim=(0, 20), xticks=known)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# Both choices by a model find more than chance does, and they differ by one material, which is
# nothing. One start is one anecdote. Before you trust a strategy with a campaign of your own, play
# it on data that you have, from many starts: which way wins depends on the noise, on the batch,
# and on how good the uncertainties are.
