"""The one training loop: a skorch net around a backbone and its head.

Estimators hand over numpy arrays and plain settings and get back a trimmed
skorch net on the CPU; they know nothing of tensors, samplers or callbacks.
"""

from __future__ import annotations

import copy
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset

from sklearn_kt._targets import class_counts, of_rows
from sklearn_kt.exceptions import InputError, TrainingError, TrainingWarning, reason_of
from sklearn_kt.randomness import seed_torch, torch_generator_kept

from .modeling import PropertyNetwork
from .precision import products_in

__all__ = [
    "Inputs",
    "TrainingSettings",
    "backbone_weights",
    "forward",
    "one_thread",
    "resolve_device",
    "split_off",
    "train",
]

_LOSSES = {
    "absolute_error": nn.L1Loss,
    "huber": nn.HuberLoss,
    "squared_error": nn.MSELoss,
    "log_loss": nn.CrossEntropyLoss,
}
# Rows sorted by length at a time: wide enough to fill batches of one length,
# narrow enough to keep batches random.
_BUCKET_BATCHES = 32
_WARMUP = 0.1
# Part of the rows that tells when to stop.
_VALIDATION = 0.1
_FORWARD_ROWS = 64
# Parameters from which on a CPU's further threads pay.
_SMALL_NETWORK = 10_000_000
_GRADIENT_NORM = 1.0


class Inputs(Dataset):
    """Padded model inputs, and targets while training.

    Parameters
    ----------
    arrays : dict of str to ndarray of shape (n, width) or (n, length)
        What the backbone's ``forward`` takes.
    lengths : ndarray of shape (n,), optional
        Tokens in each row; batches are cut to their longest row. None when
        rows all have the same width.
    targets : ndarray of shape (n, n_outputs) or (n,), optional
        Scaled targets (float32), or class indices (int64).
    conditions : ndarray of shape (n, n_conditions), optional
        Scaled conditions (float32), which a head reads beside the backbone's output.
    weights : ndarray of shape (n,), optional
        Of the rows in the loss; only their ratios count.
    states : ndarray of shape (m, length, width), optional
        What the frozen part of the backbone says of m rows, held once for all that share them.
    places : ndarray of int, shape (n,), optional
        Where each row is among the `states`; None is in their order.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        lengths: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        conditions: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        states: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> None:
        self.arrays = arrays
        self.lengths = lengths
        self.targets = targets
        self.conditions = conditions
        self.states = states
        self.places = places
        self.weights = None
        if weights is not None:
            known = np.ones(len(weights)) if targets is None else ~np.isnan(targets)
            counts = known.reshape(len(weights), -1).sum(axis=1)
            # those of all known targets have a mean of 1
            self.weights = (weights / np.average(weights, weights=counts)).astype(np.float32)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, rows: Any) -> tuple[dict[str, torch.Tensor], Any]:
        """Batch of the given rows, cut to its longest row, and what the loss takes of them."""
        width = None if self.lengths is None else int(self.lengths[rows].max())
        batch = {key: torch.from_numpy(a[rows, :width]) for key, a in self.arrays.items()}
        if self.conditions is not None:
            batch["conditions"] = torch.from_numpy(self.conditions[rows])
        if self.states is not None:
            states = self.states[self._places_of(rows), :width]
            batch["states"] = torch.from_numpy(states).float()
        return batch, self.truth(rows)

    def truth(self, rows: np.ndarray) -> Any:
        """Targets of rows, and their weights if they have some; zeros without targets."""
        if self.targets is None:
            return torch.zeros(len(rows))
        targets = torch.as_tensor(self.targets[rows])
        return targets if self.weights is None else (targets, torch.as_tensor(self.weights[rows]))

    def take(
        self,
        rows: np.ndarray,
        targets: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> Inputs:
        """Select rows, and give them targets and weights."""
        arrays = {key: array[rows] for key, array in self.arrays.items()}
        lengths, conditions = of_rows(self.lengths, rows), of_rows(self.conditions, rows)
        places = None if self.states is None else self._places_of(rows)
        return Inputs(arrays, lengths, targets, conditions, weights, self.states, places)

    def _places_of(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.places is None else self.places[rows]


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; see :class:`~sklearn_kt.ImplicitKTRegressor`."""

    loss: str
    n_outputs: int
    max_epochs: int
    batch_size: int
    learning_rate: float
    backbone_learning_rate: float
    weight_decay: float
    dropout: float
    patience: int | None
    device: str
    seed: int
    frozen_blocks: int = 0
    precision: str = "float32"


class _Batches:
    """Iterator that skorch takes in place of a DataLoader.

    Slicing whole batches out of arrays is several times faster here than
    collating single rows. Training batches hold rows of similar length.
    """

    def __init__(self, dataset: Inputs, batch_size: int, shuffle: bool = False) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], Any]]:
        n = len(self.dataset)
        order = torch.randperm(n).numpy() if self.shuffle else np.arange(n)
        lengths = self.dataset.lengths
        if self.shuffle and lengths is not None:
            step = self.batch_size * _BUCKET_BATCHES
            buckets = [order[i : i + step] for i in range(0, n, step)]
            order = np.concatenate([b[np.argsort(lengths[b], kind="stable")] for b in buckets])
        starts = np.arange(0, n, self.batch_size)
        if self.shuffle:
            starts = starts[torch.randperm(len(starts)).numpy()]
        for start in starts:
            yield self.dataset[order[start : start + self.batch_size]]


@dataclass
class _HostsThreads:
    """Threads that the host program gives torch, while so many users do with one."""

    number: int = 1
    users: int = 0
    lock: Any = field(default_factory=threading.Lock)


_hosts_threads = _HostsThreads()


class _KnownLoss(nn.Module):
    """Mean loss of the targets that are known; NaN is not."""

    def __init__(self, loss: type[nn.Module]) -> None:
        super().__init__()
        self.loss = loss()

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        known = ~torch.isnan(targets)
        return self.loss(outputs[known], targets[known])


class _WeighedLoss(nn.Module):
    """Mean loss of the targets that are known, each times the weight of its row.

    The mean is not one over the weights of a batch: batches of light rows have to count less.
    """

    def __init__(self, loss: type[nn.Module]) -> None:
        super().__init__()
        self.loss = loss(reduction="none")

    def forward(self, outputs: torch.Tensor, truth: Sequence[torch.Tensor]) -> torch.Tensor:
        targets, weights = truth
        known = ~torch.isnan(targets)
        # alike for each of several targets
        weights = weights.reshape(-1, *[1] * (targets.ndim - 1)).expand_as(targets)
        return (weights[known] * self.loss(outputs[known], targets[known])).mean()


class _FiniteLoss(Callback):
    """Stop at the first loss that is not finite: skorch itself would go on."""

    def on_batch_end(self, net: NeuralNet, loss: Any = None, **kwargs: Any) -> None:
        if loss is not None and not torch.isfinite(loss).all():
            raise TrainingError(
                f"the training loss became {loss.item()} in epoch {len(net.history)}; lower "
                "learning_rate, or look for extreme values in X or y."
            )


class _EpochEnd(Callback):
    """Report each epoch to the estimator's progress bar."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self.report = report

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.report(net.history[-1]["train_loss"])


def resolve_device(device: str) -> str:
    """Turn ``"auto"`` into a device that is there, or check the one asked for."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={device!r} cannot be used here ({reason_of(error)}); "
            "use device='auto' or 'cpu'."
        ) from error
    return device


def split_off(
    rows: np.ndarray,
    seed: int,
    early_stopping: bool | str,
    least: int,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Split rows into those to train on and those to watch, if training may stop early.

    With "auto" it may from so many rows on: a tenth of fewer would be noise. Classes, if given,
    are split alike where there are enough of each. Of groups, if given, all rows are on one side
    and count once.
    """
    n_distinct = len(rows if groups is None else np.unique(groups))
    if not (n_distinct >= least if early_stopping == "auto" else early_stopping):
        return rows, None
    if n_distinct < 2:
        raise InputError(
            "early_stopping=True needs at least 2 rows, of two compositions or groups; pass "
            "early_stopping=False."
        )
    if labels is not None:
        counts = class_counts(labels, groups)
        smallest = counts[counts > 0].min()
        if smallest * _VALIDATION < 1 or smallest < 2:
            labels = None
    if groups is None:
        return tuple(
            train_test_split(rows, test_size=_VALIDATION, random_state=seed, stratify=labels)
        )
    splitter: Any = GroupShuffleSplit(1, test_size=_VALIDATION, random_state=seed)
    if labels is not None:
        splitter = StratifiedGroupKFold(round(1 / _VALIDATION), shuffle=True, random_state=seed)
    fitted, watched = next(splitter.split(rows, labels, groups))
    return rows[fitted], rows[watched]


def train(
    module: type[nn.Module],
    parameters: dict[str, Any],
    weights: dict[str, torch.Tensor] | None,
    data: Inputs,
    settings: TrainingSettings,
    *,
    validation: Inputs | None = None,
    on_epoch: Callable[[float], None] | None = None,
) -> tuple[NeuralNet, list[dict[str, float]]]:
    """Train a module that has a ``backbone``.

    Parameters
    ----------
    module : type
        Of torch modules, such as :class:`~sklearn_kt.encoder.modeling.PropertyNetwork`.
    parameters : dict
        Plain data that it is made with.
    weights : dict or None
        State the backbone starts from; None starts from random weights.
    data, validation : Inputs
        With targets. Early stopping watches ``validation``.
    settings : TrainingSettings
        Everything else.
    on_epoch : callable, optional
        Called with the training loss after each epoch.

    Returns
    -------
    net : skorch.NeuralNet
        Trimmed, in evaluation mode, on the CPU.
    history : list of dict
        ``epoch``, ``train_loss`` and, with validation, ``valid_loss``.

    Raises
    ------
    TrainingError
        If the loss is not finite, or memory is too small even for batches of half the size.

    Warns
    -----
    TrainingWarning
        If memory was too small and the batches were halved.
    """
    run = partial(_train, module, parameters, weights, data, validation, on_epoch)
    try:
        return run(settings)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error) or settings.batch_size == 1:
            raise
    half = settings.batch_size // 2
    warnings.warn(
        f"memory was too small for batches of {settings.batch_size} rows: training begins again "
        f"with {half}. Pass batch_size={half} to say so yourself.",
        TrainingWarning,
        stacklevel=2,
    )
    try:
        return run(replace(settings, batch_size=half))
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        raise TrainingError(
            f"memory is too small for batches of {settings.batch_size} and of {half} rows "
            f"({reason_of(error)}); pass a smaller batch_size, a smaller backbone, "
            "or device='cpu'."
        ) from error


def _train(
    module: type[nn.Module],
    parameters: dict[str, Any],
    weights: dict[str, torch.Tensor] | None,
    data: Inputs,
    validation: Inputs | None,
    on_epoch: Callable[[float], None] | None,
    settings: TrainingSettings,
) -> tuple[NeuralNet, list[dict[str, float]]]:
    steps = settings.max_epochs * math.ceil(len(data) / settings.batch_size)
    stopper = None
    callbacks: list[Any] = [
        ("finite_loss", _FiniteLoss()),
        ("clipping", GradientNormClipping(_GRADIENT_NORM)),
        (
            "schedule",
            LRScheduler(LambdaLR, lr_lambda=partial(_rate, steps=steps), step_every="batch"),
        ),
    ]
    if validation is not None and settings.patience is not None:
        # without a patience of its own it only counts: it would stop by a KeyboardInterrupt, which
        # nobody could tell from the user's
        stopper = EarlyStopping(patience=None, load_best=True, sink=_silent)
        callbacks.append(("stopping", stopper))
    if on_epoch is not None:
        callbacks.append(("progress", _EpochEnd(on_epoch)))
    with torch_generator_kept(settings.device):
        seed_torch(settings.seed, settings.device)
        net = NeuralNet(
            module,
            **{f"module__{name}": value for name, value in parameters.items()},
            **_criterion(settings.loss, data, validation),
            optimizer=torch.optim.AdamW,
            optimizer__param_groups=[
                ("backbone.*", {"lr": settings.backbone_learning_rate}),
            ],
            optimizer__weight_decay=settings.weight_decay,
            optimizer__fused=True,
            lr=settings.learning_rate,
            max_epochs=settings.max_epochs,
            batch_size=settings.batch_size,
            iterator_train=_Batches,
            iterator_train__shuffle=True,
            iterator_valid=_Batches,
            train_split=None if validation is None else predefined_split(validation),
            callbacks=callbacks,
            callbacks__print_log=None,
            device=settings.device,
            verbose=0,
        )
        net.initialize()
        if weights is not None:
            net.module_.backbone.load_state_dict(weights)
        if settings.frozen_blocks:
            net.module_.backbone.freeze(settings.frozen_blocks)
        net.notify("on_train_begin", X=data, y=None)
        # on a GPU networks of properties do so themselves, in predictions too
        on_cpu = torch.device(settings.device).type == "cpu"
        precision = settings.precision if on_cpu else "float32"
        with one_thread(net.module_), products_in(precision, settings.device):
            for _ in range(settings.max_epochs):
                net.fit_loop(data, epochs=1)
                if stopper is not None and stopper.misses_ == settings.patience:
                    break
        net.notify("on_train_end", X=data, y=None)
    keys = ("epoch", "train_loss", "valid_loss")
    history = [{key: float(row[key]) for key in keys if key in row} for row in net.history]
    net.module_.to("cpu").eval()
    # as large as the weights
    net.module_.zero_grad()
    net.device = "cpu"
    net.trim_for_prediction()
    return net, history


def forward(module: nn.Module, inputs: Inputs, *, device: str) -> np.ndarray:
    """Run a network or a frozen backbone; (n, n_outputs), in the order of rows.

    States of tokens are (n, length, width), and 0 beyond a row's length.

    It is in evaluation mode on the CPU, and stays there for whoever else runs it.
    Every batch has the same number of rows, all of one length. A row's output
    then does not depend on the rows it came with: matrix products of another
    shape round differently. Rows that are alike, such as those of one formula at
    several temperatures, are run once, but for the head that reads conditions.
    """
    if device != "cpu":
        # moving it itself would take it away from other threads
        module = copy.deepcopy(module).to(device)
    with torch.inference_mode(), one_thread(module):
        if inputs.conditions is None:
            return _forward_once(module, inputs, device)
        # nothing else reads conditions, and of it the head alone
        assert isinstance(module, PropertyNetwork)
        alone = Inputs(inputs.arrays, inputs.lengths, states=inputs.states, places=inputs.places)
        embedded = {"embedding": _forward_once(module.embed, alone, device)}
        return _forward_all(module.output, Inputs(embedded, conditions=inputs.conditions), device)


def _forward_once(run: Callable[..., torch.Tensor], inputs: Inputs, device: str) -> np.ndarray:
    """Run one of the rows that are alike, for all of them."""
    parts = [_bytes_of(array) for array in inputs.arrays.values()]
    rows = parts[0] if len(parts) == 1 else np.hstack(parts)
    _, first, places = np.unique(
        rows.view(f"V{rows.shape[1]}")[:, 0], return_index=True, return_inverse=True
    )
    if len(first) == len(rows):
        return _forward_all(run, inputs, device)
    return _forward_all(run, inputs.take(first), device)[places]


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)


def _forward_all(run: Callable[..., torch.Tensor], inputs: Inputs, device: str) -> np.ndarray:
    n = len(inputs)
    lengths = np.zeros(n) if inputs.lengths is None else inputs.lengths
    outputs = None
    for length in np.unique(lengths):
        group = np.flatnonzero(lengths == length)
        for start in range(0, len(group), _FORWARD_ROWS):
            rows = group[start : start + _FORWARD_ROWS]
            batch, _ = inputs[np.resize(rows, _FORWARD_ROWS)]
            batch = {key: value.to(device) for key, value in batch.items()}
            out = run(**batch).float().cpu().numpy()[: len(rows)]
            if outputs is None:
                widest = (int(lengths.max()),) if out.ndim > 2 else ()
                outputs = np.zeros((n, *widest, out.shape[-1]), dtype=np.float32)
            if out.ndim > 2:
                outputs[rows, : int(length)] = out
            else:
                outputs[rows] = out
    assert outputs is not None
    return outputs


@contextmanager
def one_thread(module: nn.Module) -> Iterator[None]:
    """Run a small network on one thread, whatever the host program has set.

    Its products are too small to share: a second thread gains nothing on an idle
    machine, loses a factor of ten on a busy one, and rounds differently.
    """
    if sum(p.numel() for p in module.parameters()) >= _SMALL_NETWORK:
        yield
        return
    with _hosts_threads.lock:
        # asked for once: a thread that begins meanwhile takes our 1 for the host's setting
        if not _hosts_threads.users:
            _hosts_threads.number = torch.get_num_threads()
        _hosts_threads.users += 1
    try:
        torch.set_num_threads(1)
        yield
    finally:
        with _hosts_threads.lock:
            _hosts_threads.users -= 1
            torch.set_num_threads(_hosts_threads.number)


def _criterion(loss: str, data: Inputs, validation: Inputs | None) -> dict[str, Any]:
    """Give skorch the loss; that of known targets where rows lack some, weighed if rows are."""
    if data.weights is not None:
        return {"criterion": _WeighedLoss, "criterion__loss": _LOSSES[loss]}
    for rows in (data, validation):
        if rows is not None and rows.targets is not None and np.isnan(rows.targets).any():
            return {"criterion": _KnownLoss, "criterion__loss": _LOSSES[loss]}
    return {"criterion": _LOSSES[loss]}


def _out_of_memory(error: BaseException) -> bool:
    """Tell an allocation that failed from other errors; on a CPU torch has no class for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def backbone_weights(net: NeuralNet) -> dict[str, torch.Tensor]:
    """Copy of a trained net's backbone state, on the CPU."""
    return copy.deepcopy(net.module_.backbone.state_dict())


def _rate(step: int, *, steps: int) -> float:
    """Warm up linearly, then decay to zero along a cosine."""
    warmup = math.ceil(_WARMUP * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def _silent(message: str) -> None:
    """Sink for skorch's messages; a function, so that nets pickle."""
