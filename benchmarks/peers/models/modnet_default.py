"""MODNet on its continuous composition features, with its own feature selection.

Without two parts that take too long here: the search over 108 settings (``fit_preset``), of
which the middle is taken, and features by way of packings (half a minute for one steel).
"""

from __future__ import annotations

import numpy as np
import tensorflow
from modnet.featurizers.presets.matminer_2023 import CompositionOnlyMatminer2023Featurizer
from modnet.models import MODNetModel
from modnet.preprocessing import MODData
from pymatgen.core import Composition

PACKAGES = ("modnet", "tensorflow", "matminer", "pymatgen", "numpy", "pandas", "scikit-learn")
N_FEATURES = 128
# the middle of the grid of modnet.model_presets.gen_presets
SETTINGS = {"lr": 0.005, "epochs": 1000, "batch_size": 64, "xscale": "minmax"}


class Model:
    """The peer."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind = kind
        self.seed = seed
        tensorflow.keras.utils.set_random_seed(seed)

    def fit(self, formulas: list, y: list) -> None:
        """Featurise, select features, train."""
        classify = self.kind == "classification"
        values = np.asarray(y, int if classify else float)
        classes = {"target": 2} if classify else None
        data = self._data(formulas, values, classes)
        data.feature_selection(n=-1, random_state=self.seed, n_jobs=1)
        self.net = MODNetModel(
            [[["target"]]],
            {"target": 1},
            num_classes=classes,
            n_feat=min(N_FEATURES, len(data.get_optimal_descriptors())),
            act="elu",
        )
        self.net.fit(data, loss=None if classify else "mae", **SETTINGS)

    def predict(self, formulas: list) -> np.ndarray:
        """One number per formula."""
        data = self._data(formulas, None, None)
        if self.kind == "regression":
            return self.net.predict(data)["target"].to_numpy()
        return self.net.predict(data, return_prob=True)["target_prob_1"].to_numpy()

    def _data(self, formulas: list, values: np.ndarray, classes: dict) -> MODData:
        data = MODData(
            materials=[Composition(formula) for formula in formulas],
            targets=values,
            target_names=None if values is None else ["target"],
            num_classes=classes,
            featurizer=CompositionOnlyMatminer2023Featurizer(continuous_only=True, fast_oxid=True),
        )
        data.featurize(n_jobs=1)
        return data
