"""Peers in environments of their own, as scikit-learn estimators."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements"
#: Where the environments are; a variable, so that no path gets into the results.
ENVIRONMENTS = "PEER_ENVIRONMENTS"


@dataclass(frozen=True)
class Peer:
    """Where a peer is: its module in models/, its file in requirements/, and what it is."""

    module: str
    requirements: str
    label: str


EXTERNAL = {
    "cbfv-oliynyk-rf": Peer("cbfv_oliynyk", "cbfv", "random forest (300) on CBFV's oliynyk"),
    "cbfv-mat2vec-rf": Peer("cbfv_mat2vec", "cbfv", "random forest (300) on CBFV's mat2vec"),
    "crabnet": Peer("crabnet_default", "crabnet", "CrabNet with its defaults"),
    "roost": Peer("roost_default", "roost", "Roost of aviary, one network"),
    "modnet": Peer("modnet_default", "modnet", "MODNet, the middle of its grid of settings"),
}


def environments() -> Path:
    """Folder of the environments."""
    return Path(os.environ.get(ENVIRONMENTS, HERE.parents[1] / ".venv-peers"))


def interpreter(peer: str) -> Path:
    """Python of a peer's environment."""
    return environments() / EXTERNAL[peer].requirements / "bin" / "python"


def install(peer: str) -> None:
    """Make the environment of a peer, unless it is there."""
    name = EXTERNAL[peer].requirements
    folder, requirements = environments() / name, REQUIREMENTS / f"{name}.txt"
    # what pip would refuse on this Python, or install with what does not go together
    alone = REQUIREMENTS / f"{name}.alone.txt"
    stamp = folder / ".requirements"
    wanted = b"".join(file.read_bytes() for file in (requirements, alone) if file.is_file())
    if stamp.is_file() and stamp.read_bytes() == wanted:
        return
    print(f"making the environment of {peer} in {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(interpreter(peer)), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "-r", str(requirements)], check=True)
    if alone.is_file():
        options = ["--no-deps", "--ignore-requires-python"]
        subprocess.run([*pip, *options, "-r", str(alone)], check=True)
    stamp.write_bytes(wanted)


class _External(BaseEstimator):
    """Sends formulas to a worker; ``usage_`` is what the worker says of itself."""

    kind = ""

    def __init__(self, peer: str, random_state: int = 0) -> None:
        self.peer = peer
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Any:
        """Start the worker and train."""
        command = [str(interpreter(self.peer)), str(HERE / "worker.py"), EXTERNAL[self.peer].module]
        # seconds are those of processors, unless a GPU is named
        environment = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
        self._worker = subprocess.Popen(
            [*command, self.kind, str(self.random_state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.usage_: dict[str, Any] = {"versions": self._reply()["versions"]}
        answer = self._ask({"formulas": list(X), "y": np.asarray(y, float).tolist()})
        self.usage_["fit_seconds"] = answer["seconds"]
        return self

    def _predict(self, X: Any) -> np.ndarray:
        answer = self._ask({"formulas": list(X)})
        self.usage_ |= {"predict_seconds": answer["seconds"], "peak_mb": answer["peak_mb"]}
        self._worker.stdin.close()
        self._worker.wait()
        return np.array(answer["predictions"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._worker.stdin.write(json.dumps(request) + "\n")
        self._worker.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        line = self._worker.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.peer} ended with {self._worker.wait()}")
        return json.loads(line)


class ExternalRegressor(RegressorMixin, _External):
    """A peer that predicts numbers."""

    kind = "regression"

    def predict(self, X: Any) -> np.ndarray:
        """Predict once; the worker ends."""
        return self._predict(X)


class ExternalClassifier(ClassifierMixin, _External):
    """A peer that predicts the probability of True."""

    kind = "classification"

    def fit(self, X: Any, y: Any) -> Any:
        """Start the worker and train."""
        self.classes_ = np.array([False, True])
        return super().fit(X, y)

    def predict(self, X: Any) -> np.ndarray:
        """Name the more probable class of each row; once, the worker ends."""
        self._probability = np.clip(self._predict(X), 0, 1)
        return self._probability > 0.5

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the rows that were predicted."""
        return np.column_stack([1 - self._probability, self._probability])


@dataclass(frozen=True)
class External:
    """Makes the estimator of a peer for a task kind."""

    peer: str
    seed: int

    def __call__(self, kind: str) -> Any:
        """Build an estimator that is not fitted."""
        kinds = {"regression": ExternalRegressor, "classification": ExternalClassifier}
        return kinds[kind](self.peer, self.seed)
