"""The guards of conftest.py must be able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

NETWORK = """
import socket

def test_loopback_is_allowed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()

def test_name_lookup():
    socket.getaddrinfo("example.org", 443)

def test_connection():
    socket.create_connection(("192.0.2.1", 80), timeout=0.1)

def test_hidden_error():
    try:
        socket.getaddrinfo("example.org", 443)
    except Exception:
        pass
"""

GLOBALS = """
import random
import warnings

import numpy as np
import pytest
import torch
import transformers

pytestmark = pytest.mark.usefixtures("untouched_globals")

def test_clean():
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.rand(1)

@pytest.mark.parametrize("change", [
    random.random, np.random.rand, lambda: torch.rand(1), lambda: torch.set_num_threads(3),
    lambda: warnings.simplefilter("ignore"), transformers.logging.set_verbosity_error,
])
def test_change(change):
    change()
"""


@pytest.fixture
def guarded(pytester: pytest.Pytester) -> pytest.Pytester:
    """A test folder of its own under the guards of this project."""
    pytester.makeconftest(CONFTEST.read_text())
    return pytester


def test_network_is_forbidden(guarded: pytest.Pytester) -> None:
    guarded.makepyfile(NETWORK)
    result = guarded.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(["*reached for the network: socket.getaddrinfo 'example.org'*"])


def test_changed_globals_are_found(guarded: pytest.Pytester) -> None:
    guarded.makepyfile(GLOBALS)
    result = guarded.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    # the test itself passes, its tear-down finds the change
    result.assert_outcomes(passed=7, errors=6)


def test_missing_data_is_a_loud_skip(
    guarded: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SKLEARN_KT_DATA", raising=False)
    guarded.makepyfile("def test_real(data_dir): pass")
    result = guarded.runpytest_subprocess("-ra", "-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*SKLEARN_KT_DATA is not set*"])
