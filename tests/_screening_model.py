"""A quick model for tests of screening, in a module that other processes can import."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from sklearn_kt import read_compositions


class MeanNumber(RegressorMixin, BaseEstimator):
    """Predicts the mean atomic number; pauses first, so that tests can step in.

    The pause is that of the environment if it names one, which is no part of the model.
    """

    def __init__(self, delay: float = 0.0, scale: float = 1.0) -> None:
        self.delay = delay
        self.scale = scale

    def fit(self, X: Any, y: Any = None) -> MeanNumber:
        self.fitted_ = True
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        time.sleep(float(os.environ.get("SCREENING_DELAY", self.delay)))
        mean = self.scale * read_compositions(X).fractions() @ np.arange(1, 119)
        return (mean, mean / 10) if return_std else mean
