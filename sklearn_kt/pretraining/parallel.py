"""Several processes that pretrain one model, started by ``accelerate launch``.

Each takes its share of every batch, and gradients are averaged. A process that
was started alone is a group of one, and accelerate is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from sklearn_kt.exceptions import InputError

__all__ = ["Workers"]


class Workers:
    """The group of processes this one belongs to.

    Parameters
    ----------
    device : str
        Of a lone process. A group uses the CPU if this is "cpu", and one GPU each otherwise.

    Attributes
    ----------
    rank, size : int
        Position in the group, and its size.
    device : str
        Where this process computes.
    """

    def __init__(self, device: str) -> None:
        self.rank, self.size, self.device = 0, int(os.environ.get("WORLD_SIZE", "1")), device
        self._accelerator: Any = None
        if self.size > 1:
            try:
                from accelerate import Accelerator
            except ImportError as error:
                raise InputError(
                    "pretraining in several processes needs the package accelerate: pip install "
                    "accelerate, or start one process without accelerate launch."
                ) from error
            self._accelerator = Accelerator(cpu=device == "cpu")
            self.rank = self._accelerator.process_index
            self.device = str(self._accelerator.device)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def first_goes_first(self) -> AbstractContextManager[None]:
        """Let the first process through the block before the others enter it."""
        if self._accelerator is None:
            return nullcontext()
        return self._accelerator.main_process_first()

    def share(self, rows: np.ndarray) -> np.ndarray:
        """Rows of a batch that are this process's; all if there are fewer rows than processes."""
        return rows[self.rank :: self.size] if len(rows) >= self.size else rows

    def agree(self, value: float) -> float:
        """Mean of a number over the processes, so that their clocks do not part them."""
        if self._accelerator is None:
            return value
        mine = torch.tensor([value], dtype=torch.float32, device=self.device)
        return float(self._accelerator.reduce(mine, "mean"))

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self._accelerator is None:
            return
        tensors = list(parameters)
        # a head without rows in this process's share has no gradient here
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in tensors]
        flat = self._accelerator.reduce(torch.cat([g.flatten() for g in grads]), "mean")
        for parameter, part in zip(tensors, flat.split([g.numel() for g in grads]), strict=True):
            parameter.grad = part.view_as(parameter).clone()
