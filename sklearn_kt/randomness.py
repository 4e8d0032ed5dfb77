"""Random numbers that the host program's generators know nothing of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["random_state_of", "seed_torch", "torch_generator_kept"]

_lock = threading.RLock()


def random_state_of(random_state: Any) -> np.random.RandomState:
    """Make a generator of the parameter ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None is a new generator, seeded by the operating system, and not NumPy's global one as
        in scikit-learn.

    Returns
    -------
    generator : numpy.random.RandomState
        The instance that was passed, or a new one.

    Examples
    --------
    >>> from sklearn_kt.randomness import random_state_of
    >>> int(random_state_of(0).randint(10))
    5
    """
    from sklearn.utils import check_random_state

    return np.random.RandomState() if random_state is None else check_random_state(random_state)


@contextmanager
def torch_generator_kept(device: str = "cpu") -> Iterator[None]:
    """Let torch's global generator be drawn from, and leave it as it was found.

    Layers take initial weights and dropout from that generator alone, which a process has once:
    threads wait here for one another, so that no fit draws from the seed of another.

    Parameters
    ----------
    device : str, default="cpu"
        Where the drawing happens; on anything else the generators of all GPUs are kept too.
    """
    import torch

    gpus = [] if device == "cpu" else range(torch.cuda.device_count())
    with _lock, torch.random.fork_rng(devices=gpus):
        yield


def seed_torch(seed: int, device: str = "cpu") -> None:
    """Seed torch's generator, inside :func:`torch_generator_kept`.

    Parameters
    ----------
    seed : int
        Of all that is drawn from here on.
    device : str, default="cpu"
        As for :func:`torch_generator_kept`.
    """
    import torch

    if device == "cpu":
        # torch.manual_seed would seed the GPUs' generators as well, which nothing here restores
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
