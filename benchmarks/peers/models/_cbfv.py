"""Random forest on the features of CBFV (elemental properties by name)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from CBFV.composition import generate_features
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

N_TREES = 300


class Forest:
    """Features of CBFV and a forest, as of MatBench's reference."""

    def __init__(self, properties: str, kind: str, seed: int) -> None:
        self.properties = properties
        forest = RandomForestRegressor if kind == "regression" else RandomForestClassifier
        self.forest = forest(N_TREES, random_state=seed)

    def fit(self, formulas: list, y: list) -> None:
        """Train; rows that CBFV skips get the mean features."""
        features = self._features(formulas)
        self.means = np.nanmean(features, axis=0)
        self.forest.fit(self._filled(features), y)

    def predict(self, formulas: list) -> np.ndarray:
        """One number per formula."""
        features = self._filled(self._features(formulas))
        if hasattr(self.forest, "predict_proba"):
            return self.forest.predict_proba(features)[:, 1]
        return self.forest.predict(features)

    def _features(self, formulas: list) -> np.ndarray:
        # the target is the row's number, so that skipped rows are known
        table = pd.DataFrame({"formula": formulas, "target": np.arange(len(formulas))})
        made, rows, _, _ = generate_features(
            table, elem_prop=self.properties, drop_duplicates=False, extend_features=False
        )
        features = np.full((len(formulas), made.shape[1]), np.nan)
        features[rows.astype(int)] = made.to_numpy(float)
        return features

    def _filled(self, features: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(features), features, self.means)
