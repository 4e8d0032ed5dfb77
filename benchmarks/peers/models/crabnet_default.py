"""CrabNet with its defaults: mat2vec, 300 epochs at most, a fifth of the rows to stop early."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from crabnet.crabnet_ import CrabNet

PACKAGES = ("crabnet", "torch", "numpy", "pandas")


class Model:
    """The peer."""

    def __init__(self, kind: str, seed: int) -> None:
        self.net = CrabNet(
            mat_prop="peer",
            random_state=seed,
            compute_device="cuda" if torch.cuda.is_available() else "cpu",
            losscurve=False,
            learningcurve=False,
            save=False,
            verbose=False,
        )
        # version 2.0.8 forgets the argument of this name
        self.net.classification = kind == "classification"
        np.random.seed(seed)  # noqa: NPY002 - CrabNet draws from it

    def fit(self, formulas: list, y: list) -> None:
        """Train; CrabNet splits off its own validation rows."""
        self.net.fit(pd.DataFrame({"formula": formulas, "target": y}))

    def predict(self, formulas: list) -> np.ndarray:
        """One number per formula."""
        # the number of elements is else that of the last table it saw
        self.net.n_elements = "infer"
        table = pd.DataFrame({"formula": formulas, "target": np.zeros(len(formulas))})
        with torch.no_grad():
            predictions = self.net.predict(test_df=table)
        assert len(predictions) == len(formulas)
        return predictions
