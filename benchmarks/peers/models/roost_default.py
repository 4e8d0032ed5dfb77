"""Roost of aviary with the defaults of its examples: 250 epochs, robust loss, one network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from aviary.data import Normalizer
from aviary.losses import RobustL1Loss
from aviary.roost.data import CompositionData, collate_batch
from aviary.roost.model import Roost
from torch.nn import NLLLoss
from torch.utils.data import DataLoader

PACKAGES = ("aviary-models", "torch", "numpy", "pandas", "pymatgen")
EPOCHS = 250
BATCH = 128
RATE = 3e-4
WEIGHT_DECAY = 1e-6


class Model:
    """The peer."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind = kind
        self.seed = seed

    def fit(self, formulas: list, y: list) -> None:
        """Train on all rows for a fixed number of epochs."""
        torch.manual_seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002 - aviary draws from it
        classify = self.kind == "classification"
        values = np.asarray(y, int) if classify else np.asarray(y, float)
        loader = self._loader(formulas, values, shuffle=True)
        self.normalizer = None if classify else Normalizer()
        if self.normalizer is not None:
            self.normalizer.fit(torch.tensor(values, dtype=torch.float32))
        loss = (self.kind, NLLLoss() if classify else RobustL1Loss)
        self.net = Roost(
            robust=True,
            n_targets=[2 if classify else 1],
            task_dict={"target": self.kind},
            device="cpu",
        )
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[])
        self.net.fit(
            loader,
            None,
            optimizer,
            scheduler,
            EPOCHS,
            {"target": loss},
            {"target": self.normalizer},
            model_name="peer",
            run_id=0,
            checkpoint=False,
            verbose=False,
        )

    def predict(self, formulas: list) -> np.ndarray:
        """One number per formula."""
        dummy = np.zeros(len(formulas), int if self.kind == "classification" else float)
        # the highest class says how many there are
        if self.kind == "classification":
            dummy[0] = 1
        loader = self._loader(formulas, dummy, shuffle=False)
        self.net.eval()
        parts = []
        with torch.no_grad():
            for inputs, *_ in loader:
                (output,) = self.net(*inputs)
                if self.kind == "regression":
                    mean, _ = output.unbind(dim=1)
                    parts.append(self.normalizer.denorm(mean))
                else:
                    logits, _ = output.chunk(2, dim=1)
                    parts.append(torch.softmax(logits, dim=1)[:, 1])
        return torch.cat(parts).numpy()

    def _loader(self, formulas: list, values: np.ndarray, shuffle: bool) -> DataLoader:
        table = pd.DataFrame({"composition": formulas, "target": values})
        table["material_id"] = np.arange(len(table))
        data = CompositionData(table, {"target": self.kind})
        return DataLoader(data, batch_size=BATCH, shuffle=shuffle, collate_fn=collate_batch)
