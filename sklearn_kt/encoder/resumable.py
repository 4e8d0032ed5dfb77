"""A training that can be stopped at any time, and goes on: pretraining's, and CrystaLLM's.

Every step has a seed of its own and the batches of an epoch follow from its number, so that a
run that was stopped comes to the weights of one that was not. This module imports torch.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_kt._files import replacing
from sklearn_kt.exceptions import CheckpointError, TrainingError, reason_of
from sklearn_kt.randomness import seed_torch, torch_generator_kept

__all__ = ["STATE_FILE", "ResumableRun", "adamw", "read_state"]

STATE_FILE = "state.pt"
"""Name of the file that a run writes its state to."""
_STATE_VERSION = 2
_STATE_KEYS = {"signature", "step", "epoch", "position", "seconds", "history", "model", "average"}
_GRADIENT_NORM = 1.0


class ResumableRun(ABC):
    """Steps, running mean of the weights, history and state of one training.

    Subclasses say what a batch is, what it costs, and how fast to learn.

    Parameters
    ----------
    model : torch.nn.Module
        On its device, with the weights that the run begins with.
    optimizer : torch.optim.Optimizer
        Of its parameters.
    signature : str
        What must not change when a run is taken up again.
    folder : Path or None
        Where the state is written, and looked for; None writes none.
    max_steps : int
        Steps of the whole run.
    save_every : int
        Steps between states, and between entries of the history.
    averaging : float
        Decay of the running mean of the weights.

    Attributes
    ----------
    step, epoch, position : int
        Steps done, epoch that the next batch is from, and its place in it.
    average : dict of str to Tensor
        The running mean.
    history : list of dict
        Per state: step, epoch, seconds, mean losses since the one before, and scores.

    Raises
    ------
    CheckpointError
        If the state in `folder` is damaged, or of another run.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        signature: str,
        folder: Path | None,
        max_steps: int,
        save_every: int,
        averaging: float,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.signature, self.folder = signature, folder
        self.max_steps, self.save_every, self.averaging = max_steps, save_every, averaging
        self.device = str(next(model.parameters()).device)
        self.step, self.epoch, self.position = 0, 0, 0
        self.history: list[dict[str, float]] = []
        self.average = {key: value.detach().clone() for key, value in model.state_dict().items()}
        self._terms: dict[str, list[torch.Tensor]] = {}
        self._epoch_batches: Sequence[np.ndarray] | None = None
        self._seconds_before, self._began = 0.0, time.monotonic()
        if folder is not None and (folder / STATE_FILE).exists():
            self._take_up(folder / STATE_FILE)

    @abstractmethod
    def _batches(self, epoch: int) -> Sequence[np.ndarray]:
        """Rows of each batch of an epoch."""

    @abstractmethod
    def _losses(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Terms of a batch's loss, by name; their sum is minimised."""

    @abstractmethod
    def _rate(self, progress: float) -> float:
        """Learning rate of this step, at that share of the run."""

    @abstractmethod
    def _seed(self) -> int:
        """Seed of this step."""

    @abstractmethod
    def _scores(self) -> dict[str, float]:
        """Score the model, which has the averaged weights, on what is held out."""

    def _progress(self) -> float:
        """Share of the run that is over."""
        return self.step / self.max_steps

    def _backward(self, loss: torch.Tensor) -> None:
        """Compute the gradients, which are clipped afterwards."""
        loss.backward()

    def seconds(self) -> float:
        """Wall-clock time of all parts of the run."""
        return self._seconds_before + time.monotonic() - self._began

    def epochs(self) -> float:
        """Epochs done, with the part of the last."""
        batches = self._epoch_batches
        return self.epoch + (self.position / len(batches) if batches else 0)

    def train(self, name: str, *, verbose: int = 0, writes: bool = True) -> None:
        """Go to the end of the run.

        Parameters
        ----------
        name : str
            Of the progress bar.
        verbose : int, default=0
            Show the bar on stderr.
        writes : bool, default=True
            Write states; one of several processes does.

        Raises
        ------
        TrainingError
            If the loss is not finite.
        """
        from tqdm import tqdm

        bar = tqdm(
            total=self.max_steps,
            initial=self.step,
            desc=name,
            disable=not verbose,
            file=sys.stderr,
            mininterval=5,
        )
        # Ctrl-C must not leave the global generator seeded
        with bar, torch_generator_kept(self.device):
            while self.step < self.max_steps and (progress := self._progress()) < 1:
                self.one_step(progress)
                bar.update()
                if self.step % self.save_every == 0:
                    self._report(writes)
                    bar.set_postfix(loss=f"{self.history[-1]['loss']:.3f}")
            if self._terms:
                self._report(writes)

    def one_step(self, progress: float) -> None:
        """One update of the weights at that share of the run."""
        rows = self._next_rows()
        seed_torch(self._seed(), self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(progress)
        self.model.train()
        losses = self._losses(rows)
        total = sum(losses.values(), start=torch.zeros((), device=self.device))
        if not torch.isfinite(total):
            raise TrainingError(
                f"the loss became {float(total.detach())} in step {self.step}; lower learning_rate."
            )
        self.optimizer.zero_grad(set_to_none=True)
        self._backward(total)
        nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_NORM)
        self.optimizer.step()
        self.step += 1
        # a mean over few steps at first, so that the random start is forgotten
        decay = min(self.averaging, self.step / (self.step + 10))
        with torch.no_grad():
            state = self.model.state_dict()
            torch._foreach_lerp_(
                [self.average[key] for key in state], list(state.values()), 1 - decay
            )
        for key, value in {"loss": total, **losses}.items():
            self._terms.setdefault(key, []).append(value.detach())

    def _next_rows(self) -> np.ndarray:
        if self._epoch_batches is None:
            self._epoch_batches = self._batches(self.epoch)
        if self.position >= len(self._epoch_batches):
            self.epoch, self.position = self.epoch + 1, 0
            self._epoch_batches = self._batches(self.epoch)
        self.position += 1
        return self._epoch_batches[self.position - 1]

    def _report(self, writes: bool) -> None:
        """Add the mean losses since the last call and held-out scores to the history; save."""
        losses = {name: float(torch.stack(values).mean()) for name, values in self._terms.items()}
        self._terms = {}
        own = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        with torch.no_grad():
            scores = self._scores()
        self.model.load_state_dict(own)
        entry = {"step": self.step, "epoch": self.epoch, "seconds": self.seconds()}
        self.history.append({**entry, **losses, **scores})
        if self.folder is not None and writes:
            self._write(self.folder)

    def _write(self, folder: Path) -> None:
        """Write the state; the old one stays until the new one is complete."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "version": _STATE_VERSION,
            "signature": self.signature,
            "step": self.step,
            "epoch": self.epoch,
            "position": self.position,
            "seconds": self.seconds(),
            "history": self.history,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(folder / STATE_FILE) as part:
            torch.save(state, part)

    def _take_up(self, path: Path) -> None:
        state = read_state(path, self.device)
        if state["signature"] != self.signature:
            raise CheckpointError(
                f"the training state {path} belongs to a run with other parameters, other data or "
                "another version of sklearn_kt; choose another folder, or delete it to begin "
                "again."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.history = state["average"], state["history"]
        self.step, self.epoch, self.position = state["step"], state["epoch"], state["position"]
        self._seconds_before = state["seconds"]


def adamw(model: nn.Module, *, weight_decay: float, **options: Any) -> torch.optim.AdamW:
    """AdamW that decays the matrices of a model, and not its offsets and norms."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, **options)


def read_state(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read what a run has written.

    Parameters
    ----------
    path : Path
        Its `STATE_FILE`.
    device : str, default="cpu"
        Where tensors go.

    Returns
    -------
    state : dict
        With `history`, the weights as `average`, and what a run goes on from.

    Raises
    ------
    CheckpointError
        If it is damaged, or of a newer version.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if missing := sorted({"version", "optimizer", *_STATE_KEYS} - set(state)):
            raise KeyError(f"it lacks {missing[0]!r}")
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"the training state {path} cannot be read ({reason_of(error)}); it is damaged: delete"
            " it to begin again, or choose another folder."
        ) from error
    if state["version"] > _STATE_VERSION:
        raise CheckpointError(
            f"the training state {path} is from a newer version of sklearn_kt; update the "
            "package, or choose another folder."
        )
    return state
