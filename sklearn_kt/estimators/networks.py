"""Networks of implicit transfer: one encoder, fine-tuned on each of several sets of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from tqdm.auto import tqdm

from sklearn_kt._targets import ClassTargets
from sklearn_kt.encoder import Encoder

from .base import Rows

if TYPE_CHECKING:
    from skorch import NeuralNet

    from sklearn_kt.encoder.training import Inputs, TrainingSettings

__all__ = ["fit_temperature", "run_network", "train_networks"]

# Tables smaller than this are trained on whole: a validation split would be noise.
_MIN_EARLY_STOPPING_ROWS = 500
# Bounds of the logarithm of the softmax temperature.
_LOG_TEMPERATURES = (-1.0, 3.0)

Trained = tuple["NeuralNet", list[dict[str, float]]]


def train_networks(
    encoder: Encoder,
    inputs: Inputs,
    table: Rows,
    members: list[np.ndarray],
    seeds: list[int],
    frozen: list[int],
    settings: TrainingSettings,
    *,
    early_stopping: bool | str,
    n_jobs: int | None,
    verbose: int,
) -> list[Trained]:
    """Train a network on each set of rows, of inputs that the encoder has made of the table.

    Targets of the table are encoded, rows of one group are on one side where a network stops
    early, there are at least as many seeds as members, and ``settings.patience`` counts where one
    stops. Each network leaves as many blocks `frozen` as is said, which is one number or 0.
    """
    from sklearn_kt.encoder.modeling import PropertyNetwork
    from sklearn_kt.encoder.training import split_off, train

    spec, weights = encoder.trainable()
    if any(frozen) and inputs.states is None:
        inputs.states = encoder.states(inputs, max(frozen), settings.device)
    module = {
        "spec": spec,
        "n_outputs": settings.n_outputs,
        "dropout": settings.dropout,
        "amp": settings.precision == "bfloat16" and not settings.device.startswith("cpu"),
        "n_conditions": encoder.n_conditions,
    }

    def taken(rows: np.ndarray, n_blocks: int) -> Inputs:
        part = table[rows]
        made = inputs.take(rows, part.targets, part.weights)
        if not n_blocks:
            made.states = made.places = None
        return made

    jobs: list[dict[str, Any]] = []
    for rows, seed, n_blocks in zip(members, seeds, frozen, strict=False):
        part = table[rows]
        labels = part.targets if part.targets.ndim == 1 else None
        fitted, watched = split_off(
            rows, seed, early_stopping, _MIN_EARLY_STOPPING_ROWS, labels, part.groups
        )
        patience, validation = None, None
        if watched is not None:
            patience, validation = settings.patience, taken(watched, n_blocks)
        jobs.append(
            {
                "module": PropertyNetwork,
                "parameters": module,
                "weights": weights,
                "data": taken(fitted, n_blocks),
                "settings": replace(settings, seed=seed, patience=patience, frozen_blocks=n_blocks),
                "validation": validation,
            }
        )
    if effective_n_jobs(n_jobs) > 1 and len(jobs) > 1:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        results = parallel(delayed(train)(**job) for job in jobs)
        return list(tqdm(results, "networks", len(jobs), disable=not verbose))
    epochs = settings.max_epochs
    with tqdm(total=epochs * len(jobs), unit="epoch", disable=not verbose) as bar:

        def on_epoch(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update()

        trained = []
        for member, job in enumerate(jobs, start=1):
            bar.set_description(f"network {member}/{len(jobs)}", refresh=False)
            trained.append(train(**job, on_epoch=on_epoch))
            # a network that stopped early leaves no gap in the bar
            bar.update(epochs * member - bar.n)
        return trained


def run_network(net: NeuralNet, inputs: Inputs, device: str) -> np.ndarray:
    """Give the outputs of a network, (n, n_outputs), in float64."""
    from sklearn_kt.encoder.training import forward, resolve_device

    return forward(net.module_, inputs, device=resolve_device(device)).astype(np.float64)


def fit_temperature(
    targets: ClassTargets, truth: np.ndarray, logits: np.ndarray, weights: np.ndarray | None
) -> float:
    """Fit the temperature of the softmax to rows that the networks have not seen.

    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural
    networks", ICML 2017. Fine-tuned networks are far too sure of themselves.
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature), axis=1)
        return targets.score(truth, probabilities, weights)

    best = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
    return float(np.exp(best.x))
